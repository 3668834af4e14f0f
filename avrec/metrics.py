"""Ranking metrics, as functions of relevance in rank order.

`hits[q, r]` is true where the item that query `q` got at rank `r + 1` is relevant;
`num_relevant[q]` counts all that were relevant. Each metric gives one value a query, NaN where
nothing is relevant. A list shorter than k counts as if the rest were not relevant.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avrec.arrays import Idx, Mask, Values

Hits = Mask
Counts = npt.NDArray[np.int64]


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


def bootstrap(values: Values, rng: np.random.Generator, num_samples: int = 1000) -> Interval:
    """Mean over the queries that are not NaN, with its 95 % percentile interval.

    No such query gives NaN for all three.
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    means = np.empty(num_samples)
    for sample in range(num_samples):
        means[sample] = values[rng.integers(0, len(values), len(values))].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def _any(hits: Hits, k: int) -> Mask:
    return np.asarray(hits[:, :k].any(axis=1))


def _where_relevant(values: Values, num_relevant: Counts) -> Values:
    return np.where(num_relevant > 0, values, np.nan)


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Values:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
