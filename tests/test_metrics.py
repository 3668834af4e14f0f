from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec import metrics
from avrec.metrics import (
    bootstrap,
    coverage,
    hit_rate,
    hits_among,
    intervals,
    mrr,
    ndcg,
    novelty,
    recall,
)

HITS = np.array([[False, True, False, True]])
TWO_RELEVANT = np.array([2])


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (recall, 1, 0),
        (recall, 2, 1 / 2),
        (recall, 9, 2 / 2),
        (ndcg, 2, (1 / log2(3)) / (1 / log2(2) + 1 / log2(3))),
        (ndcg, 9, (1 / log2(3) + 1 / log2(5)) / (1 / log2(2) + 1 / log2(3))),
        (mrr, 1, 0),
        (mrr, 4, 1 / 2),
        (hit_rate, 1, 0),
        (hit_rate, 2, 1),
    ],
)
def test_value(metric, k, expected):
    assert metric(HITS, TWO_RELEVANT, k) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [recall, ndcg, mrr, hit_rate])
def test_nothing_relevant_is_nan(metric):
    assert np.isnan(metric(~np.ones_like(HITS), np.array([0]), 4)).all()


@pytest.mark.parametrize("metric", [recall, ndcg, mrr, hit_rate])
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 8))
def test_is_between_0_and_1_and_1_for_the_best_order(metric, seed, k):
    rng = np.random.default_rng(seed)
    hits = rng.random((5, 6)) < 0.5
    num_relevant = hits.sum(axis=1) + rng.integers(0, 3, 5)
    values = metric(hits, num_relevant, k)[num_relevant > 0]
    assert ((values >= 0) & (values <= 1)).all()
    best = np.tile(np.arange(6) < 2, (1, 1))
    assert metric(best, np.array([2]), max(k, 2)) == pytest.approx(1)


def test_coverage_counts_what_is_shown_of_what_could_be():
    lists = np.array([[0, 1, 4], [1, 0, -1]])
    able = np.array([True, True, True, True, False])
    assert coverage(lists, able, 1) == 2 / 4
    assert np.isnan(coverage(lists, np.zeros(5, bool), 1))


def test_novelty_is_mean_surprise():
    counts = np.array([5, 1, 0])
    lists = np.array([[0, 1], [2, -1], [-1, -1]])
    expected = [(log2(9 / 6) + log2(9 / 2)) / 2, log2(9 / 1), np.nan]
    np.testing.assert_allclose(novelty(lists, counts, 2), expected)


def test_interval_holds_the_mean_and_narrows_with_more_users():
    few, many = (np.tile([0.0, 1.0], n) for n in (20, 2000))
    narrow, wide = (bootstrap(v, np.random.default_rng(1), 200) for v in (many, few))
    assert narrow.value == wide.value == 0.5
    assert wide.low < narrow.low < 0.5 < narrow.high < wide.high


def test_interval_leaves_out_nan_and_is_nan_without_users(rng):
    assert bootstrap(np.array([np.nan, 1.0]), rng) == (1, 1, 1)
    assert np.isnan(bootstrap(np.array([np.nan]), rng)).all()


def test_interval_is_that_of_resampled_means(rng):
    values = rng.random(40)
    plain = [values[rng.integers(0, 40, 40)].mean() for _ in range(4000)]
    found = bootstrap(values, rng, 4000)
    assert found.value == values.mean()
    assert (found.low, found.high) == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.01)


def test_columns_and_blocks_do_not_matter_to_an_interval(rng, monkeypatch):
    columns = rng.random((50, 3))
    columns[rng.random((50, 3)) < 0.2] = np.nan
    together = intervals(columns, np.random.default_rng(1), 100)
    monkeypatch.setattr(metrics, "DRAWS_PER_BLOCK", 50 * 7)
    for column, interval in zip(columns.T, together, strict=True):
        alone = bootstrap(column, np.random.default_rng(1), 100)
        assert alone == pytest.approx(interval)


def test_one_among_others_loses_ties():
    wanted = np.array([3.0, 1.0, 2.0, 0.0])
    others = np.array([[1, 2], [1, 0], [2, 2], [1, 1]])
    hits = hits_among(wanted, others)
    assert hits.argmax(axis=1).tolist() == [0, 1, 2, 2]
    assert hits.sum(axis=1).tolist() == [1, 1, 1, 1]
    one = np.ones(4, np.int64)
    assert hit_rate(hits, one, 2).tolist() == [1, 1, 0, 0]
    assert ndcg(hits, one, 2) == pytest.approx([1, 1 / log2(3), 0, 0])
