"""What the ranker learns from: impressions, described as they were, and how it is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Micros, Scores, Values, Vectors
from avrec.factors import Retriever
from avrec.interactions import histories
from avrec.models.features import Features, featurize
from avrec.models.knowledge import Knowledge
from avrec.schema import LABELS, conform
from avrec.users import told
from avrec.vocab import Vocabulary

ENGAGED = 0.5
"""Label from which an impression counts as a success, where a metric needs a yes or a no."""


@dataclass(frozen=True, slots=True)
class Impressions:
    """Labelled impressions in order of time; every array has one entry an impression.

    `request` numbers the lists that they were shown in, `scores` has one entry by retriever.
    """

    features: Features
    labels: Scores
    request: Idx
    at: Micros
    scores: Mapping[str, Scores]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Array) -> "Impressions":
        """Some of the impressions."""
        return Impressions(
            Features(self.features.dense[rows], self.features.fields[rows]),
            self.labels[rows],
            self.request[rows],
            self.at[rows],
            {name: scores[rows] for name, scores in self.scores.items()},
        )


def between(labels: pa.Table, start: int, stop: int) -> pa.Table:
    """LABELS of impressions in [start, stop), UTC microseconds."""
    at = conform(labels, LABELS)["at"].cast(pa.int64())
    return labels.filter(pc.and_(pc.greater_equal(at, start), pc.less(at, stop)))


def describe(
    labels: pa.Table,
    interactions: pa.Table,
    items: Vocabulary,
    retrievers: Sequence[Retriever],
    knowledge: Knowledge,
    people: pa.Table | None = None,
) -> Impressions:
    """Describe each impression by what was known just before it.

    Impressions of items outside the catalogue, or that the user had already taken to, are left
    out: neither is ever ranked in serving.

    Args:
        labels: LABELS.
        interactions: INTERACTIONS that histories are cut from; later ones do no harm.
        items: the catalogue.
        retrievers: trained on what came before all of these impressions.
        knowledge: the same of the catalogue.
        people: USERS, where anybody is described.
    """
    table = conform(labels, LABELS).sort_by([("at", "ascending")])
    table = table.filter(pc.is_in(table["item_id"], value_set=items.ids))
    users = Vocabulary.of(table["user_id"])
    user, item = users.idx(table["user_id"]), items.idx(table["item_id"])
    at = np.asarray(table["at"].cast(pa.int64()).to_numpy())
    moments, place = np.unique(np.stack([user, at]), axis=1, return_inverse=True)
    query: Idx = place.ravel().astype(np.int32)
    past = told(histories(interactions, items, users).histories, users, people)
    past = replace(past.as_of(moments[0], moments[1]), asked_at=moments[1])
    fresh = ~np.isin(
        query.astype(np.int64) * len(items) + item,
        past.query_of_item().astype(np.int64) * len(items) + past.items,
    )
    query, item, at = query[fresh], item[fresh], at[fresh]
    scores = {r.name: _dots(r.user_vectors(past), r.items.vectors, query, item) for r in retrievers}
    return Impressions(
        features=featurize(past, query, item, scores, knowledge, at),
        labels=table["label"].to_numpy()[fresh],
        request=_requests(table)[fresh],
        at=at,
        scores=scores,
    )


def halves(impressions: Impressions, latest_share: float) -> tuple[Impressions, Impressions]:
    """Cut at a moment, so that about `latest_share` of them come after it."""
    if not len(impressions):
        return impressions, impressions
    cut = np.quantile(impressions.at, 1 - latest_share)
    return impressions.take(impressions.at < cut), impressions.take(impressions.at >= cut)


def judge(impressions: Impressions, scores: Scores) -> dict[str, float]:
    """Measure scores against labels: log loss, AUC, and NDCG within a request.

    The log loss is NaN for scores outside [0, 1].
    """
    return {
        "log_loss": log_loss(impressions.labels, scores),
        "auc": auc(impressions.labels >= ENGAGED, scores),
        "ndcg": ndcg_within(impressions.request, impressions.labels, scores),
    }


def compare(impressions: Impressions, scores: Scores) -> dict[str, float]:
    """Judge the ranker's scores beside those of each retriever; keys are `name/measure`."""
    every = {"ranker": scores, **impressions.scores}
    return {
        f"{name}/{measure}": value
        for name, values in every.items()
        for measure, value in judge(impressions, values).items()
        if np.isfinite(value)
    }


def log_loss(labels: Scores, scores: Scores) -> float:
    """Mean binary cross entropy against shares; NaN for none, or for scores outside [0, 1]."""
    if not len(labels) or scores.min() < 0 or scores.max() > 1:
        return float("nan")
    chance = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(labels * np.log(chance) + (1 - labels) * np.log(1 - chance)).mean())


def auc(positive: Mask, scores: Scores) -> float:
    """Chance that a success outranks a failure, ties counting half; NaN without both."""
    num_positive, num_negative = positive.sum(), (~positive).sum()
    if not num_positive or not num_negative:
        return float("nan")
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    above = rank[positive].sum() - num_positive * (num_positive + 1) / 2
    return float(above / (num_positive * num_negative))


def ndcg_within(request: Idx, labels: Scores, scores: Scores) -> float:
    """NDCG of the order by score within each request, mean over those whose labels differ.

    Gains are the labels, discounts 1 / log2(1 + rank). NaN where there is no such request.
    """
    best, reached = _gains(request, labels, labels), _gains(request, labels, scores)
    low, high = np.full(len(best), np.inf), np.full(len(best), -np.inf)
    np.minimum.at(low, request, labels)
    np.maximum.at(high, request, labels)
    telling = high > low
    return float((reached[telling] / best[telling]).mean()) if telling.any() else float("nan")


def _gains(request: Idx, labels: Scores, scores: Scores) -> Values:
    """Discounted gain of each request, its impressions ordered by score."""
    order = np.lexsort((-scores, request))
    starts = np.searchsorted(request[order], request[order])
    discount = 1 / np.log2(2 + np.arange(len(order)) - starts)
    size = int(request.max(initial=-1)) + 1
    gains: Values = np.bincount(request[order], labels[order] * discount, size).astype(np.float64)
    return gains


def _requests(table: pa.Table) -> Idx:
    """Number the lists: by user and request id, or by user and moment where there is none."""
    moment = table["at"].cast(pa.int64()).cast(pa.string())
    named = pc.coalesce(table["request_id"], moment)
    keys = pc.binary_join_element_wise(table["user_id"], named, "\0")
    codes = keys.combine_chunks().dictionary_encode().indices
    return np.asarray(codes.to_numpy(), np.int32)


def _dots(users: Vectors, items: Vectors, query: Idx, item: Idx) -> Scores:
    scores: Scores = np.einsum("nd,nd->n", users[query], items[item])
    return scores
