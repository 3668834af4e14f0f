"""Lists of many queries at once, which the kernels find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec import index
from avrec.index import top_k
from avrec.interactions import Histories

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def any_number_is_many():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "MANY_QUERIES", 0)
        patch.setattr(index, "MANY_SCORES", 0)
        yield


def textbook(queries, items, k, barred, known):
    """Lists by sorting everything, in float64."""
    scores = queries.astype(np.float64) @ items.T.astype(np.float64)
    scores[~queries.any(axis=1)] = -np.inf
    scores[:, ~known] = -np.inf
    for row, rows in zip(scores, barred, strict=True):
        row[rows] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    lacking = ((0, 0), (0, k - order.shape[1]))
    idx = np.pad(np.where(np.isneginf(best), -1, order), lacking, constant_values=-1)
    return idx, np.pad(best, lacking, constant_values=-np.inf)


def integers(rng, num_rows, dim):
    """Small integers, so that products are exact and ties common, of very different lengths."""
    rows = rng.integers(-2, 3, (num_rows, dim)) * 2.0 ** rng.integers(-3, 4, (num_rows, 1))
    return rows.astype(np.float32)


@st.composite
def worlds(draw):
    """More queries than a block at times, and more items than a tile."""
    shape = draw(st.tuples(st.integers(0, 140), st.integers(0, 400), st.integers(1, 70)))
    num_queries, num_items, dim = shape
    rng = np.random.default_rng(draw(SEEDS))
    share = draw(st.sampled_from([0, 0.1, 0.9, 1]))
    barred = [np.flatnonzero(rng.random(num_items) < share) for _ in range(num_queries)]
    return integers(rng, num_queries, dim), integers(rng, num_items, dim), barred


@given(world=worlds(), k=st.integers(1, 130), threads=st.integers(1, 3))
def test_equals_sorting_everything(world, k, threads):
    queries, items, barred = world
    found = top_k(queries, items, k, Histories.of(barred), threads=threads)
    idx, scores = textbook(queries, items, k, barred, items.any(axis=1))
    assert found.idx.dtype == np.int32
    assert found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.idx, idx)
    np.testing.assert_array_equal(found.scores, scores)


@given(world=worlds(), k=st.integers(1, 130))
def test_lists_only_known_items_even_if_zero(world, k):
    queries, items, barred = world
    known = np.arange(len(items)) % 3 > 0
    found = top_k(queries, items, k, Histories.of(barred), known)
    np.testing.assert_array_equal(found.idx, textbook(queries, items, k, barred, known)[0])


@given(seed=SEEDS, dim=st.sampled_from([1, 17, 64, 900]), k=st.sampled_from([1, 10, 100]))
def test_each_query_alone_finds_the_same_bits(seed, dim, k):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(70, dim)).astype(np.float32)
    items = (rng.normal(size=(500, dim)) * rng.lognormal(0, 1, (500, 1))).astype(np.float32)
    together = top_k(queries, items, k, threads=2)
    for q in (0, 7, 8, 63, 69):
        alone = top_k(queries[q : q + 1], items, k)
        np.testing.assert_array_equal(alone.idx[0], together.idx[q])
        np.testing.assert_array_equal(alone.scores[0], together.scores[q])


@given(seed=SEEDS, scale=st.sampled_from([1e-25, 1e-18, 1, 1e15]))
def test_agrees_with_few_queries_at_any_scale(seed, scale):
    rng = np.random.default_rng(seed)
    items = (rng.normal(size=(600, 24)) * rng.lognormal(0, 2, (600, 1)) * scale).astype(np.float32)
    queries = (rng.normal(size=(30, 24)) * scale).astype(np.float32)
    many = top_k(queries, items, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "MANY_QUERIES", 1000)
        few = top_k(queries, items, 40)
    # Products that are not normal numbers keep few bits.
    np.testing.assert_allclose(many.scores, few.scores, rtol=1e-4, atol=1e-42)


@given(seed=SEEDS, k=st.integers(1, 20))
def test_does_not_stop_before_the_last_item_that_is_long_enough(seed, k):
    rng = np.random.default_rng(seed)
    angle, length = rng.uniform(-0.6, 0.6, 1500), rng.uniform(1, 1.05, 1500)
    items = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
    items = items.astype(np.float32)
    queries = np.tile(np.eye(2), (8, 1)).astype(np.float32)[::2]
    found = top_k(queries, items, k)
    np.testing.assert_array_equal(
        found.idx, np.tile(np.argsort(-items[:, 0], kind="stable")[:k], (8, 1))
    )


def test_of_equal_scores_the_lower_rows_are_listed():
    found = top_k(np.ones((9, 4), np.float32), np.ones((1000, 4), np.float32), 30)
    assert (found.idx == np.arange(30)).all()


def test_what_is_left_out_may_be_repeated_or_unknown():
    barred = Histories.of([np.array([3, -1, 3, 99])] * 2)
    found = top_k(np.ones((2, 1), np.float32), np.ones((5, 1), np.float32), 5, barred)
    assert found.idx.tolist() == [[0, 1, 2, 4, -1]] * 2


def test_what_one_block_leaves_out_the_next_may_list():
    barred = [np.arange(50)] * 64 + [[]] * 64
    found = top_k(
        np.ones((128, 1), np.float32), np.ones((50, 1), np.float32), 1, Histories.of(barred)
    )
    assert found.idx[:, 0].tolist() == [-1] * 64 + [0] * 64


def test_a_number_that_is_none_is_never_listed():
    items = np.array([[1], [np.nan], [2]], np.float32)
    found = top_k(np.array([[1], [np.nan]], np.float32), items, 3)
    assert found.idx.tolist() == [[2, 0, -1], [-1, -1, -1]]


@pytest.mark.parametrize("num_queries", [100, 300])
def test_many_and_few_find_the_same(num_queries, rng, monkeypatch):
    monkeypatch.setattr(index, "MANY_QUERIES", 256)
    queries = rng.normal(size=(300, 8)).astype(np.float32)
    items = rng.normal(size=(200, 8)).astype(np.float32)
    found = top_k(queries[:num_queries], items, 20)
    barred = [[]] * num_queries
    idx, _ = textbook(queries[:num_queries], items, 20, barred, np.ones(200, bool))
    np.testing.assert_array_equal(found.idx, idx)
