"""How good ALS's lists are, beside published figures and beside implicit's models.

    python -m jobs.benchmark_als_quality --data FOLDER

FOLDER has one folder a set (see `jobs.benchmark_sets`); a set that is not there is skipped aloud.

* ml-1m-ncf: the settings that Rendle et al. give for this table (RecSys 2022), the mean of three
  seeds, and of ten, as in theirs. Users are folded in from the final items, which is what is
  served; theirs are rows that were solved before the last update of the items.
* ml-1m-sasrec and hetrec-lastfm-2k: every model gets the same number of settings, drawn from its
  own space, narrowed by what validation parts said. The one best by ndcg@10 on the validation part
  is fitted again on all that is known, with three seeds where chance has a part, and asked for the
  test. Lists are over all items less those known.

Both ALS are searched in the same two directions: the weight of what is not observed beside what is
(ours, or 1 / alpha for implicit), and the penalty in that scale (reg * unobserved_weight, a pair,
or regularization / alpha). The settings by their own names depend on one another so much that
most draws of both would be wasted. Ours has its exponent besides, the penalty of a row of middling
frequency held as drawn. All models may have their weights binary, by log, or by log relative to
the user's mean.

Each figure is printed as one line of JSON; a goal is the better of the peers.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_array, csr_matrix
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from avrec.arrays import Idx, Offsets, Values, Vectors, Weights
from avrec.evaluate import (
    RELEVANCE,
    EvaluateConfig,
    among_negatives,
    evaluate,
    format_table,
    hits_of,
)
from avrec.factors import Factors, Retriever
from avrec.index import Lister, TopK, as_lister, top_k
from avrec.interactions import Histories
from avrec.metrics import bootstrap, hit_rate, ndcg
from avrec.models import als, neighbours
from avrec.models.als import ALSConfig
from avrec.models.neighbours import NeighboursConfig
from avrec.tuning import Plain, Range, Setting, Space, settings
from jobs import benchmark_sets as sets
from jobs.benchmark_sets import Asked, Task

SEEDS = (0, 1, 2)
NCF_SEEDS = range(10)
THREADS = 2
OF_RENDLE = ALSConfig(dim=192, epochs=12, reg=0.007, unobserved_weight=0.3, solver="cholesky")
NCF_GOALS = {"HR@10": 0.730, "NDCG@10": 0.453}
NCF_PEER = {"HR@10": 0.726, "NDCG@10": 0.445}
CHOSEN_BY = ("ndcg", 10)
REPORTED = (CHOSEN_BY, ("recall", 20))
CONFIG = EvaluateConfig(k=(10, 20), bootstrap_samples=500)
WEIGHTS: tuple[Plain, ...] = ("binary", "log", "relative")
DIMS: tuple[Plain, ...] = (128, 256)
NEIGHBOURS: tuple[Plain, ...] = (20, 50, 100, 200, 500)

Fit = Callable[[Task, Mapping[str, Plain], int], Retriever | Lister]


class Method(NamedTuple):
    """A model to compare: what may be set, and how it is fitted with a setting and a seed."""

    name: str
    space: Space
    fit: Fit
    seeds: tuple[int, ...] = SEEDS


@dataclass(frozen=True, slots=True)
class Rows:
    """A model of implicit, which lists for the users that it was trained on."""

    name: str
    users: Vectors
    items: Vectors

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """List for the users in their order; histories play no part."""
        assert len(histories) == len(self.users)
        return top_k(self.users, self.items, k, exclude)


def of_avrec(task: Task, chosen: Mapping[str, Plain], seed: int) -> Retriever:
    """Fit our ALS."""
    unobserved, exponent = (float(chosen[key]) for key in ("unobserved_weight", "reg_exponent"))
    pairs = task.weights.nnz / np.array(task.weights.shape) + unobserved * np.array(
        task.weights.shape[::-1]
    )
    middling = float(np.sqrt(pairs.prod())) ** (1 - exponent)
    reg = float(chosen["reg_per_pair"]) / unobserved * middling
    own = _without(chosen, "weights", "reg_per_pair")
    config = ALSConfig(epochs=16, reg=reg, **own)
    rng = np.random.default_rng(seed)
    vectors = als.fit(task.weights, config, rng=rng, threads=THREADS)
    return als.ALS(Factors(task.items, vectors), config)


def of_implicit(task: Task, chosen: Mapping[str, Plain], seed: int) -> Lister:
    """Fit implicit's ALS."""
    model = AlternatingLeastSquares(
        **_without(chosen, "weights", "regularization_per_alpha"),
        regularization=float(chosen["regularization_per_alpha"]) * float(chosen["alpha"]),
        iterations=16,
        num_threads=THREADS,
        random_state=seed,
    )
    with threadpool_limits(1, "blas"):
        model.fit(csr_matrix(task.weights), show_progress=False)
    return Rows("implicit als", model.user_factors[task.rows], model.item_factors)


def of_neighbours(task: Task, chosen: Mapping[str, Plain], seed: int) -> Lister:  # noqa: ARG001
    """Fit a neighbours model; that of items is implicit's, as its tests show."""
    config = replace(NeighboursConfig(), **_without(chosen, "weights"))
    return neighbours.fit(task.weights, task.items, config)


def _without(chosen: Mapping[str, Plain], *names: str) -> dict[str, Any]:
    return {key: value for key, value in chosen.items() if key not in names}


METHODS = (
    Method(
        "avrec als",
        {
            "dim": DIMS,
            "unobserved_weight": Range(0.03, 3.0, log=True),
            "reg_per_pair": Range(0.0002, 0.006, log=True),
            "reg_exponent": Range(0.0, 1.0),
            "weights": WEIGHTS,
        },
        of_avrec,
    ),
    Method(
        "implicit als",
        {
            "factors": DIMS,
            "alpha": Range(0.33, 33.0, log=True),
            "regularization_per_alpha": Range(1.0, 30.0, log=True),
            "weights": WEIGHTS,
        },
        of_implicit,
    ),
    Method(
        "item bm25",
        {
            "num_neighbours": NEIGHBOURS,
            "k1": Range(0.1, 200.0, log=True),
            "b": Range(0.0, 1.0),
            "weights": (*WEIGHTS, "raw"),
        },
        of_neighbours,
        seeds=(0,),
    ),
)
PEERS = tuple(method.name for method in METHODS[1:])


def weighted(task: Task, how: Plain) -> Task:
    """Turn counts into weights.

    "binary" is 1, "log" 1 + log(count), "relative" log2(1 + count / mean of the user's), and "raw"
    what they are.
    """
    matrix, known = task.weights, task.case.histories
    cells = _turn(matrix.data, matrix.indptr, how), matrix.indices, matrix.indptr
    told = replace(known, weights=_turn(known.weights, known.offsets, how))
    turned = csr_array(cells, shape=matrix.shape)
    return task._replace(weights=turned, case=replace(task.case, histories=told))


def _turn(counts: Weights, indptr: Offsets, how: Plain) -> Weights:
    if how == "raw":
        return counts
    if how == "relative":
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        mean = np.bincount(row, counts) / np.maximum(np.bincount(row), 1)
        return np.log2(1 + counts / mean[row]).astype(np.float32)
    return (1 + np.log(counts) if how == "log" else np.ones_like(counts)).astype(np.float32)


def listed(method: Method, task: Task, setting: Setting, seed: int) -> Idx:
    """Fit and list the first for each user of the case."""
    turned = weighted(task, setting["weights"])
    model = method.fit(turned, setting, seed)
    return as_lister(model).lists(turned.case.histories, max(CONFIG.k), task.case.histories).idx


def values(metric: str, k: int, lists: Idx, task: Task) -> Values:
    """A metric, one value a user of the case."""
    relevant = task.case.relevant
    return RELEVANCE[metric](hits_of(lists, relevant, len(task.items)), relevant.lengths(), k)


def choose(method: Method, asked: Asked, num_settings: int) -> Setting:
    """Try settings on the validation part, print each, and return the best."""
    task, tried = asked.validation, []
    counted = bool((task.weights.data != 1).any())
    space = method.space if counted else {**method.space, "weights": ("binary",)}
    for setting in settings(space, "random", num_settings, seed=1):
        start = time.perf_counter()
        value = values(*CHOSEN_BY, listed(method, task, setting, 0), task).mean()
        tried.append((value, setting))
        print(f"{value:.4f}  {method.name}  {_words(setting)}  {time.perf_counter() - start:.1f} s")
    best = max(tried, key=lambda one: one[0])
    print(f"chosen: {method.name} {best[0]:.4f} {_words(best[1])}\n", flush=True)
    return best[1]


def compare(asked: Asked, num_settings: int) -> None:
    """Choose settings of each method, and report what it does in the test."""
    found: dict[str, list[Idx]] = {}
    for method in METHODS:
        setting = choose(method, asked, num_settings)
        found[method.name] = [listed(method, asked.test, setting, seed) for seed in method.seeds]
    first = {name: lists[0] for name, lists in found.items()}
    print(f"{asked.name}: {asked.test.weights.shape[0]} users, {asked.test.weights.shape[1]} items")
    print(format_table(evaluate(first, asked.test.case, CONFIG, seed=0)), "\n", flush=True)
    for metric, k in REPORTED:
        by_user = {
            name: np.mean([values(metric, k, lists, asked.test) for lists in each], axis=0)
            for name, each in found.items()
        }
        means = {name: float(each.mean()) for name, each in by_user.items()}
        peer = max(PEERS, key=lambda name: means[name])
        ahead = bootstrap(by_user["avrec als"] - by_user[peer], np.random.default_rng(0))
        print("  ".join(f"{name} {metric}@{k} {value:.4f}" for name, value in means.items()))
        bounds = f"[{ahead.low:+.4f}, {ahead.high:+.4f}]"
        print(f"ahead of {peer}, user by user: {ahead.value:+.4f} {bounds}")
        report(
            f"{asked.name}, {metric}@{k}, beside {peer}",
            means["avrec als"],
            peer=means[peer],
            goal=means[peer],
        )


def sampled(folder: Path) -> None:
    """Report the table of NCF."""
    given = sets.ncf(folder)
    items, known = sets.vocabulary("i", given.weights.shape[1]), sets.histories_of(given.weights)
    one, values = np.ones(len(given.held_out), np.int64), []
    for seed in NCF_SEEDS:
        start = time.perf_counter()
        rng = np.random.default_rng(seed)
        vectors = als.fit(given.weights, OF_RENDLE, rng=rng, threads=THREADS)
        model = als.ALS(Factors(items, vectors), OF_RENDLE)
        hits = among_negatives(model, known, given.held_out, given.negatives)
        values.append([float(f(hits, one, 10).mean()) for f in (hit_rate, ndcg)])
        seconds = time.perf_counter() - start
        print(
            f"ml-1m-ncf seed {seed}: HR@10 {values[-1][0]:.4f} NDCG@10 {values[-1][1]:.4f} "
            f"{seconds:.1f} s",
            flush=True,
        )
    for count in (len(SEEDS), len(NCF_SEEDS)):
        some = np.array(values[:count])
        half = student.ppf(0.975, count - 1) * some.std(axis=0, ddof=1) / np.sqrt(count)
        for name, value, wide in zip(NCF_GOALS, some.mean(axis=0), half, strict=True):
            print(f"ml-1m-ncf {name} {value:.4f} +- {wide:.4f} (95 %, {count} seeds)", flush=True)
            figure = f"ml-1m-ncf, {name}, mean of {count} seeds, beside NeuMF"
            report(figure, float(value), peer=NCF_PEER[name], goal=NCF_GOALS[name])


def report(figure: str, value: float, *, peer: float, goal: float) -> None:
    """Print one figure, which is to be at least its goal."""
    line = {"figure": figure, "value": round(value, 4), "unit": "", "peer": round(peer, 4)}
    print(json.dumps(line | {"goal": round(goal, 4), "met": value >= goal}), flush=True)


def _words(setting: Setting) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in setting.items()
    )


def main() -> None:
    """Run every part whose set is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a set")
    parser.add_argument("--sets", nargs="*", help="default every set")
    parser.add_argument("--settings", type=int, default=30, help="settings that each model gets")
    args = parser.parse_args()
    parts: dict[str, Callable[[Path], None]] = {
        "ml-1m-ncf": sampled,
        "ml-1m-sasrec": lambda folder: compare(sets.last_items(folder), args.settings),
        "hetrec-lastfm-2k": lambda folder: compare(sets.listening(folder, seed=1), args.settings),
    }
    for name, part in parts.items():
        if args.sets and name not in args.sets:
            continue
        if (args.data / name).is_dir():
            part(args.data / name)
        else:
            print(f"SKIPPED: there is no {name} in {args.data}", flush=True)


if __name__ == "__main__":
    main()
