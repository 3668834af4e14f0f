"""A small picture that tells a clip."""

from fractions import Fraction

import av
import numpy as np

from avrec.arrays import Frame, Waveform
from avrec.media.decode import Clip

SIDE = 160
"""Longer side, pixels."""
SOUND_HEIGHT = 90
BACKGROUND, FOREGROUND = 24, 200
MAX_QUANTISER = 6


def thumbnail(clip: Clip) -> bytes:
    """Draw a clip as a small JPEG: its most telling frame, or its waveform where it has none."""
    return jpeg(clip.frames[most_telling(clip.frames)] if len(clip.frames) else wave(clip.waveform))


def most_telling(frames: Frame) -> int:
    """The frame with most detail in its light: neither black nor blurred; the first of equals."""
    green = frames[..., 1].astype(np.int16)
    detail = [np.abs(np.diff(green, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2)]
    return int(np.sum(detail, axis=0).argmax())


def wave(waveform: Waveform) -> Frame:
    """Draw a waveform, shape (SOUND_HEIGHT, SIDE, 3): how loud each stretch of it is."""
    edges = np.arange(SIDE) * len(waveform) // SIDE
    peaks = np.maximum.reduceat(np.abs(waveform), edges)
    heights = peaks / max(peaks.max(), np.finfo(np.float32).tiny) * (SOUND_HEIGHT / 2)
    away = np.abs(np.arange(SOUND_HEIGHT) + 0.5 - SOUND_HEIGHT / 2)
    lit = away[:, None] <= np.maximum(heights, 1)
    return np.repeat(np.where(lit, FOREGROUND, BACKGROUND).astype(np.uint8)[..., None], 3, axis=2)


def jpeg(picture: Frame) -> bytes:
    """Encode a picture, its longer side at most SIDE, as JPEG."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    context = av.CodecContext.create("mjpeg", "w")
    context.width = max(1, round(width * scale))
    context.height = max(1, round(height * scale))
    context.pix_fmt, context.time_base = "yuvj420p", Fraction(1, 25)
    context.options = {"qmax": str(MAX_QUANTISER)}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24").reformat(
        context.width, context.height, "yuvj420p", interpolation="AREA"
    )
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
