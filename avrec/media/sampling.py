"""Which moments of a clip to look at, and how it is cut into segments.

Times are seconds from the start of the clip; spans are [start, stop).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from avrec.arrays import Values, Waveform

SAMPLE_RATE = 16_000
"""Rate of every waveform, Hz; one channel."""
MAX_SEGMENTS = 10_000
JOINED_SECONDS = 0.5
SHORTEST_SEGMENT = 2 / 3
"""Length of the shortest segment of a scene that is cut up, relative to the aim."""
POSITIVE = (
    *("segment_seconds", "frames_per_segment", "frame_side", "max_seconds"),
    *("min_scene_seconds", "cut_threshold"),
)


POLICIES = ("uniform", "keyframes", "scenes")
REVISION = 2
"""Goes up when the same plan gives other frames, sound or spans of the same file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to take from a clip."""

    policy: str = "uniform"
    """`uniform`: frames evenly over equal segments. `keyframes`: of those moments, the keyframe
    last on screen, which costs least. `scenes`: frames evenly, and segments that end at cuts."""
    segment_seconds: float = 10.0
    """Aimed length of a segment; a clip, or a scene, has the whole number of equal segments
    nearest to it."""
    frames_per_segment: int = 6
    """Frames taken from each segment that has a picture; from a scene, in proportion."""
    frame_side: int = 224
    """Shorter side of the frames, pixels; smaller pictures stay as they are."""
    max_seconds: float = 180.0
    """How much of a clip is decoded, from its start."""
    min_scene_seconds: float = 2.0
    """A scene shorter than this is one with the scene before it; for `scenes`."""
    cut_threshold: float = 0.1
    """Least change between two frames that may be a cut: the mean difference of the pixels of a
    tiny picture, from 0 to 1; for `scenes`."""

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"policy must be one of {POLICIES}, got {self.policy!r}")
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.max_seconds / min(self.segment_seconds, self.min_scene_seconds) > MAX_SEGMENTS:
            raise ValueError(
                f"segment_seconds and min_scene_seconds must give at most {MAX_SEGMENTS} segments "
                f"in max_seconds, got {self.segment_seconds} and {self.min_scene_seconds}"
            )

    @property
    def key(self) -> str:
        """Short stable name; two plans of one key take the same from the same file."""
        numbers = [getattr(self, name) for name in POSITIVE]
        told = numbers if self.policy == "scenes" else numbers[:4]
        return "-".join([self.policy, *(f"{number:g}" for number in told), f"r{REVISION}"])


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
    return _equal(0.0, duration_seconds, segment_seconds) if duration_seconds > 0 else []


def scenes(duration_seconds: float, cuts: Sequence[float], plan: Plan) -> list[Span]:
    """Cut [0, duration) at the cuts, the scenes that are too short left out, and long ones up.

    Every scene is at least `min_scene_seconds` long, where the clip is; an empty clip has none.

    >>> plan = Plan(policy="scenes", segment_seconds=10, min_scene_seconds=2)
    >>> [tuple(span) for span in scenes(27.0, [6.0, 7.0, 26.0], plan)]
    [(0.0, 6.0), (6.0, 16.5), (16.5, 27.0)]
    """
    if duration_seconds <= 0:
        return []
    starts = [0.0]
    for cut in cuts:
        if min(cut - starts[-1], duration_seconds - cut) >= plan.min_scene_seconds:
            starts.append(cut)
    return [
        span
        for start, stop in pairwise([*starts, duration_seconds])
        for span in _equal(start, stop, plan.segment_seconds)
    ]


def frame_times(duration_seconds: float | None, plan: Plan) -> Values:
    """When to look at a clip of this length; an unknown length is taken as the longest."""
    duration = min(duration_seconds or plan.max_seconds, plan.max_seconds)
    if plan.policy == "scenes":
        return midpoints(duration, math.ceil(duration / _scene_pitch_seconds(plan)))
    count = len(segments(duration, plan.segment_seconds)) * plan.frames_per_segment
    return midpoints(duration, count)


def _equal(start_seconds: float, stop_seconds: float, segment_seconds: float) -> list[Span]:
    count = max(1, round((stop_seconds - start_seconds) / segment_seconds))
    edges = np.linspace(start_seconds, stop_seconds, count + 1).tolist()
    return [Span(start, stop) for start, stop in pairwise(edges)]


def _scene_pitch_seconds(plan: Plan) -> float:
    """Time between two frames that leaves no segment of a scene without one."""
    shortest = min(plan.min_scene_seconds, SHORTEST_SEGMENT * plan.segment_seconds)
    return min(plan.segment_seconds / plan.frames_per_segment, shortest)


def joined(spans: Iterable[Span]) -> list[Span]:
    """Sort stretches, and make one of those with less than JOINED_SECONDS between them.

    >>> [tuple(span) for span in joined([Span(5.0, 5.1), Span(0.0, 1.0), Span(1.2, 1.3)])]
    [(0.0, 1.3), (5.0, 5.1)]
    """
    kept: list[Span] = []
    for start, stop in sorted(spans):
        if kept and start - kept[-1].stop_seconds < JOINED_SECONDS:
            kept[-1] = Span(kept[-1].start_seconds, max(stop, kept[-1].stop_seconds))
        else:
            kept.append(Span(start, stop))
    return kept


def window(waveform: Waveform, span: Span) -> Waveform:
    """Samples of a span; fewer, or none, where the sound ends before it."""
    start, stop = (round(second * SAMPLE_RATE) for second in span)
    return waveform[start:stop]
