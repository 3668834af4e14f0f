"""Which packets of a video have to be decoded for the moments that are wanted.

A group of pictures begins with a keyframe and can be decoded without those before it. Packets are
held back until it is known that a wanted moment lies in their group; where none does, they are
dropped unseen. That saves what seeking would, needs no index, and leaves the sound of the same
pass whole.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import av

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
    _reached: float = float("-inf")
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
        self._held, self._held_bytes, self._reached = [], 0, float("-inf")
