"""Pictures without weights: moments of colour, edges and motion."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from avrec.arrays import Array, Frame, Vector, Vectors

SIDE = 48
GRID = 4
NUM_HUES = 12
NUM_LEVELS = 8
NUM_DIRECTIONS = 8
CUT = 0.12
"""Mean absolute change between two frames from which they count as two shots."""


class PictureMoments:
    """How bright, colourful, textured and moving a segment is, and where in the picture.

    Frames are brought to 48 x 48 in [0, 1]. The vector holds, averaged over the frames: a
    histogram of hue weighed by saturation; one of brightness; mean and spread of each channel;
    mean colour in each cell of a 4 x 4 grid; a histogram of edge directions and the strength of
    edges in each cell; then the mean and spread of the change between frames in each cell, and
    the share of cuts.
    """

    name = "picture_moments"
    revision = "1"
    modality: Literal["frames"] = "frames"
    dim = NUM_HUES + NUM_LEVELS + 6 + 3 * GRID**2 + NUM_DIRECTIONS + GRID**2 + 2 * GRID**2 + 3

    def encode(self, inputs: Sequence[Frame]) -> Vectors:
        """Encode each segment's frames; a segment without frames gives zeros."""
        rows = [_moments(frames) for frames in inputs]
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)


def _moments(frames: Frame) -> Vector:
    if not len(frames):
        return np.zeros(PictureMoments.dim, np.float32)
    small = np.stack([_resized(frame) for frame in frames])
    parts = [*_colour(small), *_edges(small.mean(axis=-1)), *_motion(small.mean(axis=-1))]
    return np.concatenate(parts).astype(np.float32)


def _resized(frame: Frame) -> Array:
    """Mean over a grid of SIDE x SIDE cells; smaller pictures repeat their pixels."""
    for axis in (0, 1):
        length = frame.shape[axis]
        if length < SIDE:
            frame = np.take(frame, np.arange(SIDE) * length // SIDE, axis=axis)
    rows, columns = (np.arange(SIDE) * length // SIDE for length in frame.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(frame, rows, 0, dtype=np.float32), columns, 1)
    counts = np.outer(
        np.diff(np.append(rows, frame.shape[0])), np.diff(np.append(columns, frame.shape[1]))
    )
    return sums / (255 * counts[:, :, None])


def _colour(frames: Array) -> list[Array]:
    high, low = frames.max(axis=-1), frames.min(axis=-1)
    chroma = high - low
    red, green, blue = np.moveaxis(frames, -1, 0)
    hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue)
    turn = ((hue / (2 * np.pi)) % 1 * NUM_HUES).astype(int) % NUM_HUES
    hues = np.bincount(turn.ravel(), chroma.ravel(), NUM_HUES) / chroma.size
    level = np.minimum(high * NUM_LEVELS, NUM_LEVELS - 1).astype(int)
    levels = np.bincount(level.ravel(), minlength=NUM_LEVELS) / level.size
    spread = frames.std(axis=(1, 2)).mean(axis=0)
    cells = _cells(np.moveaxis(frames, -1, 1)).mean(axis=0)
    return [hues, levels, frames.mean(axis=(0, 1, 2)), spread, cells.ravel()]


def _edges(grey: Array) -> list[Array]:
    down, across = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(down, across)
    turn = (np.arctan2(down, across) / np.pi % 1 * NUM_DIRECTIONS).astype(int) % NUM_DIRECTIONS
    directions = np.bincount(turn.ravel(), strength.ravel(), NUM_DIRECTIONS) / strength.size
    return [directions, _cells(strength).mean(axis=0).ravel()]


def _motion(grey: Array) -> list[Array]:
    if len(grey) == 1:
        return [np.zeros(2 * GRID**2 + 3)]
    change = np.abs(np.diff(grey, axis=0))
    cells = _cells(change)
    each = change.mean(axis=(1, 2))
    whole = np.array([each.mean(), each.std(), (each > CUT).mean()])
    return [cells.mean(axis=0).ravel(), cells.std(axis=0).ravel(), whole]


def _cells(pictures: Array) -> Array:
    """Mean in each cell of the grid, over the last two axes."""
    step = SIDE // GRID
    cut = pictures.reshape(*pictures.shape[:-2], GRID, step, GRID, step)
    return cut.mean(axis=(-3, -1))
