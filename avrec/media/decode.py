"""Take frames and sound out of a file, in one pass and packet by packet.

A damaged file gives what it still holds. Times are seconds from the start of the clip.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from av.container import InputContainer

from avrec.arrays import Frame, Values, Waveform
from avrec.errors import MediaError
from avrec.media.container import duration_seconds, opened, picture_and_sound, start_seconds
from avrec.media.sampling import SAMPLE_RATE, Plan, Span, frame_times, segments
from avrec.media.taking import Pictures, Sound

BLOCK_SAMPLES = 1 << 16
NO_DECODER = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)


@dataclass(frozen=True, slots=True)
class Clip:
    """What was taken from a file.

    `frames` has shape (num_frames, height, width, 3), uint8 RGB; `frame_seconds` says when each
    was on screen. `waveform` is mono at SAMPLE_RATE, within [-1, 1]. Either may be empty, not
    both. `num_damaged` counts the packets that could not be decoded.
    """

    duration_seconds: float
    frames: Frame
    frame_seconds: Values
    waveform: Waveform
    num_damaged: int = 0

    def segments(self, segment_seconds: float) -> list[Span]:
        """Equal segments of what was decoded."""
        return segments(self.duration_seconds, segment_seconds)

    def frames_in(self, span: Span) -> Frame:
        """Frames on screen within a span."""
        start, stop = np.searchsorted(self.frame_seconds, span)
        return self.frames[start:stop]


def decode(path: Path, plan: Plan) -> Clip:
    """Decode a local file.

    Raises:
        MediaError: nothing in it can be decoded here.
    """
    try:
        with opened(path) as container:
            return _decode(container, plan)
    except MediaError as error:
        clip = None if error.kind == "too_large" else _decode_sound_file(path, plan)
        if clip is None:
            raise
        return clip


def _decode(container: InputContainer, plan: Plan) -> Clip:
    video, audio = picture_and_sound(container)
    wanted = frame_times(duration_seconds(container), plan).tolist() if video else []
    planned_seconds = wanted[0] + wanted[-1] if wanted else 0.0
    pictures = Pictures(wanted, plan.frame_side)
    sound = Sound(round(plan.max_seconds * SAMPLE_RATE) if audio else 0)
    faults = _fill(container, pictures, sound)
    frames, waveform = pictures.frames(), sound.waveform()
    if not len(frames) and not len(waveform):
        raise _nothing(container, faults)
    seen = planned_seconds if pictures.done else pictures.end_seconds
    duration = max(seen, len(waveform) / SAMPLE_RATE)
    return Clip(duration, frames, pictures.seconds(), waveform, len(faults))


def _fill(container: InputContainer, pictures: Pictures, sound: Sound) -> list[av.FFmpegError]:
    """Offer every frame to whoever keeps its like, until both have enough; returns the faults."""
    start, faults = start_seconds(container), list[av.FFmpegError]()
    for packet in _packets(container, faults):
        for frame in _frames(packet, pictures, sound, faults):
            if isinstance(frame, av.AudioFrame):
                sound.offer(frame)
            elif frame.time is not None:
                pictures.offer(frame, frame.time - start)
        if pictures.done and sound.done:
            break
    pictures.finish()
    sound.finish()
    return faults


def _packets(container: InputContainer, faults: list[av.FFmpegError]) -> Iterator[av.Packet]:
    streams = [stream for stream in picture_and_sound(container) if stream is not None]
    for stream in streams:
        stream.codec_context.thread_count = 1  # files are decoded side by side, not each faster
    try:
        yield from container.demux(streams)
    except av.FFmpegError as error:
        _note(error, faults)


def _frames(
    packet: av.Packet, pictures: Pictures, sound: Sound, faults: list[av.FFmpegError]
) -> list[av.VideoFrame | av.AudioFrame]:
    enough = pictures.done if packet.stream.type == "video" else sound.done
    if enough:
        return []
    try:
        return packet.decode()
    except av.FFmpegError as error:
        _note(error, faults)
        return []


def _note(error: av.FFmpegError, faults: list[av.FFmpegError]) -> None:
    if isinstance(error, MemoryError):
        raise MediaError("too_large", "it needs more memory than is allowed") from error
    faults.append(error)


def _nothing(container: InputContainer, faults: list[av.FFmpegError]) -> MediaError:
    form = container.format.name
    if any(isinstance(fault, NO_DECODER) for fault in faults):
        return MediaError("unsupported_codec", f"{form} in a codec that cannot be decoded here")
    return MediaError("truncated", f"{form} with headers, but no frame or sample that decodes")


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
    return Clip(len(waveform) / SAMPLE_RATE, nothing.frames(), nothing.seconds(), waveform)
