"""Ranking metrics, as functions of relevance in rank order.

`hits[q, r]` is true where the item that query `q` got at rank `r + 1` is relevant;
`num_relevant[q]` counts all that were relevant. Each metric gives one value a query, NaN where
nothing is relevant. A list shorter than k counts as if the rest were not relevant.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avrec.arrays import Idx, Mask, Scores, Values

Hits = Mask
Counts = npt.NDArray[np.int64]
DRAWS_PER_BLOCK = 1 << 21


class Interval(NamedTuple):
    """A mean with its bootstrap interval."""

    value: float
    low: float
    high: float


def recall(hits: Hits, num_relevant: Counts, k: int) -> Values:
    """Share of the relevant items that are among the first `k`."""
    return _ratio(hits[:, :k].sum(axis=1), num_relevant)


def ndcg(hits: Hits, num_relevant: Counts, k: int) -> Values:
    """Gain discounted by log2(rank + 1), over that of the best possible order."""
    discount = 1 / np.log2(np.arange(k) + 2)
    gain = hits[:, :k] @ discount[: hits.shape[1]]
    ideal = np.concatenate(([0.0], np.cumsum(discount)))[np.minimum(num_relevant, k)]
    return _ratio(gain, ideal)


def mrr(hits: Hits, num_relevant: Counts, k: int) -> Values:
    """One over the rank of the first relevant item among the first `k`, or 0."""
    first = hits[:, :k].argmax(axis=1) if hits[:, :k].size else np.zeros(len(hits), np.int64)
    return _where_relevant(_any(hits, k) / (first + 1), num_relevant)


def hit_rate(hits: Hits, num_relevant: Counts, k: int) -> Values:
    """Whether a relevant item is among the first `k`, as 1 or 0."""
    return _where_relevant(_any(hits, k).astype(np.float64), num_relevant)


def coverage(lists: Idx, able: Mask, k: int) -> float:
    """Share of the items that may be listed, `able`, that are in the first `k` of any list."""
    shown = np.unique(lists[:, :k])
    return float(_ratio(able[shown[shown >= 0]].sum(), able.sum()))


def novelty(lists: Idx, counts: Counts, k: int) -> Values:
    """Mean of -log2 p(item) over the first `k` of each list; an empty list gives NaN.

    p is the item's share of `counts`, the interactions trained on, one more for every item so
    that a new one has a finite surprise (Zhou et al., PNAS 2010).
    """
    surprise = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    shown = lists[:, :k]
    listed = shown >= 0
    return _ratio((surprise[shown] * listed).sum(axis=1), listed.sum(axis=1))


def hits_among(wanted: Scores, others: Scores) -> Hits:
    """Where the one relevant item of each query stands when ranked among given others.

    Args:
        wanted: score of the relevant item, shape (num_queries,).
        others: scores of the others, shape (num_queries, num_others). One that scores the same
            is ranked above the relevant item: ties count against the model.
    """
    rank = (others >= wanted[:, None]).sum(axis=1)
    return np.asarray(np.arange(others.shape[1] + 1) == rank[:, None])


def bootstrap(values: Values, rng: np.random.Generator, num_samples: int = 1000) -> Interval:
    """Mean over the queries that are not NaN, with its 95 % percentile interval.

    No such query gives NaN for all three.
    """
    return intervals(values[:, None], rng, num_samples)[0]


def intervals(columns: Values, rng: np.random.Generator, num_samples: int = 1000) -> list[Interval]:
    """`bootstrap` each column of shape (num_queries, num_columns) on the same resamples.

    A resample is a count of how often each query was drawn, so that all columns' means are one
    product of matrices; few resamples are held at a time.
    """
    known = ~np.isnan(columns)
    sums, counts = np.where(known, columns, 0), known.astype(np.float64)
    means = [
        _ratio(drawn @ sums, drawn @ counts) for drawn in _resamples(len(columns), rng, num_samples)
    ]
    return [
        _interval(column[seen], resampled[~np.isnan(resampled)])
        for column, seen, resampled in zip(columns.T, known.T, np.concatenate(means).T, strict=True)
    ]


def _resamples(num_queries: int, rng: np.random.Generator, num_samples: int) -> Iterator[Values]:
    """How often each query is drawn, in blocks of shape (some samples, num_queries)."""
    step = max(1, DRAWS_PER_BLOCK // max(num_queries, 1))
    for first in range(0, num_samples, step):
        size = min(step, num_samples - first), num_queries
        drawn = rng.integers(0, max(num_queries, 1), size, dtype=np.uint32)
        yield np.stack([np.bincount(row, minlength=num_queries) for row in drawn]).astype(
            np.float64
        )


def _interval(values: Values, resampled: Values) -> Interval:
    if not len(values) or not len(resampled):
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def _any(hits: Hits, k: int) -> Mask:
    return np.asarray(hits[:, :k].any(axis=1))


def _where_relevant(values: Values, num_relevant: Counts) -> Values:
    return np.where(num_relevant > 0, values, np.nan)


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Values:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
