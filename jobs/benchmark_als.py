"""Time ALS against implicit on one planted matrix, from one start, turn by turn.

    python -m jobs.benchmark_als --dims 64 128 256 --exact-dims 64

Both sides get the same confidences, the same first factors and the same threads, and take turns,
one iteration each, so that what else the machine does falls on both. BLAS gets one thread. Each
figure is printed as one line of JSON; `peer` and `value` of a ratio are the best of the iterations.

The matrix: each user has a number of items drawn from a lognormal (3.6, 1.05) between 4 and 3000,
and four of 120 topics. An item's weight is (rank + 20)^-0.95, times 12 if one of the topics holds
it (a topic holds 8 % of the items), else times 0.25. Drawn with seed 0, it has 116,677 users,
20,108 items and 7,478,067 entries.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import implicit
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_array, csr_matrix
from threadpoolctl import threadpool_limits

from avrec.arrays import Array, Vectors
from avrec.models.als_kernels import Ridge, gram, solve_cg, solve_exact

ALPHA, REG = np.float32(10), 5.0
CG_GOALS = {64: 2.5, 128: 1.8, 256: 1.5}
EXACT_GOALS = {64: 6.0}
LOSS_AFTER, LOSS_GOAL, RESIDUAL_GOAL = 4, 1e-4, 1e-4
ENTRIES_AT_ONCE = 1 << 18
SHARE_HELD = 0.08

Iteration = Callable[[Vectors, Vectors], None]


class World(NamedTuple):
    """Confidences, by user and by item."""

    by_user: csr_array
    by_item: csr_array


class Runs(NamedTuple):
    """Seconds of each iteration, the loss after some of them, and where the factors ended."""

    seconds: Array
    loss: float
    users: Vectors
    items: Vectors


def planted(num_users: int = 116_677, num_items: int = 20_108, num_topics: int = 120) -> World:
    """Draw the matrix that the module describes."""
    rng = np.random.default_rng(0)
    counts = np.ceil(np.clip(rng.lognormal(3.6, 1.05, num_users), 4, 3000)).astype(np.int64)
    counts = np.minimum(counts, num_items // 2)
    popularity = (rng.permutation(num_items) + 20.0) ** -0.95
    held = rng.random((num_topics, num_items)) < SHARE_HELD
    rows = []
    for count in counts:
        liked = held[rng.choice(num_topics, 4, replace=False)].any(axis=0)
        rows.append(_draw(np.cumsum(popularity * np.where(liked, 12, 0.25)), count, rng))
    indptr = np.concatenate(([0], np.cumsum(counts)))
    data = np.full(indptr[-1], ALPHA)
    by_user = csr_array((data, np.concatenate(rows), indptr), shape=(num_users, num_items))
    return World(by_user, csr_array(by_user.T))


def _draw(upto: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` distinct items in turn, given the running sum of their weights."""
    items = np.empty(0, np.int64)
    while len(items) < count:
        more = np.searchsorted(upto, rng.random(int(count * 1.5) + 8) * upto[-1])
        items = np.concatenate((items, more))
        items = items[np.sort(np.unique(items, return_index=True)[1])]
    return np.sort(items[:count]).astype(np.int32)


def of_avrec(world: World, *, exact: bool, threads: int) -> Iteration:
    """One iteration of the kernels: users, then items."""

    def half(weights: csr_array, rows: Vectors, fixed: Vectors) -> None:
        reg = np.full(len(rows), REG, np.float32)
        ridge = Ridge(weights, fixed, gram(fixed, threads=threads), reg, offset=1)
        if exact:
            rows[:] = solve_exact(ridge, threads=threads)
        else:
            solve_cg(ridge, rows, steps=3, threads=threads)

    def iteration(users: Vectors, items: Vectors) -> None:
        half(world.by_user, users, items)
        half(world.by_item, items, users)

    return iteration


def of_implicit(world: World, *, exact: bool, threads: int) -> Iteration:
    """One iteration of implicit's solver, three steps if CG, called as its `fit` calls it."""
    solver = AlternatingLeastSquares(use_cg=not exact).solver
    by_user, by_item = csr_matrix(world.by_user), csr_matrix(world.by_item)

    def iteration(users: Vectors, items: Vectors) -> None:
        solver(by_user, users, items, REG, num_threads=threads)
        solver(by_item, items, users, REG, num_threads=threads)

    return iteration


def take_turns(world: World, sides: Iterable[Iteration], dim: int, iterations: int) -> list[Runs]:
    """Run both sides from one start, one iteration each at a time."""
    sides = list(sides)
    rng = np.random.default_rng(0)
    start = [rng.uniform(-0.01, 0.01, (n, dim)).astype(np.float32) for n in world.by_user.shape]
    factors = [[side.copy() for side in start] for _ in sides]
    seconds = np.zeros((len(sides), iterations))
    losses = [np.nan for _ in sides]
    for n in range(iterations):
        for side, iteration in enumerate(sides):
            begin = time.perf_counter()
            iteration(*factors[side])
            seconds[side, n] = time.perf_counter() - begin
            if n + 1 == LOSS_AFTER:
                losses[side] = loss(world.by_user, *factors[side])
    return [Runs(seconds[n], losses[n], *factors[n]) for n in range(len(sides))]


def loss(weights: csr_array, users: Vectors, items: Vectors) -> float:
    """Value of implicit's objective, all pairs counted, in float64."""
    entries = weights.tocoo()
    total = np.sum((users.T @ users).astype(np.float64) * (items.T @ items))
    total += REG * (np.sum(users**2, dtype=np.float64) + np.sum(items**2, dtype=np.float64))
    for first in range(0, entries.nnz, ENTRIES_AT_ONCE):
        row, column = (index[first : first + ENTRIES_AT_ONCE] for index in entries.coords)
        scores = np.einsum("nd,nd->n", users[row], items[column]).astype(np.float64)
        total += float(ALPHA) * np.sum((scores - 1) ** 2) - np.sum(scores**2)
    return float(total)


def residual(world: World, users: Vectors, items: Vectors) -> float:
    """Largest relative residual of the normal equations over items, solved last, in float64."""
    worst, fixed = 0.0, users.astype(np.float64)
    whole = fixed.T @ fixed + REG * np.eye(fixed.shape[1])
    for row in np.linspace(0, len(items) - 1, 500).astype(int):
        first, last = world.by_item.indptr[row : row + 2]
        V = fixed[world.by_item.indices[first:last]]
        target = float(ALPHA) * V.sum(axis=0)
        moved = items[row] @ whole + (float(ALPHA) - 1) * ((V @ items[row]) @ V)
        worst = max(worst, float(np.linalg.norm(moved - target) / np.linalg.norm(target)))
    return worst


def report(figure: str, value: float, unit: str, *, peer: float | None, goal: float | None) -> None:
    """Print one figure. Ratios are to be at least their goal, errors at most."""
    met = None
    if goal is not None:
        met = bool(value >= goal if unit == "times" else value <= goal)
    line = {"figure": figure, "value": value, "unit": unit, "peer": peer, "goal": goal, "met": met}
    print(json.dumps(line), flush=True)


def compare(world: World, dim: int, *, exact: bool, iterations: int, threads: int) -> None:
    """Run one solver at one dim on both sides, and print its figures."""
    name = f"als {'exact' if exact else 'cg'} dim {dim}"
    sides = [make(world, exact=exact, threads=threads) for make in (of_avrec, of_implicit)]
    ours, theirs = take_turns(world, sides, dim, iterations)
    goal = (EXACT_GOALS if exact else CG_GOALS).get(dim)
    best, peer = ours.seconds.min(), theirs.seconds.min()
    report(f"{name} iteration", round(best, 4), "s", peer=round(peer, 4), goal=None)
    report(f"{name} speed, best", round(peer / best, 2), "times", peer=1.0, goal=goal)
    middle = np.median(theirs.seconds) / np.median(ours.seconds)
    report(f"{name} speed, median", round(middle, 2), "times", peer=1.0, goal=goal)
    if iterations >= LOSS_AFTER:
        apart = abs(ours.loss / theirs.loss - 1)
        report(f"{name} loss, relative difference", apart, "", peer=theirs.loss, goal=LOSS_GOAL)
    if exact:
        left = residual(world, ours.users, ours.items)
        of_peer = residual(world, theirs.users, theirs.items)
        report(f"{name} residual", left, "", peer=of_peer, goal=RESIDUAL_GOAL)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--exact-dims", type=int, nargs="*", default=[64])
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--users", type=int, default=116_677, help="fewer for a quick look")
    given = parser.parse_args()
    begin = time.perf_counter()
    world = planted(given.users)
    print(f"implicit {implicit.__version__}; {world.by_user.nnz} entries", flush=True)
    report("planted matrix drawn", round(time.perf_counter() - begin, 1), "s", peer=None, goal=None)
    begin = time.perf_counter()
    tiny = World(world.by_user[:2], csr_array(world.by_user[:2].T))
    for exact in (False, True):
        of_avrec(tiny, exact=exact, threads=1)(*(np.ones((n, 8), np.float32) for n in (2, 20_108)))
    report("kernels ready", round(time.perf_counter() - begin, 1), "s", peer=None, goal=None)
    with threadpool_limits(1, "blas"):
        for dims, exact in ((given.dims, False), (given.exact_dims, True)):
            for dim in dims:
                turns = {"iterations": given.iterations, "threads": given.threads}
                compare(world, dim, exact=exact, **turns)


if __name__ == "__main__":
    main()
