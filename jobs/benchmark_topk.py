"""Time the 100 best items of every user against implicit, turn by turn.

    python -m jobs.benchmark_topk --dims 64 128

The matrix is the planted one of `jobs.benchmark_als`; what a user has is left out of the user's
list. Vectors are once those of four ALS iterations on it (`fitted`), and once drawn from a normal
distribution (`normal`), where no item is longer than another, so that none can be passed over.

Both sides take turns, each with the same number of threads and BLAS at one: avrec's kernels use no
BLAS, implicit gives each of its threads one product at a time. implicit's calls are of as many
users as were fastest in a trial on some of them. Each figure is printed as one line of JSON;
`peer` and `value` of a ratio are the best of the turns.
"""

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import implicit
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from avrec.arrays import Values, Vectors
from avrec.index import TopK, top_k
from avrec.interactions import Histories
from jobs.benchmark_als import World, of_avrec, planted, report

K, SPEED_GOAL, TIE = 100, 2.0, 1e-6
ITERATIONS = 4
PEER_BATCHES = (200, 1000, 8000, 10**9)
USERS_IN_TRIAL = 16_000

Search = Callable[[], TopK]


class Task(NamedTuple):
    """Vectors of users and items, and what each user has."""

    users: Vectors
    items: Vectors
    has: csr_matrix


def fitted(world: World, dim: int, threads: int) -> Task:
    """Factors of a short fit."""
    rng = np.random.default_rng(0)
    shape = world.by_user.shape
    users, items = (rng.uniform(-0.01, 0.01, (n, dim)).astype(np.float32) for n in shape)
    iteration = of_avrec(world, exact=False, threads=threads)
    for _ in range(ITERATIONS):
        iteration(users, items)
    return Task(users, items, csr_matrix(world.by_user))


def normal(world: World, dim: int) -> Task:
    """Vectors of no structure."""
    rng = np.random.default_rng(0)
    users, items = (rng.standard_normal((n, dim), np.float32) for n in world.by_user.shape)
    return Task(users, items, csr_matrix(world.by_user))


def by_avrec(task: Task, threads: int) -> Search:
    """One call for all users."""
    has = task.has
    times = np.zeros(has.nnz, np.int64)
    histories = Histories(has.indptr.astype(np.int64), has.indices, has.data, times)
    return lambda: top_k(task.users, task.items, K, histories, threads=threads)


def by_implicit(task: Task, threads: int, batch: int) -> Search:
    """One call of `recommend` a batch of users."""
    model = AlternatingLeastSquares(factors=task.items.shape[1], num_threads=threads)
    model.user_factors, model.item_factors = task.users, task.items
    num_users = len(task.users)
    bounds = [*range(0, num_users, batch), num_users]

    def search() -> TopK:
        idx = np.empty((num_users, K), np.int32)
        scores = np.empty((num_users, K), np.float32)
        for start, stop in pairwise(bounds):
            has = task.has if batch >= num_users else task.has[start:stop]
            rows = np.arange(start, stop)
            idx[start:stop], scores[start:stop] = model.recommend(rows, has, N=K)
        return TopK(idx, scores)

    return search


def best_batch(task: Task, threads: int) -> int:
    """Number of users a call with which implicit does some of them soonest."""
    some = Task(task.users[:USERS_IN_TRIAL], task.items, task.has[:USERS_IN_TRIAL])
    searches = [by_implicit(some, threads, batch) for batch in PEER_BATCHES]
    seconds, _ = take_turns(searches, repeats=3)
    return PEER_BATCHES[int(np.argmin(seconds.min(axis=1)))]


def take_turns(searches: list[Search], repeats: int) -> tuple[Values, list[TopK]]:
    """Seconds of each turn of each side, and what each found."""
    seconds = np.zeros((len(searches), repeats))
    found: list[TopK] = []
    for n in range(repeats):
        found = []
        for side, search in enumerate(searches):
            begin = time.perf_counter()
            found.append(search())
            seconds[side, n] = time.perf_counter() - begin
    return seconds, found


def apart(task: Task, ours: TopK, theirs: TopK) -> tuple[float, float]:
    """Share of places with different ids, and the largest gap between their exact scores.

    A gap is told relative to the length of the user times that of the item.
    """
    query, rank = np.nonzero(ours.idx != theirs.idx)
    users = task.users[query].astype(np.float64)
    one, other = (task.items[found.idx[query, rank]].astype(np.float64) for found in (ours, theirs))
    gap = np.abs(np.einsum("nd,nd->n", users, one - other))
    gap /= np.linalg.norm(users, axis=1) * np.linalg.norm(one, axis=1)
    return len(query) / ours.idx.size, float(gap.max(initial=0))


def compare(name: str, task: Task, *, repeats: int, threads: int) -> None:
    """Let both sides take turns, and print the figures."""
    batch = min(best_batch(task, threads), len(task.users))
    report(f"{name} users a call of implicit", batch, "", peer=None, goal=None)
    searches = [by_avrec(task, threads), by_implicit(task, threads, batch)]
    (ours, theirs), found = take_turns(searches, repeats)
    report(f"{name} all users", round(ours.min(), 3), "s", peer=round(theirs.min(), 3), goal=None)
    best, middle = theirs.min() / ours.min(), np.median(theirs) / np.median(ours)
    report(f"{name} speed, best", round(best, 2), "times", peer=1.0, goal=SPEED_GOAL)
    report(f"{name} speed, median", round(middle, 2), "times", peer=1.0, goal=SPEED_GOAL)
    share, gap = apart(task, *found)
    report(f"{name} places with other ids", share, "", peer=None, goal=None)
    report(f"{name} largest gap between those", gap, "", peer=None, goal=TIE)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="*", default=[64, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--users", type=int, default=116_677, help="fewer for a quick look")
    given = parser.parse_args()
    world = planted(given.users)
    print(f"implicit {implicit.__version__}; {world.by_user.nnz} entries", flush=True)
    begin = time.perf_counter()
    top_k(np.ones((4096, 8), np.float32), np.ones((1024, 8), np.float32), K)
    report("kernels ready", round(time.perf_counter() - begin, 1), "s", peer=None, goal=None)
    turns = {"repeats": given.repeats, "threads": given.threads}
    with threadpool_limits(1, "blas"):
        for dim in given.dims:
            compare(f"top-{K} dim {dim} fitted", fitted(world, dim, given.threads), **turns)
            compare(f"top-{K} dim {dim} normal", normal(world, dim), **turns)


if __name__ == "__main__":
    main()
