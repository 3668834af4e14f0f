"""Vectors for items that nobody has played, foretold from their content.

For content `X` and learned vectors `Y` of the warm items, both less their means, the map

    W = argmin |X W - Y|^2 + reg |W|^2  =  (X'X + reg I)^-1 X'Y  =  X' (X X' + reg I)^-1 Y

is solved in its smaller form. A ridge pulls to the mean, so what it foretells is stretched until
the warm items' vectors, foretold, have the root mean square length of the learned ones.
"""

from dataclasses import dataclass

import numpy as np

from avrec.arrays import Values, Vectors
from avrec.factors import Factors


@dataclass(frozen=True, kw_only=True, slots=True)
class ColdConfig:
    """How cold items are filled."""

    reg: float = 1.0
    """L2 penalty of the map from content to factors; content vectors are unit."""
    scale: float = 1.0
    """Length of what is foretold, relative to the learned vectors; below 1 is cautious."""

    def __post_init__(self) -> None:
        for key in ("reg", "scale"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0 and finite, got {getattr(self, key)}")


def fill_cold(factors: Factors, content: Vectors, config: ColdConfig) -> Factors:
    """Give each unknown item that has content a vector; the known ones stay as they are.

    Args:
        factors: learned vectors; a zero row is an unknown item.
        content: one vector a catalogue row, shape (num_items, any); a zero row is missing.
        config: penalty and length.
    """
    if len(content) != len(factors.vectors):
        raise ValueError(
            f"content must have one row an item, got {len(content)} for {len(factors.vectors)}"
        )
    known, present = factors.known(), content.any(axis=1)
    warm, cold = known & present, ~known & present
    filled = factors.vectors.copy()
    if warm.any() and cold.any():
        filled[cold] = _foretell(content[warm], factors.vectors[warm], content[cold], config)
    return Factors(factors.vocabulary, filled)


def _foretell(content: Vectors, learned: Vectors, wanted: Vectors, config: ColdConfig) -> Vectors:
    X, Y = content.astype(np.float64), learned.astype(np.float64)
    x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
    W = _ridge(X - x_mean, Y - y_mean, config.reg)
    again = (X - x_mean) @ W + y_mean
    stretch = config.scale * _length(Y) / max(_length(again), np.finfo(np.float64).tiny)
    return (stretch * ((wanted - x_mean) @ W + y_mean)).astype(np.float32)


def _ridge(X: Values, Y: Values, reg: float) -> Values:
    num_rows, dim = X.shape
    if dim <= num_rows:
        return np.asarray(np.linalg.solve(X.T @ X + reg * np.eye(dim), X.T @ Y))
    return np.asarray(X.T @ np.linalg.solve(X @ X.T + reg * np.eye(num_rows), Y))


def _length(rows: Values) -> float:
    return float(np.sqrt((rows**2).sum(axis=1).mean()))
