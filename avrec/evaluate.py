"""Judge ranked lists by what users took to later: full ranking, with intervals over users.

A `Case` is a cut in time: models know what came before it, and what came after it is asked for.
Lists are over the whole catalogue less the user's history. There are two cases:

* "test": histories end at the cut, as in a batch of lists made at that moment.
* "test/second_half": histories go on, as in a service that sees events at once: the first half
  of what each user took to after the cut is told, the second half is asked for.

Splits of the report are, for each case, all users with something relevant, and

* ".../warm_users", ".../new_users": those with and without a history, where there are both.
* ".../warm_items", ".../cold_items": all users, but only items that somebody, or nobody, had taken
  to before the cut are relevant, where there are any of the latter; they still have to find their
  place among all others.

Where items were hidden, there are three cases, "items/warm", "items/cold" and "items/overall":
lists of the items that somebody is known to have taken to, of those that nobody is, and of both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Offsets, Values
from avrec.factors import Retriever
from avrec.index import QUERIES_PER_BLOCK, Lister, as_lister
from avrec.interactions import Histories, histories
from avrec.metrics import (
    Counts,
    Hits,
    Interval,
    coverage,
    hit_rate,
    hits_among,
    intervals,
    mrr,
    ndcg,
    novelty,
    recall,
)
from avrec.schema import METRICS
from avrec.splits import ItemSplit, Split
from avrec.vocab import Vocabulary

BASELINE = "popularity"
RELEVANCE = {"recall": recall, "ndcg": ndcg, "mrr": mrr, "hit_rate": hit_rate}


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """What is reported."""

    k: tuple[int, ...] = (10, 20)
    """Lengths of list that metrics are reported at."""
    bootstrap_samples: int = 1000
    """Resamples of the users behind each interval."""

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 1:
            raise ValueError(f"k must be one or more numbers of at least 1, got {self.k}")
        if self.bootstrap_samples < 1:
            raise ValueError(f"bootstrap_samples must be at least 1, got {self.bootstrap_samples}")


@dataclass(frozen=True, slots=True)
class Case:
    """One row a user with something relevant.

    `histories` holds what each is known to have taken to, `relevant` what they took to later and
    not before; `counts[i]` is the number of interactions of item `i` before the cut, `at` the cut
    in UTC microseconds.
    """

    name: str
    users: Vocabulary
    histories: Histories
    relevant: Histories
    counts: Counts
    at: int

    def take(self, users: Idx) -> "Case":
        """Some of the users, their rows in ascending order."""
        return replace(
            self,
            users=Vocabulary(self.users.id_of(users)),
            histories=self.histories.take(users),
            relevant=self.relevant.take(users),
        )


class _Part(NamedTuple):
    """One split of the report: some users of the case, and what is relevant to each of them."""

    split: str
    users: Idx
    relevant: Histories


def cases(split: Split, items: Vocabulary) -> list[Case]:
    """Make both cases of a split: all before `test_at` is known, what follows is relevant."""
    before = pa.concat_tables([split.train, split.rank])
    users, later = histories(split.test, items)
    past = histories(before, items, users).histories
    later = later.only(~np.isin(_keys(later, len(items)), _keys(past, len(items))))
    rows = items.idx(before["item_id"])
    counts = np.bincount(rows[rows >= 0], minlength=len(items))

    def asking(name: str, told: Mask) -> Case:
        known, relevant = _join(past, later.only(told)), later.only(~told)
        kept = np.flatnonzero(relevant.lengths()).astype(np.int32)
        some = Vocabulary(users.id_of(kept))
        return Case(name, some, known.take(kept), relevant.take(kept), counts, split.test_at)

    place = np.arange(len(later.items)) - later.offsets[later.query_of_item()]
    first_half = 2 * place + 1 < later.lengths()[later.query_of_item()]
    return [asking("test", np.zeros_like(first_half)), asking("test/second_half", first_half)]


class ItemCase(NamedTuple):
    """A case, and which items may be listed in it."""

    case: Case
    able: Mask


def item_cases(split: ItemSplit, items: Vocabulary) -> list[ItemCase]:
    """Make the three cases of a split that hides items; only its `train` is known.

    Models are asked for lists of what is able by `avrec.factors.among`.
    """
    users, later = histories(pa.concat_tables([split.warm, split.cold]), items)
    past = histories(split.train, items, users).histories
    rows = items.idx(split.train["item_id"])
    counts = np.bincount(rows[rows >= 0], minlength=len(items))
    at = pc.max(split.train["at"].cast(pa.int64())).as_py() or 0

    def asking(name: str, able: Mask) -> ItemCase:
        relevant = later.only(able[later.items])
        kept = np.flatnonzero(relevant.lengths()).astype(np.int32)
        some = Vocabulary(users.id_of(kept))
        case = Case(f"items/{name}", some, past.take(kept), relevant.take(kept), counts, at)
        return ItemCase(case, able)

    cold = counts == 0
    groups = {"warm": ~cold, "cold": cold, "overall": np.ones_like(cold)}
    return [asking(name, able) for name, able in groups.items()]


def lists_of(models: Iterable[Retriever | Lister], case: Case, k: int) -> dict[str, Idx]:
    """Ask each model for its first `k` for every user, without the user's history."""
    return {
        model.name: as_lister(model).lists(case.histories, k, exclude=case.histories).idx
        for model in models
    }


def among_negatives(model: Retriever, histories: Histories, held_out: Idx, negatives: Idx) -> Hits:
    """Rank one held-out item a query among the negatives drawn for it, the history not left out.

    Only for tables that were published so: which model is best among a few negatives need not be
    best among all items (Krichene and Rendle, KDD 2020). Of equal scores the held-out item comes
    last; but where it is itself among its negatives, as in the files of NCF, it is no rival of its
    own. Metrics of the result have one relevant item a query.

    Args:
        model: gives the vectors.
        histories: what each query is known to have taken to.
        held_out: rows of the held-out items, shape (num_queries,).
        negatives: rows of the others, shape (num_queries, num_negatives).
    """
    items = model.items.vectors
    hits = np.zeros((len(held_out), negatives.shape[1] + 1), bool)
    for start in range(0, len(held_out), QUERIES_PER_BLOCK):
        block = np.arange(start, min(start + QUERIES_PER_BLOCK, len(held_out)), dtype=np.int32)
        queries = model.user_vectors(histories.take(block))
        asked = np.column_stack([held_out[block], negatives[block]])
        scores = np.einsum("qnd,qd->qn", items[asked], queries)
        scores[:, 1:][asked[:, 1:] == asked[:, :1]] = -np.inf
        hits[block] = hits_among(scores[:, 0], scores[:, 1:])
    return hits


def evaluate(
    lists: Mapping[str, Idx], case: Case, config: EvaluateConfig, *, seed: int
) -> pa.Table:
    """Report METRICS of lists by model name, each of shape (num_users, max k), padded with -1.

    A split without users has no rows. The same users are resampled for every model. Where
    "popularity" is among the models, the others' `recall_gain` and `ndcg_gain` are their recall
    and ndcg less those of popularity, user by user.
    """
    rows = [row for part in _parts(case) for row in _rows(lists, part, case.counts, config, seed)]
    return pa.Table.from_pylist(rows, schema=METRICS)


def hits_of(ranked: Idx, relevant: Histories, num_items: int) -> Hits:
    """Mark what is relevant in lists, one a row of `relevant`."""
    keys = np.arange(len(ranked), dtype=np.int64)[:, None] * num_items + ranked
    return np.isin(keys, _keys(relevant, num_items)) & (ranked >= 0)


def format_table(metrics: pa.Table, k: int | None = None) -> str:
    """Lay METRICS at `k` out as plain text: a block a split, a row a model, a column a metric.

    By default, `k` is the largest there is.
    """
    if not len(metrics):
        return "no user has anything relevant after the cut"
    k = pc.max(metrics["k"]).as_py() if k is None else k
    blocks: dict[str, dict[str, dict[str, str]]] = {}
    users = {}
    for row in metrics.to_pylist():
        if row["k"] == k:
            models = blocks.setdefault(row["split"], {})
            models.setdefault(row["model"], {})[row["metric"]] = _cell(row)
            users[row["split"]] = row["num_users"]
    return "\n\n".join(
        f"{split}: {users[split]} users, mean with half its 95 % interval\n{_grid(models, k)}"
        for split, models in blocks.items()
    )


def summary(metrics: pa.Table) -> pa.Table:
    """METRICS that fit on a screen: at the cut only, and the metrics that are asked for most."""
    shown = ["test", "test/warm_users", "test/warm_items", "test/cold_items"]
    splits = pc.is_in(metrics["split"], value_set=pa.array(shown))
    few = pa.array(["recall", "ndcg", "mrr", "coverage", "novelty"])
    return metrics.filter(pc.and_(splits, pc.is_in(metrics["metric"], value_set=few)))


def _parts(case: Case) -> Iterator[_Part]:
    everyone = np.arange(len(case.users), dtype=np.int32)
    known = case.histories.lengths() > 0
    cold = case.counts[case.relevant.items] == 0
    groups = [("", everyone, case.relevant)]
    if known.any() and not known.all():
        groups.append(("/warm_users", everyone[known], case.relevant))
        groups.append(("/new_users", everyone[~known], case.relevant))
    if cold.any():
        for name, entries in (("warm", ~cold), ("cold", cold)):
            to_some = case.relevant.only(entries)
            groups.append((f"/{name}_items", everyone[to_some.lengths() > 0], to_some))
    for suffix, users, relevant in groups:
        if len(users):
            yield _Part(case.name + suffix, users, relevant.take(users))


def _rows(
    lists: Mapping[str, Idx], part: _Part, counts: Counts, config: EvaluateConfig, seed: int
) -> Iterator[dict[str, object]]:
    """Rows of one split, for all models on the same resamples; holds (users x rows) values."""
    found = {
        (model, k, metric): values
        for model in lists
        for k in config.k
        for metric, values in _compared(lists, model, part, counts, k).items()
    }
    by_user = [values for values in found.values() if values.ndim]
    bounds = iter(
        intervals(
            np.column_stack([np.empty((len(part.users), 0)), *by_user]),
            np.random.default_rng(seed),
            config.bootstrap_samples,
        )
    )
    for (model, k, metric), values in found.items():
        plain = _plain(next(bounds) if values.ndim else Interval(float(values), np.nan, np.nan))
        key = {"model": model, "split": part.split, "metric": metric, "k": k}
        yield key | plain | {"num_users": len(part.users)}


def _compared(
    lists: Mapping[str, Idx], model: str, part: _Part, counts: Counts, k: int
) -> dict[str, Values]:
    """Values of a model, and how far it is above the baseline."""
    values = _values(lists[model][part.users], part, counts, k)
    if model != BASELINE and BASELINE in lists:
        base = _values(lists[BASELINE][part.users], part, counts, k)
        values |= {f"{name}_gain": values[name] - base[name] for name in ("recall", "ndcg")}
    return values


def _values(ranked: Idx, part: _Part, counts: Counts, k: int) -> dict[str, Values]:
    """Each metric's values, one a user; coverage is one number for all."""
    hits, num_relevant = hits_of(ranked, part.relevant, len(counts)), part.relevant.lengths()
    values = {name: metric(hits, num_relevant, k) for name, metric in RELEVANCE.items()}
    share = coverage(ranked, np.ones(len(counts), bool), k)
    return values | {"novelty": novelty(ranked, counts, k), "coverage": np.array(share)}


def _keys(rows: Histories, num_items: int) -> Offsets:
    """One number an entry, different for every (query, item)."""
    return rows.query_of_item().astype(np.int64) * num_items + rows.items


def _plain(found: Interval) -> dict[str, float | None]:
    """Mean and bounds as columns; a number for all users, and NaN, have no bounds."""
    bounds = {"low": found.low, "high": found.high}
    return {"value": found.value} | {
        key: None if np.isnan(bound) else bound for key, bound in bounds.items()
    }


def _join(first: Histories, second: Histories) -> Histories:
    """Put each row of `second` behind that of `first`."""
    query = np.concatenate([first.query_of_item(), second.query_of_item()])
    order = np.argsort(query, kind="stable")

    def both(one: Array, other: Array) -> Array:
        return np.concatenate([one, other])[order]

    def told(one: Array | None, other: Array | None) -> Array | None:
        return None if one is None or other is None else both(one, other)

    return Histories(
        offsets=first.offsets + second.offsets,
        items=both(first.items, second.items),
        weights=both(first.weights, second.weights),
        at=both(first.at, second.at),
        kinds=told(first.kinds, second.kinds),
        shares=told(first.shares, second.shares),
    )


def _cell(row: Mapping[str, float | None]) -> str:
    value, low, high = row["value"], row["low"], row["high"]
    if value is None or np.isnan(value):
        return "-"
    return f"{value:.4f}" + ("" if low is None or high is None else f" ±{(high - low) / 2:.4f}")


def _grid(models: Mapping[str, Mapping[str, str]], k: int) -> str:
    metrics = list(dict.fromkeys(metric for row in models.values() for metric in row))
    cells = [["model", *(f"{metric}@{k}" for metric in metrics)]]
    cells += [
        [model, *(row.get(metric, "") for metric in metrics)] for model, row in models.items()
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
