"""One pass over a file, packet by packet, from which frames and sound are taken."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
from av.container import InputContainer

from avrec.errors import MediaError
from avrec.media.container import (
    NO_MEMORY,
    duration_seconds,
    indexed,
    picture_and_sound,
    promised_seconds,
    start_seconds,
)
from avrec.media.cuts import Changes
from avrec.media.groups import Ahead, Due, Groups
from avrec.media.limits import Limits, Meter
from avrec.media.sampling import SAMPLE_RATE, Plan, Span, frame_times, scenes, segments
from avrec.media.taking import Pictures, Sound

MISSING_SECONDS = 1.0
"""What an index may promise beyond the last packet before that counts as missing."""
FRAME_SECONDS = 0.04
NO_DECODER = (av.error.PatchWelcomeError, av.error.DecoderNotFoundError)


@dataclass(slots=True)
class Faults:
    """What could not be decoded, and when."""

    spans: list[Span] = field(default_factory=list)
    no_decoder: bool = False

    def note(self, error: av.FFmpegError, span: Span) -> None:
        """Note an error; that memory is at its end is no fault of a stretch.

        Raises:
            MediaError: of kind too_large.
        """
        if isinstance(error, MemoryError):
            raise MediaError("too_large", NO_MEMORY) from error
        self.no_decoder |= isinstance(error, NO_DECODER)
        self.spans.append(span)


class Sweep:
    """Offers every frame to whoever keeps its like, until both have enough."""

    def __init__(self, container: InputContainer, plan: Plan, limits: Limits) -> None:
        self.container, self.plan = container, plan
        self.video, self.audio = picture_and_sound(container)
        wanted = frame_times(duration_seconds(container), plan).tolist() if self.video else []
        self.planned_seconds = wanted[0] + wanted[-1] if wanted else 0.0
        self.pictures = Pictures(wanted, plan.frame_side)
        self.sound = Sound(round(plan.max_seconds * SAMPLE_RATE) if self.audio else 0)
        self.changes = Changes() if plan.policy == "scenes" else None
        self.faults = Faults()
        self._meter = Meter(limits, container.size)
        self._start_seconds = start_seconds(container)
        self._groups = Groups(self.video.codec_context) if self.video else None
        self._ahead = Ahead(self.video) if self.video and indexed(container) else None
        self._ended_seconds, self._next_seconds = 0.0, 0.0
        self._tick_seconds = {one.index: float(one.time_base or 0) for one in container.streams}

    def run(self) -> None:
        """Take what is wanted.

        Raises:
            MediaError: of kind too_large.
        """
        for packet in self._packets():
            if packet.stream.type == "audio":
                self._hear(packet)
            else:
                self._see(packet)
            self._meter.keep(self.pictures.num_bytes + self.sound.num_bytes)
            if self.pictures.done and self.sound.done:
                break
        self.pictures.finish()
        self.sound.finish()

    @property
    def seconds(self) -> float:
        """Length of what was decoded; a frame that tells no length counts as a short one."""
        seen = self.planned_seconds if self.pictures.done else self.pictures.end_seconds
        return max(seen, self.sound.seconds) or FRAME_SECONDS

    def spans(self) -> list[Span]:
        """Segments of what was decoded, by the policy of the plan."""
        if self.changes is None:
            return segments(self.seconds, self.plan.segment_seconds)
        return scenes(self.seconds, self.changes.cuts(self.plan.cut_threshold), self.plan)

    def _packets(self) -> Iterator[av.Packet]:
        streams = [stream for stream in (self.video, self.audio) if stream is not None]
        for stream in streams:
            stream.codec_context.thread_count = 1  # files are decoded side by side
        try:
            yield from self.container.demux(streams)
        except av.FFmpegError as error:
            self.faults.note(error, Span(self._ended_seconds, self._ended_seconds))
        promised = promised_seconds(streams) - self._start_seconds
        if promised > self._ended_seconds + MISSING_SECONDS:
            self.faults.spans.append(Span(self._ended_seconds, promised))

    def _hear(self, packet: av.Packet) -> None:
        if self.sound.done:
            return
        for frame in self._decoded(packet, self._span(packet)):
            self._meter.add(frame.samples * frame.layout.nb_channels * frame.format.bytes)
            heard = None if frame.time is None else frame.time - self._start_seconds
            self.sound.offer(frame, heard)

    def _see(self, packet: av.Packet) -> None:
        if self.pictures.done or self._groups is None:
            return
        for due in self._due(packet, self._groups):
            self._look(due)
        if self._ahead is not None and self.sound.done and self.changes is None:
            self._jump(packet, self._ahead)

    def _jump(self, packet: av.Packet, ahead: Ahead) -> None:
        try:
            ahead.jump(self.container, packet, self._wanted + self._start_seconds)
        except av.FFmpegError:
            self._ahead = None  # an index that misleads: what follows is read in order

    def _due(self, packet: av.Packet, groups: Groups) -> list[Due]:
        if packet.size == 0 and packet.dts is None:  # the last, which empties the decoder
            return [*groups.rest(self._wanted), Due(packet, self._ended_seconds, lean=False)]
        span = self._span(packet)
        self.pictures.end_seconds = max(self.pictures.end_seconds, span.stop_seconds)
        if self.plan.policy == "keyframes" and not packet.is_keyframe:
            return []
        return groups.offer(packet, span.start_seconds, self._wanted)

    @property
    def _wanted(self) -> float:
        """The earliest moment whose frame is still to come; a cut may be at any."""
        if self.changes is not None:
            return -math.inf
        return self.pictures.wanted[0] if self.pictures.wanted else math.inf

    def _look(self, due: Due) -> None:
        assert self.video is not None
        self.video.codec_context.skip_frame = self._skipped(due)
        for frame in self._decoded(due.packet, Span(due.seconds, due.seconds)):
            self._meter.add(frame.width * frame.height)
            seconds = self._seconds(frame)
            if frame.is_corrupt:
                self.faults.spans.append(Span(seconds, seconds))
            self.pictures.offer(frame, seconds)
            if self.changes is not None:
                self.changes.offer(frame, seconds)

    def _seconds(self, frame: av.VideoFrame) -> float:
        """When a frame comes on screen; one without a time follows the one before."""
        time: float | None = frame.time
        seconds = self._next_seconds if time is None else time - self._start_seconds
        lasts = float(frame.duration * frame.time_base) if frame.time_base else 0.0
        self._next_seconds = seconds + lasts
        return seconds

    def _skipped(self, due: Due) -> str:
        if self.plan.policy == "keyframes":
            return "NONKEY"
        return "NONREF" if due.lean else "DEFAULT"

    def _decoded(self, packet: av.Packet, span: Span) -> list[av.VideoFrame] | list[av.AudioFrame]:
        try:
            return packet.decode()
        except av.FFmpegError as error:
            self.faults.note(error, span)
            return []

    def _span(self, packet: av.Packet) -> Span:
        """When a packet is shown or heard; one without a time follows the one before."""
        stamp = packet.dts if packet.pts is None else packet.pts
        tick = self._tick_seconds[packet.stream_index]
        start = self._ended_seconds if stamp is None else stamp * tick - self._start_seconds
        stop = start + (packet.duration or 0) * tick
        self._ended_seconds = max(self._ended_seconds, stop)
        return Span(start, stop)
