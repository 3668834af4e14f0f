"""Take frames and sound out of a file, in one pass and packet by packet.

A damaged file gives what it still holds. Times are seconds from the start of the clip.
"""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from av.container import InputContainer

from avrec.arrays import Frame, Values, Waveform
from avrec.errors import MediaError
from avrec.media.container import AGAIN, CONVERT, check, opened
from avrec.media.limits import DEFAULT_LIMITS, Limits
from avrec.media.sampling import SAMPLE_RATE, Plan, Span, joined, segments, window
from avrec.media.sweep import Faults, Sweep
from avrec.media.taking import Pictures, Sound

BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, slots=True)
class Clip:
    """What was taken from a file.

    `frames` has shape (num_frames, height, width, 3), uint8 RGB; `frame_seconds` says when each
    was on screen. `waveform` is mono at SAMPLE_RATE, within [-1, 1]. Either may be empty, not
    both. `spans` are the segments of the plan's policy, one after the other. `damaged` tells the
    stretches that could not be decoded, or not without faults.
    """

    duration_seconds: float
    frames: Frame
    frame_seconds: Values
    waveform: Waveform
    spans: tuple[Span, ...]
    damaged: tuple[Span, ...] = ()

    def frames_in(self, span: Span) -> Frame:
        """Frames on screen within a span; none where it has no picture."""
        start, stop = np.searchsorted(self.frame_seconds, span)
        return self.frames[start:stop]

    def sound_in(self, span: Span) -> Waveform:
        """Samples of a span; fewer, or none, where the sound ends before it."""
        return window(self.waveform, span)


def decode(path: Path, plan: Plan, limits: Limits = DEFAULT_LIMITS) -> Clip:
    """Decode a local file.

    Raises:
        MediaError: nothing in it can be decoded here, or it is beyond a limit.
    """
    try:
        with opened(path) as container:
            check(container, limits)
            return _clip(container, plan, limits)
    except MediaError as error:
        clip = None if error.kind == "too_large" else _decode_sound_file(path, plan)
        if clip is None:
            raise
        return clip


def _clip(container: InputContainer, plan: Plan, limits: Limits) -> Clip:
    sweep = Sweep(container, plan, limits)
    sweep.run()
    frames, waveform = sweep.pictures.frames(), sweep.sound.waveform()
    if not len(frames) and not len(waveform):
        raise _nothing(container, sweep.faults)
    return Clip(
        duration_seconds=sweep.seconds,
        frames=frames,
        frame_seconds=np.minimum(sweep.pictures.seconds(), np.nextafter(sweep.seconds, 0.0)),
        waveform=waveform,
        spans=tuple(sweep.spans()),
        damaged=tuple(joined(sweep.faults.spans)),
    )


def _nothing(container: InputContainer, faults: Faults) -> MediaError:
    form = container.format.name
    if faults.no_decoder:
        return MediaError("unsupported_codec", f"{form} in a codec unknown here; {CONVERT}")
    return MediaError("truncated", f"{form} without a frame or sample that decodes; {AGAIN}")


def _decode_sound_file(path: Path, plan: Plan) -> Clip | None:
    """Decode by libsndfile, which reads some files that FFmpeg refuses; None where it cannot."""
    sound = Sound(round(plan.max_seconds * SAMPLE_RATE))
    try:
        with soundfile.SoundFile(path) as stream:
            for block in stream.blocks(BLOCK_SAMPLES, dtype="float32", always_2d=True):
                mono = np.ascontiguousarray(block.mean(axis=1, dtype=np.float32)[None])
                frame = av.AudioFrame.from_ndarray(mono, format="flt", layout="mono")
                frame.sample_rate = stream.samplerate
                sound.offer(frame)
                if sound.done:
                    break
    except (soundfile.LibsndfileError, OSError, TypeError):  # TypeError: a file named .raw
        pass
    sound.finish()
    waveform = sound.waveform()
    if not len(waveform):
        return None
    nothing = Pictures([], plan.frame_side)
    spans = tuple(segments(sound.seconds, plan.segment_seconds))
    return Clip(sound.seconds, nothing.frames(), nothing.seconds(), waveform, spans)
