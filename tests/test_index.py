import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec import index
from avrec.index import Scan, top_k
from avrec.interactions import Histories


def brute_force(queries, items, k, barred):
    scores = (queries @ items.T).astype(np.float32)
    lists = []
    for query, row in enumerate(scores):
        able = [i for i in range(len(items)) if items[i].any() and i not in barred[query]]
        able = able if queries[query].any() else []
        lists.append(sorted(able, key=lambda i, row=row: (-row[i], i))[:k])
    return lists


@st.composite
def worlds(draw):
    """Small integer vectors, so that dot products are exact and ties are common."""
    num_queries, num_items, dim = (draw(st.integers(0, 5)), draw(st.integers(0, 12)), 2)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries = rng.integers(-2, 3, (num_queries, dim)).astype(np.float32)
    items = rng.integers(-2, 3, (num_items, dim)).astype(np.float32)
    barred = [np.flatnonzero(rng.random(num_items) < 0.3) for _ in range(num_queries)]
    return queries, items, barred


@given(world=worlds(), k=st.integers(1, 15), step=st.integers(1, 13))
def test_equals_brute_force_whatever_the_blocks(world, k, step):
    queries, items, barred = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "ITEMS_PER_BLOCK", step)
        patch.setattr(index, "QUERIES_PER_BLOCK", step)
        found = top_k(queries, items, k, exclude=Histories.of(barred))
    assert found.idx.shape == found.scores.shape == (len(queries), k)
    for row, scores, expected, query in zip(
        found.idx, found.scores, brute_force(queries, items, k, barred), queries, strict=True
    ):
        assert row.tolist() == expected + [-1] * (k - len(expected))
        np.testing.assert_array_equal(scores[: len(expected)], items[expected] @ query)
        assert np.isneginf(scores[len(expected) :]).all()


@given(world=worlds(), k=st.integers(1, 12))
def test_larger_k_extends_the_list(world, k):
    queries, items, _ = world
    short, long = top_k(queries, items, k), top_k(queries, items, k + 3)
    np.testing.assert_array_equal(short.idx, long.idx[:, :k])


def test_lists_only_known_items(rng):
    items = rng.normal(size=(6, 3)).astype(np.float32)
    known = np.array([True, False, True, False, False, True])
    found = top_k(rng.normal(size=(4, 3)).astype(np.float32), items, 6, known=known)
    assert (np.sort(found.idx, axis=1) == [-1, -1, -1, 0, 2, 5]).all()


def test_zero_item_is_never_listed_though_all_others_score_below_zero():
    items = np.array([[0, 0], [1, 0], [2, 0]], np.float32)
    assert top_k(np.array([[-1, 0]], np.float32), items, 3).idx.tolist() == [[1, 2, -1]]


def test_zero_query_has_no_list():
    assert top_k(np.zeros((1, 2), np.float32), np.ones((3, 2), np.float32), 2).idx.tolist() == [
        [-1, -1]
    ]


@pytest.mark.parametrize("k", [0, -1])
def test_rejects_k_below_one(k):
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        top_k(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), k)


def test_rejects_threads_below_one():
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        top_k(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), 1, threads=0)


def test_rejects_an_exclude_of_other_length():
    with pytest.raises(ValueError, match="exclude must have 1 rows, got 2"):
        top_k(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), 1, Histories.of([[], []]))


@given(world=worlds(), k=st.integers(1, 15))
def test_a_scan_lists_what_top_k_lists(world, k):
    queries, items, barred = world
    exclude = Histories.of(barred)
    found, expected = Scan(items).top_k(queries, k, exclude), top_k(queries, items, k, exclude)
    np.testing.assert_array_equal(found.idx, expected.idx)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
