"""Recommend what looks and sounds like a user's history; knows an item before anyone plays it."""

from copy import copy
from typing import Self

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Vectors, unit
from avrec.embed.pool import Content
from avrec.factors import Factors
from avrec.interactions import Histories

MICROS_PER_DAY = 86_400_000_000


class ContentProfile:
    """Scores an item by its cosine with the mean content of a history.

    Args:
        content: one vector a catalogue row and modality.
        half_life_days: an item counts half as much for each span this long between it and the
            latest of the same history.
    """

    name = "content"

    def __init__(self, content: Content, half_life_days: float = 30) -> None:
        if not half_life_days > 0:
            raise ValueError(f"half_life_days must be above 0, got {half_life_days}")
        self.items = Factors(content.items, content.joined())
        self._half_life = half_life_days * MICROS_PER_DAY

    def over(self, items: Factors) -> Self:
        """The same profile over joined content of a catalogue that has changed."""
        made = copy(self)
        made.items = items
        return made

    def user_vectors(self, histories: Histories) -> Vectors:
        """Mean content weighed by interaction weight and recency, shape (num_queries, dim), unit.

        A history without content gives zeros.
        """
        query = histories.query_of_item()
        latest = np.zeros(len(histories), np.int64)
        np.maximum.at(latest, query, histories.at)
        weights = histories.weights * 0.5 ** ((latest[query] - histories.at) / self._half_life)
        shape = (len(histories), len(self.items.vectors))
        profile = csr_array((weights, histories.items, histories.offsets), shape=shape)
        return unit((profile @ self.items.vectors).astype(np.float32))
