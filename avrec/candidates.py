"""What sources proposed, brought together: one flat row for each query and item."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple

import numpy as np

from avrec.arrays import Array, Idx, Mask, Scores, Vectors, distinct
from avrec.copies import Copies
from avrec.stopwatch import Stopwatch


class Proposal(NamedTuple):
    """What one source lists: catalogue rows, shape (num_queries, depth), padded with -1.

    A source of vectors shows the queries' and the items', so that all candidates can be scored.
    """

    name: str
    rows: Idx
    queries: Vectors | None
    items: Vectors | None


@dataclass(slots=True)
class Attempt:
    """A list in the making: its time, and what was proposed so far, from which others may go on."""

    watch: Stopwatch = field(default_factory=Stopwatch)
    proposals: list[Proposal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Candidates:
    """What was proposed, as flat arrays sorted by query, then item.

    `scores[name]` holds every candidate's dot product under that source, if it has vectors;
    `ranks[name]` its place (from 1) in what that one proposed for the query, 0 where it did not.
    """

    query: Idx
    item: Idx
    scores: Mapping[str, Scores]
    ranks: Mapping[str, Idx]

    def sources(self, entries: Idx) -> list[tuple[str, ...]]:
        """Names of the sources that proposed each of some candidates."""
        told = [(ranks[entries] > 0).tolist() for ranks in self.ranks.values()]
        rows = list(zip(*told, strict=True))
        names = {row: tuple(compress(self.ranks, row)) for row in set(rows)}
        return [names[row] for row in rows]

    def where(self, kept: Mask) -> "Candidates":
        """Some of them."""
        scores = {name: values[kept] for name, values in self.scores.items()}
        ranks = {name: places[kept] for name, places in self.ranks.items()}
        return Candidates(self.query[kept], self.item[kept], scores, ranks)


def gathered(
    proposals: Sequence[Proposal], copies: Copies, num_items: int, *, scored: bool = True
) -> Candidates:
    """Join what was proposed; later copies of a work are placed one behind it.

    Scores are left out where they are not `scored`.
    """
    keyed = [_keyed(p.rows, copies.places(p.rows), num_items) for p in proposals]
    keys = distinct(np.concatenate([np.empty(0, np.int64), *(k for k, _ in keyed)]))
    ranks = {}
    for proposal, (proposed, place) in zip(proposals, keyed, strict=True):
        rank = np.zeros(len(keys), np.int32)
        rank[np.searchsorted(keys, proposed)] = place
        ranks[proposal.name] = rank
    query, item = np.divmod(keys, max(num_items, 1))
    voices = proposals if scored else ()
    return _scored(query.astype(np.int32), item.astype(np.int32), voices, ranks)


def given(proposals: Sequence[Proposal], query: Idx, item: Idx) -> Candidates:
    """Judge candidates of somebody else's choice, sorted by query, then item.

    A source of vectors places those that it knows and has an opinion on among themselves, another
    where it lists them; whatever it did not place has rank 0.
    """
    judged = _scored(query, item, proposals, {})
    ranks = {}
    for proposal in proposals:
        if proposal.queries is None or proposal.items is None:
            ranks[proposal.name] = _places_in(proposal.rows, query, item)
        else:
            told = proposal.queries[query].any(axis=1) & proposal.items[item].any(axis=1)
            scores = judged.scores[proposal.name]
            ranks[proposal.name] = _among(judged, scores, np.asarray(told))
    return Candidates(query, item, judged.scores, ranks)


def enough_works(
    lists: Callable[[Idx, int], Idx], num_queries: int, depth: int, copies: Copies
) -> Idx:
    """Ask for longer lists where copies fill one, until it has `depth` works or all there are.

    How long a list gets does not depend on the others beside it.
    """
    num_items = len(copies.group)
    rows = lists(np.arange(num_queries, dtype=np.int32), depth)
    width, short = depth, _short(rows, depth, copies)
    while len(short) and width < num_items:
        width = min(2 * width, num_items)
        rows = np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=-1)
        rows[short] = lists(short, width)
        short = short[_short(rows[short], depth, copies)]
    return rows


def places(candidates: Candidates, scores: Scores) -> Idx:
    """Place of each candidate by score within its query, from 1; ties by item."""
    order = np.lexsort((candidates.item, -scores, candidates.query))
    _, first = np.unique(candidates.query, return_index=True)
    sizes = np.diff([*first, len(scores)])
    place = np.empty(len(scores), np.int32)
    place[order] = np.arange(len(scores)) - np.repeat(first, sizes) + 1
    return place


def _short(rows: Idx, depth: int, copies: Copies) -> Idx:
    """Which full lists have fewer than `depth` works."""
    if not rows.size or not copies.repeated.any():
        return np.empty(0, np.int32)
    lacking = (rows[:, -1] >= 0) & (copies.num_works(rows) < depth)
    return np.flatnonzero(lacking).astype(np.int32)


def _scored(
    query: Idx, item: Idx, proposals: Sequence[Proposal], ranks: Mapping[str, Idx]
) -> Candidates:
    scores = {
        p.name: _dots(p.queries, p.items, query, item)
        for p in proposals
        if p.queries is not None and p.items is not None
    }
    return Candidates(query, item, scores, ranks)


def _among(candidates: Candidates, scores: Scores, told: Mask) -> Idx:
    """Places of those that are told; equals share one, so that no id is favoured."""
    ranks = np.zeros(len(scores), np.int32)
    able, scores = candidates.where(told), scores[told]
    place = places(able, scores)
    order = np.lexsort((place, able.query))
    fresh = np.diff(able.query[order], prepend=-1).astype(bool)
    fresh |= np.diff(scores[order], prepend=np.nan) != 0
    shared = place[order][np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))]
    place[order] = shared
    ranks[told] = place
    return ranks


def _places_in(rows: Idx, query: Idx, item: Idx) -> Idx:
    hits = rows[query] == item[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0).astype(np.int32)


def _keyed(rows: Idx, place: Idx, num_items: int) -> tuple[Array, Array]:
    """Keys (query * num_items + item) and places of one source's proposals."""
    query, column = np.nonzero(rows >= 0)
    keys = query * np.int64(num_items) + rows[query, column]
    return keys, place[query, column]


def _dots(users: Vectors, items: Vectors, query: Idx, item: Idx) -> Scores:
    scores: Scores = np.einsum("nd,nd->n", users[query], items[item])
    return scores
