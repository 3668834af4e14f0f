"""What the benchmark of cold items compares, and how lists are judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_array

from avrec.arrays import Mask, Vectors, unit
from avrec.embed.pool import Content
from avrec.evaluate import ItemCase, hits_of, item_cases, lists_of
from avrec.factors import Factors, Retriever, among
from avrec.index import Lister, TopK
from avrec.interactions import Histories, histories
from avrec.metrics import ndcg, recall
from avrec.models import als
from avrec.models.als import ALS, ALSConfig
from avrec.splits import ItemSplit
from jobs.benchmark_cold_fused import Fused

K = 20
SIMILAR = 10
"""Warm items whose popularity foretells that of a cold one."""

Scores = dict[str, float]


class World(NamedTuple):
    """One split as models see it, with its cases by name: warm, cold, overall."""

    content: Content
    past: Histories
    weights: csr_array
    cases: Mapping[str, ItemCase]
    trained: Mask


@dataclass(frozen=True, slots=True)
class Chance:
    """Lists drawn at random."""

    able: Mask
    name: str = "chance"

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:  # noqa: ARG002
        """Draw anew for each query."""
        rng, rows = np.random.default_rng(0), np.flatnonzero(self.able).astype(np.int32)
        drawn = [rng.choice(rows, k, replace=False) for _ in range(len(histories))]
        return TopK(np.stack(drawn), np.zeros((len(histories), k), np.float32))


def world(split: ItemSplit, content: Content, unasked: Mask | None = None) -> World:
    """Prepare a split; what is `unasked` is in no list."""
    items = content.items
    past = histories(split.train, items).histories
    cases = {}
    for case, able in item_cases(split, items):
        kept = able if unasked is None else able & ~unasked
        cases[case.name.removeprefix("items/")] = ItemCase(case, kept)
    weights = past.matrix(len(items))
    return World(content, past, weights, cases, np.bincount(past.items, minlength=len(items)) > 0)


def some_of(given: World, count: int) -> World:
    """The same with cases of some users."""

    def fewer(one: ItemCase) -> ItemCase:
        users = np.random.default_rng(0).permutation(len(one.case.users))[:count]
        return ItemCase(one.case.take(np.sort(users).astype(np.int32)), one.able)

    return given._replace(cases={name: fewer(one) for name, one in given.cases.items()})


def judged(model: Retriever | Lister, one: ItemCase) -> Scores:
    """Mean recall and ndcg of lists of what is able."""
    if isinstance(model, Fused):
        model = model.among(one.able)
    asked = model if isinstance(model, Lister) else among(model, one.able)
    lists = lists_of([asked], one.case, K)[model.name]
    hits = hits_of(lists, one.case.relevant, len(one.able))
    counts = one.case.relevant.lengths()
    values = {"recall": recall(hits, counts, K), "ndcg": ndcg(hits, counts, K)}
    return {name: float(found.mean()) for name, found in values.items()}


def weighed(content: Content, weights: Mapping[str, float], *names: str) -> Content:
    """Some modalities, or all, each with its weight in the mean of cosines."""
    some = names or tuple(content.modalities)
    scaled = {
        name: content.modalities[name] * np.float32(weights.get(name, 1) ** 0.5) for name in some
    }
    return Content(content.items, scaled)


def factors(given: World, reg: float, epochs: int = 10) -> ALS:
    """Factorise what is told."""
    config = ALSConfig(dim=64, reg=reg, unobserved_weight=0.1, epochs=epochs)
    found = als.fit(given.weights, config, rng=np.random.default_rng(0))
    return ALS(Factors(given.content.items, found), config)


def popular_alike(given: World) -> Factors:
    """How popular an item is, and a cold one by the mean of the most similar warm ones."""
    rows, counts = (
        given.content.joined(),
        np.bincount(given.past.items, minlength=len(given.trained)),
    )
    warm = np.flatnonzero(given.trained)
    alike = rows[~given.trained] @ rows[warm].T
    nearest = warm[np.argpartition(-alike, SIMILAR, axis=1)[:, :SIMILAR]]
    told = counts.astype(np.float32)
    told[~given.trained] = counts[nearest].mean(axis=1)
    return Factors(given.content.items, told[:, None])


def principal(content: Content, width: int) -> Vectors:
    """Content along its principal axes, unit rows."""
    rows = content.joined()
    centred = rows - rows.mean(axis=0)
    dim = centred.shape[1]
    most = (max(0, dim - width), dim - 1)
    axes = eigh(centred.T @ centred, subset_by_index=most)[1]
    return unit(np.asarray(centred @ axes, np.float32))
