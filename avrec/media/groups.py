"""Which packets of a video have to be decoded for the moments that are wanted.

A group of pictures begins with a keyframe and can be decoded without those before it. Packets are
held back until it is known that a wanted moment lies in their group; where none does, they are
dropped unseen. That saves what seeking would, needs no index, and leaves the sound of the same
pass whole. Where no sound is wanted and the file has an index, what is far ahead is sought, which
saves reading too.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import av
from av.container import InputContainer

JUMP_BYTES = 1 << 20
"""What must lie between here and a keyframe to seek it rather than read on."""
DELAY_SECONDS = 1.0
"""By how much a picture may be shown later than the index tells, which is when it is decoded."""
MAX_HELD_BYTES = 64 << 20
"""A group larger than this is decoded whether it is wanted or not."""


class Due(NamedTuple):
    """A packet to decode, and when its frame comes on screen.

    `lean` is true where the frame is not wanted itself: it need not be decoded unless others
    refer to it.
    """

    packet: av.Packet
    seconds: float
    lean: bool


@dataclass(slots=True)
class Groups:
    """Holds back the packets of one video stream."""

    context: av.VideoCodecContext
    _held: list[tuple[av.Packet, float]] = field(default_factory=list)
    _held_bytes: int = 0
    _reached: float = -math.inf
    _begun: bool = False

    def offer(self, packet: av.Packet, seconds: float, wanted: float) -> list[Due]:
        """Take the next packet; gives those to decode now.

        `wanted` is the earliest moment whose frame has not come out of the decoder yet.
        """
        if packet.is_keyframe and seconds <= wanted:
            self._drop()
        self._held.append((packet, seconds))
        self._held_bytes += packet.size
        self._reached = max(self._reached, seconds)
        enough = self._reached >= wanted or self._held_bytes >= MAX_HELD_BYTES
        return self.rest(wanted) if enough else []

    def rest(self, wanted: float) -> list[Due]:
        """Give all that is held."""
        shown = max((at for _, at in self._held if at <= wanted), default=wanted)
        due = [Due(packet, at, lean=at < shown) for packet, at in self._held]
        self._held, self._held_bytes, self._begun = [], 0, self._begun or bool(due)
        return due

    def _drop(self) -> None:
        if self._held and self._begun:
            self.context.flush_buffers()
            self._begun = False
        self._held, self._held_bytes, self._reached = [], 0, -math.inf


@dataclass(slots=True)
class Ahead:
    """Seeks the keyframes that an index tells of, never back and once for each moment."""

    stream: av.VideoStream
    _sought_seconds: float = -math.inf

    def jump(self, container: InputContainer, packet: av.Packet, wanted_seconds: float) -> None:
        """Seek the group of a wanted moment if it lies far beyond a packet that was just read."""
        if packet.pos is None or not self._sought_seconds < wanted_seconds < math.inf:
            return
        self._sought_seconds = wanted_seconds
        entries, tick = self.stream.index_entries, self.stream.time_base
        assert tick is not None
        at = entries.search_timestamp(int((wanted_seconds - DELAY_SECONDS) / tick))
        if at < 0:
            return
        if JUMP_BYTES < entries[at].pos - packet.pos < container.size - packet.pos:
            container.seek(entries[at].timestamp, stream=self.stream)
