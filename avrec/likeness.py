"""How alike items are: the mean of their cosines under several models."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avrec.arrays import Idx, Scores, Vectors, unit


class Cause(NamedTuple):
    """For each item the most similar one of a history, and how similar, -inf where none is."""

    items: Idx
    cosines: Scores


class Likeness:
    """Vectors of several models over one catalogue; with none, nothing is like anything.

    Args:
        models: item vectors, one array a model, each of one row an item.
    """

    def __init__(self, models: Sequence[Vectors]) -> None:
        self._models = [unit(vectors) for vectors in models]

    def to(self, item: int, num_items: int) -> Scores:
        """Likeness of one item to each of the catalogue."""
        total = np.zeros(num_items, np.float32)
        for vectors in self._models:
            total += vectors @ vectors[item] / len(self._models)
        return total

    def cause(self, history: Idx, items: Idx) -> Cause:
        """Find what else each item is most like; ties go to the earlier one of the history."""
        if not len(history) or not self._models:
            none = np.full(len(items), -1, np.int32)
            return Cause(none, np.full(len(items), -np.inf, np.float32))
        pairs = np.zeros((len(items), len(history)), np.float32)
        for vectors in self._models:
            pairs += vectors[items] @ vectors[history].T / len(self._models)
        pairs[items[:, None] == history] = -np.inf
        best = pairs.argmax(axis=1)
        return Cause(history[best], pairs[np.arange(len(items)), best])

    def vectors(self, items: Idx) -> Vectors:
        """Vectors whose dot product is the likeness."""
        if not self._models:
            return np.empty((len(items), 0), np.float32)
        parts = [vectors[items] for vectors in self._models]
        return np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))
