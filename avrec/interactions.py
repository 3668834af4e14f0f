"""Who took to what: interactions as a weight matrix, and as histories in time order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from avrec.arrays import Array, Codes, Idx, Mask, Micros, Offsets, Weights, distinct
from avrec.schema import EVENT_KINDS, INTERACTIONS, conform
from avrec.vocab import Vocabulary

Profile = Mapping[str, Array]
"""By field, one entry a row: text, "" where unknown, or float64, NaN where unknown."""


class WeightMatrix(NamedTuple):
    """Interaction weights, users in rows and the whole catalogue in columns."""

    users: Vocabulary
    items: Vocabulary
    weights: csr_array


def weight_matrix(interactions: pa.Table, items: Vocabulary) -> WeightMatrix:
    """Sum the weights of each (user, item) into a sparse float32 matrix.

    Rows whose item is not in the catalogue `items` are left out.
    """
    table = _known(conform(interactions, INTERACTIONS), items)
    users = Vocabulary.of(table["user_id"])
    cell = users.idx(table["user_id"]), items.idx(table["item_id"])
    weights = csr_array(
        (table["weight"].to_numpy(), cell), shape=(len(users), len(items)), dtype=np.float32
    )
    weights.sum_duplicates()
    return WeightMatrix(users, items, weights)


@dataclass(frozen=True, slots=True)
class Histories:
    """What each query has taken to, oldest first, as rows of compressed arrays.

    Row `q` holds `items[offsets[q]:offsets[q + 1]]`, catalogue rows, with `weights` and `at`
    alongside. A query is a user, or a user as of some moment. Where known there are `kinds`, what
    kind of event each was (codes of `kind_codes`), and `shares`, how much was watched, in [0, 1]
    or NaN. Of who asks there may be a `profile`, and of when `asked_at`, UTC microseconds, 0 where
    unknown, both with one entry a row.
    """

    offsets: Offsets
    items: Idx
    weights: Weights
    at: Micros
    kinds: Codes | None = None
    shares: Weights | None = None
    profile: Profile | None = None
    asked_at: Micros | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, rows: list[Idx], weights: list[Weights] | None = None) -> Self:
        """Build from one array of catalogue rows a query; weights 1 unless given, times 0."""
        lengths = np.array([len(row) for row in rows], np.int64)
        items = np.concatenate([*rows, np.empty(0, np.int32)]).astype(np.int32)
        flat = np.ones(len(items), np.float32) if weights is None else np.concatenate(weights)
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        return cls(offsets, items, flat.astype(np.float32), np.zeros(len(items), np.int64))

    def lengths(self) -> Offsets:
        """Number of items in each row."""
        return np.diff(self.offsets)

    def query_of_item(self) -> Idx:
        """For each entry of `items`, the row it belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.lengths())

    def row(self, query: int) -> Idx:
        """Items of one row, oldest first."""
        return self.items[self.offsets[query] : self.offsets[query + 1]]

    def take(self, queries: Idx) -> Self:
        """Rows in the given order, repeats allowed."""
        start, stop = self.offsets[queries], self.offsets[np.asarray(queries) + 1]
        return self._asking(queries)._cut(start, stop)

    def as_of(self, queries: Idx, at: Micros) -> Self:
        """Rows cut to what happened strictly before `at`, one moment a row of `queries`."""
        start, stop = self.offsets[queries], self.offsets[np.asarray(queries) + 1]
        counts = [
            np.searchsorted(self.at[a:b], moment)
            for a, b, moment in zip(start, stop, at, strict=True)
        ]
        return self._asking(queries)._cut(start, start + np.array(counts, np.int64))

    def last(self, num_items: int) -> Self:
        """Rows cut to their latest `num_items`."""
        stop = self.offsets[1:]
        return self._cut(np.maximum(self.offsets[:-1], stop - num_items), stop)

    def only(self, entries: Mask) -> Self:
        """Some of the entries of `items`; the number of rows stays."""
        counts = np.bincount(self.query_of_item()[entries], minlength=len(self))
        return self._of(np.concatenate(([0], np.cumsum(counts))).astype(np.int64), entries)

    def union(self, other: Self) -> Self:
        """Rows with the items of both, each once, ascending; weights are 1 and times 0."""
        owner = np.concatenate([self.query_of_item(), other.query_of_item()])
        pairs = np.int64(1 << 32) * owner + np.concatenate([self.items, other.items])
        owner, items = np.divmod(distinct(pairs), np.int64(1 << 32))
        offsets = np.searchsorted(owner, np.arange(len(self) + 1))
        ones, zeros = np.ones(len(items), np.float32), np.zeros(len(items), np.int64)
        return type(self)(offsets, items.astype(np.int32), ones, zeros)

    def then(self, later: "Histories") -> "Histories":
        """Rows followed by those of `later`, whose profile and time of asking stay."""
        owner = np.concatenate([self.query_of_item(), later.query_of_item()])
        both = replace(stacked([self, later]), profile=later.profile, asked_at=later.asked_at)
        return both._of(self.offsets + later.offsets, np.argsort(owner, kind="stable"))

    def asked(self, at: int) -> Self:
        """The same, asked at a moment, but for rows of which it is known already."""
        known = np.zeros(len(self), np.int64) if self.asked_at is None else self.asked_at
        return replace(self, asked_at=np.where(known > 0, known, np.int64(at)))

    def matrix(self, num_items: int) -> csr_array:
        """Rows as a sparse weight matrix of shape (num_queries, num_items); repeats add up."""
        matrix = csr_array(
            (self.weights, self.items, self.offsets), shape=(len(self), num_items), copy=True
        )
        matrix.sum_duplicates()
        return matrix

    def _cut(self, start: Offsets, stop: Offsets) -> Self:
        lengths = stop - start
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        entries = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
        return self._of(offsets, entries)

    def _asking(self, queries: Idx) -> Self:
        profile = self.profile and {name: known[queries] for name, known in self.profile.items()}
        asked_at = None if self.asked_at is None else self.asked_at[queries]
        return replace(self, profile=profile, asked_at=asked_at)

    def _of(self, offsets: Offsets, entries: Array) -> Self:
        return replace(
            self,
            offsets=offsets,
            items=self.items[entries],
            weights=self.weights[entries],
            at=self.at[entries],
            kinds=None if self.kinds is None else self.kinds[entries],
            shares=None if self.shares is None else self.shares[entries],
        )


def stacked(parts: Sequence[Histories]) -> Histories:
    """Put the rows of all parts below one another."""
    ends = np.concatenate([[0], *(part.lengths() for part in parts)]).cumsum()
    return Histories(
        ends,
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.at for part in parts]),
        np.concatenate([_or(part.kinds, part, np.int8(0)) for part in parts]),
        np.concatenate([_or(part.shares, part, np.float32(np.nan)) for part in parts]),
        _profile(parts),
        _asked_at(parts),
    )


def _profile(parts: Sequence[Histories]) -> Profile | None:
    """Profiles below one another, unknown where a part has none."""
    told = [part.profile or {} for part in parts]
    kinds = {name: known.dtype for one in told for name, known in one.items()}
    blank = {name: np.nan if kind.kind == "f" else "" for name, kind in kinds.items()}
    return {
        name: np.concatenate(
            [
                one.get(name, np.full(len(part), blank[name]))
                for one, part in zip(told, parts, strict=True)
            ]
        )
        for name in kinds
    } or None


def _asked_at(parts: Sequence[Histories]) -> Micros | None:
    if all(part.asked_at is None for part in parts):
        return None
    unknown = [np.zeros(len(part), np.int64) for part in parts]
    both = zip(parts, unknown, strict=True)
    return np.concatenate([zero if part.asked_at is None else part.asked_at for part, zero in both])


class UserHistories(NamedTuple):
    """Histories, one row a user of the vocabulary."""

    users: Vocabulary
    histories: Histories


def histories(
    interactions: pa.Table, items: Vocabulary, users: Vocabulary | None = None
) -> UserHistories:
    """Sort interactions into one history a user; ties in time are ordered by item_id.

    Items outside the catalogue and users outside `users` are left out; a user of `users`
    without interactions has an empty row.
    """
    table = _known(conform(interactions, INTERACTIONS), items)
    users = users or Vocabulary.of(table["user_id"])
    user = users.idx(table["user_id"])
    item, at = items.idx(table["item_id"]), _micros(table["at"])
    order = np.lexsort((item, at, user))
    order = order[user[order] >= 0]
    counts = np.bincount(user[order], minlength=len(users))
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return UserHistories(
        users,
        Histories(
            offsets,
            item[order],
            table["weight"].to_numpy()[order],
            at[order],
            kind_codes(table["kind"])[order],
            shares(table["share"])[order],
        ),
    )


def kind_codes(kinds: pa.ChunkedArray) -> Codes:
    """Number kinds of event by their place in EVENT_KINDS, from 1; 0 is unknown."""
    codes = pc.index_in(kinds, value_set=pa.array(EVENT_KINDS))
    return (1 + pc.fill_null(codes, -1).to_numpy()).astype(np.int8)


def shares(column: pa.ChunkedArray) -> Weights:
    """Shares watched, NaN where unknown."""
    return pc.fill_null(column, float("nan")).to_numpy().astype(np.float32)


def _or(column: Array | None, part: Histories, unknown: np.generic) -> Array:
    return np.full(len(part.items), unknown) if column is None else column


def _known(table: pa.Table, items: Vocabulary) -> pa.Table:
    return table.filter(pc.is_in(table["item_id"], value_set=items.ids))


def _micros(column: pa.ChunkedArray) -> Micros:
    return column.cast(pa.int64()).to_numpy()
