"""Exact top-k by dot product, in blocks, so that no (queries x items) matrix is ever held.

Ties break by lower item row, which is item_id order. A zero vector is no opinion: a zero item
is in no list, and a zero query has an empty one.

Many queries at once go to compiled kernels, which take seconds to compile on a machine's first
run, and less than one to load after that. Few, as in a request, are NumPy's, so that none waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from avrec.arrays import Idx, Mask, Scores, Vectors
from avrec.factors import Retriever
from avrec.index_search import catalogue, search_all, search_in
from avrec.interactions import Histories

QUERIES_PER_BLOCK = 256
ITEMS_PER_BLOCK = 16_384
VECTORS_PER_BLOCK = 4096
MANY_QUERIES, MANY_SCORES = 256, 1 << 22


class TopK(NamedTuple):
    """Lists of length k, best first, padded with row -1 and score -inf; shape (num_queries, k)."""

    idx: Idx
    scores: Scores


@runtime_checkable
class Lister(Protocol):
    """A trained model that can list, whether or not its scores are products of vectors."""

    @property
    def name(self) -> str:
        """Short name, the same in tables, sources and files."""
        ...

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the first `k` for each row of `histories`; an empty history has an empty list.

        `exclude` has one row of catalogue rows a query, left out of its list.
        """
        ...


@dataclass(frozen=True, slots=True)
class VectorLister:
    """A retriever's vectors as a `Lister`; queries' vectors are made some at a time."""

    model: Retriever

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the items of the highest dot product."""
        blocks = []
        for start, stop in pairwise(_bounds(len(histories), VECTORS_PER_BLOCK)):
            rows = np.arange(start, stop, dtype=np.int32)
            queries = self.model.user_vectors(histories.take(rows))
            barred = None if exclude is None else exclude.take(rows)
            blocks.append(top_k(queries, self.model.items.vectors, k, barred))
        return stacked(blocks, k)


def as_lister(model: Retriever | Lister) -> Lister:
    """Make any trained model one that lists."""
    return model if isinstance(model, Lister) else VectorLister(model)


def stacked(blocks: Sequence[TopK], k: int) -> TopK:
    """Put lists of length `k` below one another; none gives no lists."""
    none = TopK(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
    return TopK(*(np.concatenate(parts) for parts in zip(none, *blocks, strict=True)))


def top_k(
    queries: Vectors,
    items: Vectors,
    k: int,
    exclude: Histories | None = None,
    known: Mask | None = None,
    *,
    threads: int = 1,
) -> TopK:
    """Find the k items with the highest dot product for each query.

    What is found depends on neither blocks nor threads; many queries and few may differ in the last
    bit of a score.

    Args:
        queries: shape (num_queries, dim).
        items: shape (num_items, dim).
        k: length of a list, at least 1; where fewer items can be had, the rest is padding.
        exclude: one row of item rows a query, left out of its list.
        known: items that may be listed at all; default those that are not a zero row.
        threads: how many share the work where queries are many; few have as many as BLAS takes.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if exclude is not None and len(exclude) != len(queries):
        raise ValueError(f"exclude must have {len(queries)} rows, got {len(exclude)}")
    listable = np.asarray(items.any(axis=1)) if known is None else known
    if len(queries) >= MANY_QUERIES and len(queries) * len(items) >= MANY_SCORES:
        return TopK(*search_all(queries, items, k, exclude, listable, threads=threads))
    return _in_blocks(queries, items, k, exclude, listable)


class Scan:
    """Items made ready once for exact lists, one query or many at a time, from any thread.

    It holds a copy of the vectors. Lists are those of `top_k`, made by the kernels alone.

    Args:
        items: shape (num_items, dim).
        known: items that may be listed at all; default those that are not a zero row.
    """

    way = "exact scan"

    def __init__(self, items: Vectors, known: Mask | None = None) -> None:
        listable = np.asarray(items.any(axis=1)) if known is None else known
        self._ready = catalogue(items, listable)
        self.top_k(items[:1], 1)  # compiles, lest the first request wait for it

    def top_k(
        self, queries: Vectors, k: int, exclude: Histories | None = None, *, threads: int = 1
    ) -> TopK:
        """Find the k items with the highest dot product for each query; see `top_k`."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if exclude is not None and len(exclude) != len(queries):
            raise ValueError(f"exclude must have {len(queries)} rows, got {len(exclude)}")
        return TopK(*search_in(self._ready, queries, k, exclude, threads=threads))


def _in_blocks(
    queries: Vectors, items: Vectors, k: int, exclude: Histories | None, known: Mask
) -> TopK:
    found = TopK(
        np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
    )
    for start, stop in pairwise(_bounds(len(queries), QUERIES_PER_BLOCK)):
        barred = None if exclude is None else exclude.take(np.arange(start, stop, dtype=np.int32))
        best = _search(queries[start:stop], items, k, barred, known)
        found.idx[start:stop, : best.idx.shape[1]] = best.idx
        found.scores[start:stop, : best.idx.shape[1]] = best.scores
    return found


def best_of(scores: Scores, k: int) -> TopK:
    """Find the k highest of scores of the whole catalogue, shape (num_queries, num_items).

    A score of -inf is never listed.
    """
    rows = np.broadcast_to(np.arange(scores.shape[1], dtype=np.int32), scores.shape)
    best, lacking = _select(rows, scores, k), ((0, 0), (0, max(0, k - scores.shape[1])))
    return TopK(
        np.pad(best.idx, lacking, constant_values=-1),
        np.pad(best.scores, lacking, constant_values=-np.inf),
    )


def _search(
    queries: Vectors, items: Vectors, k: int, exclude: Histories | None, known: Mask
) -> TopK:
    """Merge the best of each block of items into the best so far."""
    best = TopK(np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.float32))
    silent = ~queries.any(axis=1)
    for start, stop in pairwise(_bounds(len(items), ITEMS_PER_BLOCK)):
        scores = queries @ items[start:stop].T
        scores[silent] = -np.inf
        scores[:, ~known[start:stop]] = -np.inf
        if exclude is not None:
            inside = (exclude.items >= start) & (exclude.items < stop)
            scores[exclude.query_of_item()[inside], exclude.items[inside] - start] = -np.inf
        rows = np.broadcast_to(np.arange(start, stop, dtype=np.int32), scores.shape)
        both = np.concatenate([best.scores, scores], axis=1)
        best = _select(np.concatenate([best.idx, rows], axis=1), both, k)
    return best


def _select(idx: Idx, scores: Scores, k: int) -> TopK:
    """Keep the k best columns of each row, sorted; entries of score -inf become padding.

    Of columns with the same score, those further left must have the lower `idx`.
    """
    if scores.shape[1] > k:
        keep = _first_k(scores, k)
        idx = np.take_along_axis(idx, keep, axis=1)
        scores = np.take_along_axis(scores, keep, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    idx, scores = np.take_along_axis(idx, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return TopK(np.where(np.isneginf(scores), np.int32(-1), idx), scores)


def _first_k(scores: Scores, k: int) -> Idx:
    """Columns of the k best, ascending; of those equal to the k-th, the leftmost."""
    kth = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, level = scores > kth, scores == kth
    room = k - above.sum(axis=1, keepdims=True)
    chosen = above | (level & (np.cumsum(level, axis=1, dtype=np.int32) <= room))
    return np.nonzero(chosen)[1].reshape(len(scores), k).astype(np.int32)


def _bounds(length: int, step: int) -> list[int]:
    return [*range(0, length, step), length]
