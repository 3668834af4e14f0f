"""What every retrieval model ends as: a vector for each item, and a way from history to vector."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avrec.arrays import Mask, Vectors
from avrec.interactions import Histories
from avrec.vocab import Vocabulary


@dataclass(frozen=True, slots=True)
class Factors:
    """One vector a catalogue row; a row of zeros is an item that the model does not know.

    `vectors` has shape (num_items, dim), float32.
    """

    vocabulary: Vocabulary
    vectors: Vectors

    def __post_init__(self) -> None:
        if len(self.vocabulary) != len(self.vectors):
            raise ValueError(
                f"vectors must have one row an id, got {len(self.vectors)} rows "
                f"for {len(self.vocabulary)} ids"
            )

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.vectors.shape[1]

    def known(self) -> Mask:
        """Which items have a vector."""
        return np.asarray(self.vectors.any(axis=1))


class Retriever(Protocol):
    """A trained model, as index, evaluation and serving see it.

    The score of an item for a query is the dot product of their vectors.
    """

    @property
    def name(self) -> str:
        """Short name, the same in tables, sources and files."""
        ...

    @property
    def items(self) -> Factors:
        """A vector for each item of the catalogue."""
        ...

    def user_vectors(self, histories: Histories) -> Vectors:
        """One vector a row of `histories`, shape (num_queries, dim).

        A row with no item that the model knows gives zeros.
        """
        ...


@dataclass(frozen=True, slots=True)
class Among:
    """A model that lists only some of the items."""

    name: str
    items: Factors
    model: Retriever

    def user_vectors(self, histories: Histories) -> Vectors:
        """Those of the model, which may know the other items in a history."""
        return self.model.user_vectors(histories)


def among(model: Retriever, able: Mask) -> Among:
    """Let `model` list only the items that are `able`, one truth a catalogue row."""
    vectors = np.where(able[:, None], model.items.vectors, np.float32(0))
    return Among(model.name, Factors(model.items.vocabulary, vectors), model)
