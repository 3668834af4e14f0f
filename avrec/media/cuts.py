"""Where one scene ends and the next begins.

Each frame is made a tiny picture. A cut is a frame that differs from the one before by much, and
by far more than its neighbours do from theirs: motion changes many frames in a row, a cut one.
"""

from dataclasses import dataclass, field

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from avrec.arrays import Frame, Offsets, Values
from avrec.media.taking import resized

SIDE = 16
NEIGHBOURS = 4
"""Frames on each side that a change is compared with."""
MIN_CONTRAST = 3.0
"""How many times larger than its neighbours' mean a change must be."""


@dataclass(slots=True)
class Changes:
    """Notes how much each frame differs from the one before, from 0 to 1."""

    _seconds: list[float] = field(default_factory=list)
    _changes: list[float] = field(default_factory=list)
    _before: Frame | None = None
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)

    def offer(self, frame: av.VideoFrame, seconds: float) -> None:
        """Look at the next frame, which comes on screen at `seconds`."""
        tiny = resized(frame, SIDE, SIDE, self._reformatter)
        before = tiny if self._before is None else self._before
        change = np.abs(tiny.astype(np.int16) - before).mean() / np.iinfo(np.uint8).max
        self._seconds.append(seconds)
        self._changes.append(float(change))
        self._before = tiny

    def cuts(self, threshold: float) -> list[float]:
        """When a new scene began; the first is not counted."""
        return [self._seconds[at] for at in cuts(np.array(self._changes), threshold)]


def cuts(changes: Values, threshold: float) -> Offsets:
    """Find the frames that begin a scene.

    Args:
        changes: how much each frame differs from the one before, in order; the first is 0.
        threshold: least change of a cut.

    >>> cuts(np.array([0.0, 0.01, 0.4, 0.01, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2]), 0.1).tolist()
    [2]
    """
    if not len(changes):
        return np.empty(0, np.int64)
    window = np.ones(2 * NEIGHBOURS + 1)
    sums, counts = (
        np.convolve(np.pad(values, NEIGHBOURS), window, mode="valid") - values
        for values in (changes, np.ones_like(changes))
    )
    usual = sums / np.maximum(counts, 1)
    return np.flatnonzero((changes >= threshold) & (changes >= MIN_CONTRAST * usual))
