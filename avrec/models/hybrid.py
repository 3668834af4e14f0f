"""Learned vectors and likeness of content as one model.

    score(query, i) = u . v_i + w_i sum_h k(h, i)

over the items `h` of the history, with the kernel of `avrec.models.landmarks` and a weight `w_i` of
one size for items learned from interactions and another for the rest: what is like some
item of the history is brought near, the sharper the closer, and an item that nobody took to is
listed by that alone. Both parts are dot products, so side by side they are one vector.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Mask, Vectors
from avrec.factors import Factors, Retriever
from avrec.interactions import Histories
from avrec.models.landmarks import landmarks


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridConfig:
    """How much likeness counts beside what was learned."""

    sharpness: float = 6.0
    """How fast likeness falls with the cosine of two contents."""
    warm: float = 0.1
    """Weight of likeness for an item that the model learned from interactions."""
    cold: float = 0.3
    """Weight of likeness for any other item."""
    max_landmarks: int = 2048
    """Items, at most, that likeness is measured to; what is added to a vector's length."""

    def __post_init__(self) -> None:
        for key in ("sharpness", "warm", "cold"):
            if not 0 <= getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be at least 0 and finite, got {getattr(self, key)}")
        if self.max_landmarks < 1:
            raise ValueError(f"max_landmarks must be at least 1, got {self.max_landmarks}")


class Hybrid:
    """A trained model, and the likeness of content beside it.

    Args:
        model: gives the learned vectors; an item that it does not know has zeros.
        content: one unit vector a catalogue row; a row of zeros is like nothing.
        config: sharpness and weights.
        trained: which items it learned from interactions; default those that have a vector.
    """

    def __init__(
        self,
        model: Retriever,
        content: Vectors,
        config: HybridConfig,
        trained: Mask | None = None,
    ) -> None:
        self.name, self.config, self._model = f"{model.name}+content", config, model
        self._features = landmarks(content, config.sharpness, config.max_landmarks).features(
            content
        )
        warm = model.items.known() if trained is None else trained
        weights = np.where(warm, config.warm, config.cold).astype(np.float32)
        vectors = np.concatenate([model.items.vectors, weights[:, None] * self._features], axis=1)
        self.items = Factors(model.items.vocabulary, vectors)

    def user_vectors(self, histories: Histories) -> Vectors:
        """The model's vector, and the sum of the features of the history, side by side."""
        ones = np.ones(len(histories.items), np.float32)
        shape = (len(histories), len(self._features))
        told = csr_array((ones, histories.items, histories.offsets), shape=shape)
        likeness = np.asarray(told @ self._features, np.float32)
        return np.concatenate([self._model.user_vectors(histories), likeness], axis=1)
