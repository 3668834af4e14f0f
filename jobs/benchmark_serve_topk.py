"""Exact top-100 of 100,000 x 128 for 256 queries, one thread, against implicit, torch and faiss.

Vectors are normal, where no item is longer than others, and, told beside, of lognormal lengths as
learned ones have. Each side holds its items ready; the sides take turns.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from implicit.cpu.topk import topk
from threadpoolctl import threadpool_limits

from avrec.arrays import Array, Vectors
from avrec.index import Scan
from avrec.index_ann import has_faiss
from jobs.benchmark_serve_figures import Figure, at_least, at_most

NUM_ITEMS, DIM, QUERIES, K = 100_000, 128, 256, 100
GOAL, TIE = 2.0, 1e-5

Search = Callable[[], Array]


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Compare on both kinds of vectors."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((NUM_ITEMS, DIM), np.float32)
    lengths = rng.lognormal(0, 0.3, (NUM_ITEMS, 1)).astype(np.float32)
    queries = rng.standard_normal((QUERIES, DIM), np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    told = []
    with threadpool_limits(1):
        for name, items in (("normal", normal), ("of many lengths", normal * lengths)):
            told += compared(f"exact top-{K}, {name}", items, queries, arguments.repeats)
    torch.set_num_threads(threads)
    return told


def sides(items: Vectors, queries: Vectors) -> dict[str, Search]:
    """Each side, ready to search."""
    scan, tensor = Scan(items), torch.from_numpy(items)
    asked = torch.from_numpy(queries)
    searches: dict[str, Search] = {
        "avrec": lambda: scan.top_k(queries, K).idx,
        "torch": lambda: np.asarray(torch.topk(asked @ tensor.T, K).indices),
        "implicit": lambda: topk(items, queries, K, num_threads=1)[0],
    }
    if has_faiss():
        import faiss  # noqa: PLC0415

        flat = faiss.IndexFlatIP(DIM)
        flat.add(items)
        searches["faiss"] = lambda: flat.search(queries, K)[1]
    return searches


def compared(name: str, items: Vectors, queries: Vectors, repeats: int) -> list[Figure]:
    """Let the sides take turns."""
    searches = sides(items, queries)
    seconds = {side: np.zeros(repeats) for side in searches}
    found = {side: search() for side, search in searches.items()}
    for turn in range(repeats):
        for side, search in searches.items():
            begun = time.perf_counter()
            found[side] = search()
            seconds[side][turn] = time.perf_counter() - begun
    ours = seconds.pop("avrec")
    told = [
        at_most(f"{name}, avrec over {side}", 1000 * ours.min(), "ms", peer=1000 * times.min())
        for side, times in seconds.items()
    ]
    best, middle = (min(of(t) for t in seconds.values()) / of(ours) for of in (np.min, np.median))
    return [
        *told,
        at_least(f"{name}, over the best peer, best", best, "times", GOAL),
        at_least(f"{name}, over the best peer, median", middle, "times", GOAL),
        at_most(f"{name}, largest gap of scores", apart(items, queries, found), "", TIE),
    ]


def apart(items: Vectors, queries: Vectors, found: dict[str, Array]) -> float:
    """Largest relative gap between scores at the same place: other ids are ties, or a fault."""
    query, rank = np.nonzero(found["avrec"] != found["torch"])
    asked = queries[query].astype(np.float64)
    one, other = (items[found[side][query, rank]].astype(np.float64) for side in ("avrec", "torch"))
    gaps = np.abs(np.einsum("nd,nd->n", asked, one - other))
    gaps /= np.linalg.norm(asked, axis=1) * np.linalg.norm(one, axis=1)
    return float(gaps.max(initial=0))
