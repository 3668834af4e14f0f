from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from avrec.models.als import ALSConfig, Epoch, Side, fit, loss, solve_rows
from avrec.models.als_fit import Fitter, split
from avrec.models.als_objective import SOLVERS, observed
from avrec.models.als_parts import BLOCKS, Solo, chunks, cut_blocks, population, worker_bounds
from tests.models.test_als import world

CONFIG = ALSConfig(dim=5, epochs=3)


class Threads:
    """A `Collective` of the threads of this process."""

    def __init__(self, rank, size, barrier, desk):
        self.rank, self.size, self.barrier, self.desk = rank, size, barrier, desk

    def _all(self, mine):
        self.desk[self.rank] = mine
        self.barrier.wait()
        every = list(self.desk)
        self.barrier.wait()
        return every

    def share(self, table, bounds):
        table = np.asarray(table)
        rows = [slice(*bounds[r : r + 2]) for r in range(self.size)]
        for place, other in zip(rows, self._all(table[rows[self.rank]].copy()), strict=True):
            table[place] = other

    def exchange(self, pieces):
        return [sent[self.rank] for sent in self._all(list(pieces))]

    def total(self, numbers):
        return sum(self._all(numbers))


def together(size, work):
    """Call `work(group)` on every worker of a group; gives what each returns."""
    barrier, desk = Barrier(size), [None] * size

    def one(rank):
        try:
            return work(Threads(rank, size, barrier, desk))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def on_workers(size, weights, config):
    def work(group):
        fitter = Fitter(split(weights, config, group), config, group)
        return fitter.run(fitter.begin(np.random.default_rng(7))).items

    return np.concatenate(together(size, work))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("max_gathered_mb", [4096, 0], ids=["gathered", "fetched"])
@settings(max_examples=5)
@given(size=st.integers(2, 5), seed=st.integers(0, 99))
def test_number_of_workers_shows_in_no_bit(solver, max_gathered_mb, size, seed):
    weights = world(seed)
    config = replace(CONFIG, solver=solver)
    whole = fit(weights, config, rng=np.random.default_rng(7))
    spread = on_workers(size, weights, replace(config, max_gathered_mb=max_gathered_mb))
    np.testing.assert_array_equal(spread, whole)


def test_more_workers_than_rows():
    weights = csr_array(np.array([[1, 0], [0, 2]], np.float32))
    whole = fit(weights, CONFIG, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(on_workers(5, weights, CONFIG), whole)


def test_number_of_threads_shows_in_no_bit():
    weights = world()
    one, two = (fit(weights, CONFIG, rng=np.random.default_rng(7), threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


@given(
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(0, 20), st.integers(1, 20)),
    most=st.integers(1, 25),
)
def test_chunks_name_no_more_than_they_may(seed, shape, most):
    pull = observed(random_array(shape, density=0.3, rng=np.random.default_rng(seed)))
    cut = list(chunks(pull, most))
    assert [chunk.start for chunk in cut] == [0, *(chunk.stop for chunk in cut)][: len(cut)]
    assert (cut[-1].stop if cut else 0) == shape[0]
    for chunk in cut:
        assert len(chunk.wanted) <= most or np.count_nonzero(np.diff(chunk.pull.indptr)) == 1
        whole = np.zeros((chunk.stop - chunk.start, shape[1]))
        whole[:, chunk.wanted] = chunk.pull.toarray()
        np.testing.assert_array_equal(whole, pull[chunk.start : chunk.stop].toarray())


@given(st.lists(st.integers(0, 1000), max_size=400))
def test_blocks_are_of_like_work(degrees):
    degrees = np.array(degrees, np.int64)
    blocks = cut_blocks(degrees, CONFIG)
    assert len(blocks) == BLOCKS + 1
    assert blocks[0] == 0
    assert blocks[-1] == len(degrees)
    assert (np.diff(blocks) >= 0).all()
    work = degrees + CONFIG.dim / 8
    for size in (1, 2, 3, 7):
        bounds = worker_bounds(blocks, size)
        sums = [work[a:b].sum() for a, b in pairwise(bounds)]
        fair = work.sum() * (1 / size + 1 / BLOCKS)
        assert max(sums) <= fair + 2 * work.max(initial=0) + 1e-6


@given(seed=st.integers(0, 99), scale=st.sampled_from([1e-12, 1.0, 1e6]))
def test_gram_of_a_population(seed, scale):
    weights, rng = world(seed), np.random.default_rng(seed)
    part = split(weights, CONFIG).users
    vectors = (scale * rng.standard_normal((40, 5))).astype(np.float32)
    vectors[3] = 0
    found = population(vectors, part, Solo())
    expected = vectors.astype(np.float64).T @ vectors
    np.testing.assert_allclose(found.gram, expected, rtol=1e-5, atol=1e-5 * scale**2)
    assert found.num_known == 39


def grown():
    """A world, and the same before a few users and items came."""
    weights = world(3, (60, 40), 0.15)
    before = weights.toarray()
    before[50:], before[:, 33:] = 0, 0
    return weights, csr_array(before)


@pytest.mark.parametrize("size", [1, 3])
def test_new_rows_begin_by_fold_in(size):
    weights, before = grown()
    config = replace(CONFIG, solver="cholesky")
    items, known = fit(before, config, rng=np.random.default_rng(1)), np.arange(40) < 33

    def work(group):
        fitter = Fitter(split(weights, config, group), config, group)
        mine = slice(fitter.parts.items.start, fitter.parts.items.stop)
        return fitter.fold_in(items[mine], known[mine])

    begun = together(size, work)
    users = solve_rows(weights, Side.of(items), config)
    of_users = np.concatenate([one.users for one in begun])
    np.testing.assert_allclose(of_users, users, rtol=1e-5, atol=1e-6)
    found = np.concatenate([one.items for one in begun])
    np.testing.assert_array_equal(found[known], items[known])
    folded = solve_rows(csr_array(weights.T), Side.of(users), config)
    np.testing.assert_allclose(found[~known], folded[~known], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_warm_start_is_ahead_of_a_cold_one(solver, epochs):
    weights, before = grown()
    config = replace(CONFIG, solver=solver, epochs=12)
    few = replace(config, epochs=epochs)
    items = fit(before, config, rng=np.random.default_rng(1))

    def value(found):
        return loss(weights, solve_rows(weights, Side.of(found), config), found, config)

    fitter = Fitter(split(weights, few), few)
    warm = fitter.run(fitter.fold_in(items, np.arange(40) < 33)).items
    cold = fit(weights, few, rng=np.random.default_rng(1))
    assert value(warm) <= value(cold)
    assert value(warm) <= 1.01 * value(fit(weights, config, rng=np.random.default_rng(1)))


def test_solvers_agree_where_they_converge():
    weights, config = world(), ALSConfig(dim=20, epochs=30, block=16)
    losses = []
    for solver in SOLVERS:
        items = fit(weights, replace(config, solver=solver), rng=np.random.default_rng(1))
        losses.append(loss(weights, solve_rows(weights, Side.of(items), config), items, config))
    assert max(losses) <= 1.001 * min(losses)


@pytest.mark.parametrize("solver", SOLVERS)
def test_dim_above_the_number_of_items(solver):
    weights = world(0, (12, 3), 0.5)
    config = ALSConfig(dim=64, epochs=2, solver=solver)
    items = fit(weights, config, rng=np.random.default_rng(1))
    assert np.isfinite(items).all()
    assert np.linalg.matrix_rank(items) == 3


@pytest.mark.parametrize("wrong", [-1, np.nan, np.inf, -np.inf])
def test_names_the_row_of_a_wrong_weight(wrong, rng):
    weights = world().toarray()
    weights[6, 2] = wrong
    with pytest.raises(ValueError, match=rf"got {float(wrong)} in row 6, column 2"):
        fit(csr_array(weights), CONFIG, rng=rng)


def test_a_start_without_users_folds_them_in(rng):
    weights, config = world(), replace(CONFIG, epochs=1)
    start = rng.normal(0, 0.1, (40, 5)).astype(np.float32)[:30]
    seen = []
    fit(weights, config, rng=rng, start=Epoch(0, start), on_epoch=lambda e: seen.append(e.users))
    best = solve_rows(weights, Side.of(start), config)
    np.testing.assert_allclose(seen[0], best, rtol=1e-2, atol=1e-3)
