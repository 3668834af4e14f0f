"""One query over a million vectors of 128 dims: what `avrec.index_ann` builds, and its exact scan.

The vectors are made up, in the shape of learned ones: 4,000 clusters of Zipf sizes around centres
that lie near a 32-dimensional subspace, noise of 0.5 around each, lognormal lengths. A query is the
mean of five items of two clusters, as a person of two tastes. All sides have one thread; they take
turns query by query. The exact scans are numpy's, `items @ query` and the 100 best by partition,
and avrec's own; the faster one is the peer.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from avrec.arrays import Vectors, unit
from avrec.index import Scan
from avrec.index_ann import IndexConfig, Nearly, Searcher, build, has_faiss
from jobs.benchmark_serve_figures import Figure, at_least, at_most

NUM_ITEMS, DIM, CLUSTERS, RANK, K = 1_000_000, 128, 4_000, 32, 100
QUERIES, SPEED_GOAL, RECALL_GOAL = 200, 10.0, 0.95


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Build, then let both sides answer each query in turn."""
    if not has_faiss():
        print("no faiss: pip install 'avrec[ann]'; part index is left out", flush=True)
        return []
    rng = np.random.default_rng(0)
    items, cluster = catalogue(rng, arguments.items)
    known = np.ones(len(items), bool)
    begun = time.perf_counter()
    built = build(items, known, people(rng, items, cluster), IndexConfig())
    told = [at_most("index, built and measured in", time.perf_counter() - begun, "s")]
    for one in built.measured:
        name = f"index, {one.way} ({one.probes} probes)" if one.probes else f"index, {one.way}"
        told.append(at_most(f"{name}, one query when built", one.milliseconds, "ms"))
        told.append(at_least(f"{name}, recall@{K}", one.recall, ""))
        told.append(at_most(f"{name}, size", one.size_bytes / 2**20, "MiB"))
    if built.index is None:
        return told
    with threadpool_limits(1):
        searcher = Nearly(built.index, items, known)
        return [*told, *compared(items, searcher, people(rng, items, cluster), arguments.repeats)]


def catalogue(rng: np.random.Generator, num_items: int) -> tuple[Vectors, np.ndarray]:
    """Make vectors, and say which cluster each is of."""
    basis = rng.standard_normal((RANK, DIM), np.float32)
    centres = unit(rng.standard_normal((CLUSTERS, RANK), np.float32) @ basis)
    sizes = 1 / np.arange(1, CLUSTERS + 1) ** 0.7
    cluster = rng.choice(CLUSTERS, num_items, p=sizes / sizes.sum())
    items = rng.standard_normal((num_items, DIM), np.float32)
    items *= 0.5 / np.sqrt(DIM)
    items += centres[cluster]
    items *= rng.lognormal(0, 0.3, (num_items, 1)).astype(np.float32)
    return items, cluster


def people(rng: np.random.Generator, items: Vectors, cluster: np.ndarray) -> Vectors:
    """Make queries of people with two tastes each."""
    chosen = []
    for _ in range(QUERIES):
        tastes = cluster[rng.integers(len(items), size=2)]
        pool = np.flatnonzero(np.isin(cluster, tastes))
        chosen.append(items[rng.choice(pool, 5)].mean(axis=0))
    return np.array(chosen, np.float32)


def compared(items: Vectors, searcher: Nearly, queries: Vectors, repeats: int) -> list[Figure]:
    """Times of the index and of both exact scans, and what the index found of the exact lists."""
    sides = {
        "index": partial(nearly, searcher),
        "numpy": partial(scanned, items),
        "avrec's scan": partial(nearly, Scan(items)),
    }
    seconds = {side: np.zeros((repeats, len(queries))) for side in sides}
    hits = np.zeros(len(queries))
    for turn in range(repeats):
        for n, query in enumerate(queries):
            found = {}
            for side, search in sides.items():
                seconds[side][turn, n], found[side] = timed(partial(search, query))
            hits[n] = np.isin(found["numpy"], found["index"]).mean()
    medians = {side: np.median(times, axis=1) for side, times in seconds.items()}
    fast, name = medians.pop("index"), f"one query over {len(items):,} x {DIM}"
    told = [
        at_most(f"{name}, best, over {side}", 1000 * fast.min(), "ms", peer=1000 * slow.min())
        for side, slow in medians.items()
    ]
    best = min(slow.min() for slow in medians.values()) / fast.min()
    middle = min(float(np.median(slow / fast)) for slow in medians.values())
    return [
        *told,
        at_least(f"{name}, over the faster scan, best", best, "times", SPEED_GOAL),
        at_least(f"{name}, over the faster scan, median", middle, "times", SPEED_GOAL),
        at_least(f"{name}, recall@{K}", float(hits.mean()), "", RECALL_GOAL),
    ]


def scanned(items: Vectors, query: Vectors) -> np.ndarray:
    """The exact scan: rows of the K best."""
    scores = items @ query
    return np.argpartition(scores, -K)[-K:]


def nearly(searcher: Searcher, query: Vectors) -> np.ndarray:
    """The same by an index, or by avrec's own exact scan."""
    return searcher.top_k(query[None], K).idx[0]


def timed(search: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Seconds of a search, and what it found."""
    begun = time.perf_counter()
    found = search()
    return time.perf_counter() - begun, found
