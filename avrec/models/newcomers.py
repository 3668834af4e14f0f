"""What to ask a model of a user it has never seen.

a few events     their history; every model folds it in (`user_vectors`)
stated likes     items, tags and creators: `Tastes` makes the history that they would have
nothing          what is popular in the user's segment: `BySegment`
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx, Offsets, Values, Vectors, Weights
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.schema import INTERACTIONS, ITEMS, conform
from avrec.vocab import Vocabulary

PER_TAG = 5
NO_ROWS: Idx = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Stated:
    """What a newcomer says: ids of items and creators, and tags; unknown ones are left out."""

    items: Sequence[str] = ()
    tags: Sequence[str] = ()
    creators: Sequence[str] = ()


class Tastes:
    """Makes histories of what newcomers state.

    A liked item weighs 1; of a liked tag or creator the PER_TAG items that most users took to
    weigh 1 together.

    Args:
        items: ITEMS, in any order.
        counts: how many took to each item, in the order of their vocabulary.
    """

    def __init__(self, items: pa.Table, counts: Values) -> None:
        table = conform(items, ITEMS)
        self._vocabulary = Vocabulary.of(table["item_id"])
        rows = self._vocabulary.idx(table["item_id"])
        self._of_tag = _Best.of(table["tags"], rows, counts)
        self._of_creator = _Best.of(table["creator_id"], rows, counts)

    def histories(self, likes: Sequence[Stated]) -> Histories:
        """Make one history for each newcomer; times are 0."""
        pairs = [self._one(like) for like in likes]
        return Histories.of([rows for rows, _ in pairs], [w for _, w in pairs] or None)

    def unknown(self, like: Stated) -> list[str]:
        """Name what somebody states that the catalogue lacks."""
        rows = self._vocabulary.idx(list(like.items))
        lacking = [one for one, row in zip(like.items, rows, strict=True) if row < 0]
        lacking += [tag for tag in like.tags if not len(self._of_tag.rows_of(tag))]
        return lacking + [one for one in like.creators if not len(self._of_creator.rows_of(one))]

    def _one(self, like: Stated) -> tuple[Idx, Weights]:
        weight: dict[int, float] = {}
        for row in self._vocabulary.idx(list(like.items)):
            if row >= 0:
                weight[int(row)] = 1.0
        held = [self._of_tag.rows_of(tag) for tag in like.tags]
        held += [self._of_creator.rows_of(one) for one in like.creators]
        for best in held:
            for row in best.tolist():
                weight[row] = weight.get(row, 0.0) + 1 / len(best)
        rows = sorted(weight)
        return np.array(rows, np.int32), np.array([weight[row] for row in rows], np.float32)


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

    def over(self, items: Factors) -> Self:
        """The same segments over a catalogue that has changed; zeros are of none."""
        made = copy(self)
        made.items = items
        return made

    def vectors_of(self, segments: Sequence[str | None]) -> Vectors:
        """One vector a user of the segment; None and unknown ones get what is popular with all."""
        place = self.segments.idx(pa.array(segments, pa.string()))
        vectors = np.zeros((len(place), self.items.dim), np.float32)
        vectors[np.arange(len(place)), place] = 1
        return vectors

    def user_vectors(self, histories: Histories) -> Vectors:
        """As for users whose segment is not known."""
        return self.vectors_of([None] * len(histories))


class _Best(NamedTuple):
    """The PER_TAG holders of each name that most users took to, ties by row; ascending.

    Name `n` is held by `rows[offsets[n]:offsets[n + 1]]`.
    """

    names: Vocabulary
    offsets: Offsets
    rows: Idx

    @classmethod
    def of(cls, column: pa.ChunkedArray, rows: Idx, counts: Values) -> Self:
        """Gather the holders of a column of strings or of lists of strings, one entry a row."""
        if pa.types.is_list(column.type):
            lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
            column, rows = pc.list_flatten(column), np.repeat(rows, lengths)
        names = Vocabulary.of(column.drop_null())
        code = names.idx(column)
        key = np.unique(code[code >= 0] * np.int64(len(counts)) + rows[code >= 0])
        code, row = np.divmod(key, max(len(counts), 1))
        order = np.lexsort((row, -counts[row], code))
        first = np.searchsorted(code, code)
        best = order[np.arange(len(code)) - first < PER_TAG]
        best = best[np.lexsort((row[best], code[best]))]
        offsets = np.searchsorted(code[best], np.arange(len(names) + 1))
        return cls(names, offsets.astype(np.int64), row[best].astype(np.int32))

    def rows_of(self, name: str) -> Idx:
        """Rows of a name; none of one that nothing holds."""
        place = int(self.names.idx([name])[0])
        return self.rows[self.offsets[place] : self.offsets[place + 1]] if place >= 0 else NO_ROWS
