"""Which moments of a clip to look at, and how it is cut into segments.

Times are seconds from the start of the clip; spans are [start, stop).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from avrec.arrays import Values, Waveform

SAMPLE_RATE = 16_000
"""Rate of every waveform, Hz; one channel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to take from a clip."""

    segment_seconds: float = 10.0
    """Aimed length of a segment; a clip has the whole number of equal segments nearest to it."""
    frames_per_segment: int = 6
    """Frames taken from each segment that has a picture."""
    frame_side: int = 224
    """Shorter side of the frames, pixels; smaller pictures stay as they are."""
    max_seconds: float = 180.0
    """How much of a clip is decoded, from its start."""

    def __post_init__(self) -> None:
        for name in ("segment_seconds", "frames_per_segment", "frame_side", "max_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.max_seconds / self.segment_seconds > 10_000:  # noqa: PLR2004 -- memory of a clip
            raise ValueError(
                f"segment_seconds must give at most 10000 segments in max_seconds, "
                f"got {self.segment_seconds}"
            )


class Span(NamedTuple):
    """A stretch [start, stop) of a clip, seconds."""

    start_seconds: float
    stop_seconds: float


def midpoints(duration_seconds: float, num_frames: int) -> Values:
    """Cut [0, duration) into equal parts and take the middle of each.

    >>> midpoints(10.0, 5).tolist()
    [1.0, 3.0, 5.0, 7.0, 9.0]
    """
    return (np.arange(num_frames, dtype=np.float64) + 0.5) * (duration_seconds / num_frames)


def segments(duration_seconds: float, segment_seconds: float) -> list[Span]:
    """Cut [0, duration) into equal segments of about `segment_seconds`; none where it is empty.

    >>> segments(16.0, 10.0)
    [Span(start_seconds=0.0, stop_seconds=8.0), Span(start_seconds=8.0, stop_seconds=16.0)]
    """
    if duration_seconds <= 0:
        return []
    count = max(1, round(duration_seconds / segment_seconds))
    edges = np.linspace(0.0, duration_seconds, count + 1).tolist()
    return [Span(start, stop) for start, stop in pairwise(edges)]


def frame_times(duration_seconds: float | None, plan: Plan) -> Values:
    """When to look at a clip of this length; an unknown length is taken as the longest."""
    duration = min(duration_seconds or plan.max_seconds, plan.max_seconds)
    count = len(segments(duration, plan.segment_seconds)) * plan.frames_per_segment
    return midpoints(duration, count)


def window(waveform: Waveform, span: Span) -> Waveform:
    """Samples of a span; fewer, or none, where the sound ends before it."""
    start, stop = (round(second * SAMPLE_RATE) for second in span)
    return waveform[start:stop]
