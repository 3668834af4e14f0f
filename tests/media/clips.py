"""Small media files, made on the spot; every one is a function of its arguments."""

from pathlib import Path

import av
import numpy as np

RATE = 16_000


def tone(seconds: float, hz: float = 440.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def write_clip(path: Path, *, seconds: int = 2, fps: int = 10, turn: int = 0) -> Path:
    """Write a clip whose frame `i` is uniformly grey `10 * i` (below 250), over 440 Hz.

    A clip to be turned has a bright left half.
    """
    with av.open(path, "w") as out:
        video = out.add_stream("mpeg4", rate=fps, width=64, height=48, pix_fmt="yuv420p")
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        if turn:
            video.set_display_rotation(turn)
        for i in range(seconds * fps):
            grey = np.full((48, 64, 3), 10 * i % 250, np.uint8)
            if turn:
                grey[:, :32] = 250
            out.mux(video.encode(av.VideoFrame.from_ndarray(grey)))
        out.mux(video.encode())
        _mux_sound(out, audio, tone(seconds))
    return path


def write_sound(path: Path, waveform: np.ndarray, *, rate: int = RATE, codec="pcm_s16le") -> Path:
    with av.open(path, "w") as out:
        _mux_sound(out, out.add_stream(codec, rate=rate, layout="mono"), waveform, rate)
    return path


def write_song_with_cover(path: Path) -> Path:
    """Write a sound file with a still picture attached, as music shops do."""
    with av.open(path, "w") as out:
        audio = out.add_stream("aac", rate=RATE, layout="mono")
        cover = out.add_stream("png", width=32, height=32, pix_fmt="rgb24", rate=1)
        cover.disposition = av.stream.Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        out.mux(cover.encode())
        _mux_sound(out, audio, tone(1))
    return path


def _mux_sound(out, stream, waveform, rate=RATE):
    frame = av.AudioFrame.from_ndarray((waveform[None] * 32767).astype("i2"), "s16", "mono")
    frame.sample_rate = rate
    out.mux(stream.encode(frame))
    out.mux(stream.encode())
