"""What to ask a model of a user it has never seen.

a few events     their history; every model folds it in (`user_vectors`)
stated likes     items, and tags: `stated` makes the history that they would have
nothing          what is popular in the user's segment: `BySegment`
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avrec.arrays import Idx, Vectors
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.schema import INTERACTIONS, ITEMS, conform
from avrec.vocab import Vocabulary

PER_TAG = 5


@dataclass(frozen=True, slots=True)
class Stated:
    """What a newcomer says: ids of items, and tags, of which unknown ones are left out."""

    items: Sequence[str] = ()
    tags: Sequence[str] = ()


def stated(likes: Sequence[Stated], items: pa.Table, interactions: pa.Table) -> Histories:
    """Make one history for each newcomer: liked items, and of each liked tag the best known.

    A liked item weighs 1; the PER_TAG items of a tag that most users took to weigh 1 together.

    Args:
        likes: what each says.
        items: ITEMS, in any order.
        interactions: INTERACTIONS that popularity is counted on.
    """
    table = conform(items, ITEMS)
    vocabulary = Vocabulary.of(table["item_id"])
    counts = _counts(interactions, vocabulary)
    holders = _holders(table, vocabulary)
    rows, weights = [], []
    for like in likes:
        named = vocabulary.idx(list(like.items))
        weight = np.zeros(len(vocabulary), np.float32)
        weight[named[named >= 0]] = 1
        for tag in like.tags:
            best = _best(holders.get(tag, np.empty(0, np.int32)), counts)
            weight[best] += 1 / max(len(best), 1)
        rows.append(np.flatnonzero(weight).astype(np.int32))
        weights.append(weight[rows[-1]])
    return Histories.of(rows, weights or None)


class BySegment:
    """Popularity by segment, for users of whom nothing else is known.

    An item's score in a segment is its share of the segment's interactions, drawn towards its
    share of all by `prior` interactions' worth, so that a small segment says little.

    Args:
        items: the catalogue.
        interactions: INTERACTIONS to count.
        segment_of_user: each user's segment by user_id; users without one count for all only.
        prior: interactions that the share of all is worth.
    """

    name = "popularity_by_segment"

    def __init__(
        self,
        items: Vocabulary,
        interactions: pa.Table,
        segment_of_user: dict[str, str],
        prior: float = 100,
    ) -> None:
        if not prior > 0:
            raise ValueError(f"prior must be above 0, got {prior}")
        table = conform(interactions, INTERACTIONS)
        self.segments = Vocabulary.of(list(segment_of_user.values()))
        row = items.idx(table["item_id"])
        named = [segment_of_user.get(user) for user in table["user_id"].to_pylist()]
        segment = self.segments.idx(pa.array(named, pa.string()))
        counts = np.zeros((len(items), len(self.segments) + 1))
        np.add.at(counts, (row[row >= 0], segment[row >= 0]), 1)
        everybody = counts.sum(axis=1, keepdims=True) + 1
        everybody /= everybody.sum()
        counts = (counts + prior * everybody) / (counts.sum(axis=0) + prior)
        counts[:, -1] = everybody[:, 0]
        self.items = Factors(items, counts.astype(np.float32))

    def vectors_of(self, segments: Sequence[str | None]) -> Vectors:
        """One vector a user of the segment; None and unknown ones get what is popular with all."""
        place = self.segments.idx(pa.array(segments, pa.string()))
        vectors = np.zeros((len(place), self.items.dim), np.float32)
        vectors[np.arange(len(place)), place] = 1
        return vectors

    def user_vectors(self, histories: Histories) -> Vectors:
        """As for users whose segment is not known."""
        return self.vectors_of([None] * len(histories))


def _counts(interactions: pa.Table, items: Vocabulary) -> Idx:
    rows = items.idx(conform(interactions, INTERACTIONS)["item_id"])
    return np.bincount(rows[rows >= 0], minlength=len(items)).astype(np.int32)


def _holders(items: pa.Table, vocabulary: Vocabulary) -> dict[str, Idx]:
    """Rows of the items that hold each tag."""
    found: dict[str, list[int]] = {}
    rows = vocabulary.idx(items["item_id"]).tolist()
    for row, tags in zip(rows, items["tags"].to_pylist(), strict=True):
        for tag in set(tags or ()):
            if tag is not None:
                found.setdefault(tag, []).append(row)
    return {tag: np.array(held, np.int32) for tag, held in found.items()}


def _best(rows: Idx, counts: Idx) -> Idx:
    """Of `rows` the PER_TAG that most users took to, ties by row."""
    return rows[np.lexsort((rows, -counts[rows]))[:PER_TAG]]
