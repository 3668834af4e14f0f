import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.models import popularity
from avrec.models.features import DENSE
from avrec.models.impressions import auc, between, compare, describe, halves, log_loss, ndcg_within
from avrec.models.knowledge import knowledge
from avrec.schema import INTERACTIONS, ITEMS, LABELS, conform
from avrec.vocab import Vocabulary

ITEM_IDS = list("abc")


def labels(rows):
    names = ["user_id", "item_id", "at", "label", "request_id"]
    return conform(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), LABELS
    )


@pytest.fixture
def shown():
    interactions = conform(
        pa.table(
            {"user_id": ["u", "u"], "item_id": ["a", "b"], "weight": [1.0, 1], "at": [10, 30]}
        ),
        INTERACTIONS,
    )
    rows = [
        ("u", "c", 40, 1.0, "r2"),
        ("u", "b", 20, 0.25, "r1"),
        ("u", "c", 20, 0.0, "r1"),
        ("u", "a", 40, 0.5, "r2"),  # in the history by then
        ("u", "gone", 40, 0.5, "r2"),  # not in the catalogue
        ("v", "a", 50, 0.75, None),
        ("v", "b", 50, 0.5, None),
    ]
    items = conform(pa.table({"item_id": ITEM_IDS, "title": ITEM_IDS}), ITEMS)
    vocabulary = Vocabulary.of(ITEM_IDS)
    models = [popularity.fit(interactions, vocabulary)]
    known = knowledge(items, interactions)
    return describe(labels(rows), interactions, vocabulary, models, known)


def test_impressions_are_described_as_of_their_moment(shown):
    assert shown.at.tolist() == [20, 20, 40, 50, 50]
    assert shown.labels.tolist() == [0.25, 0, 1, 0.75, 0.5]
    lengths = shown.features.dense[:, DENSE.index("log_history_length")]
    np.testing.assert_allclose(np.expm1(lengths), [1, 1, 2, 0, 0], atol=1e-6)
    assert shown.scores["popularity"].tolist() == [2, 1, 1, 2, 2]


def test_requests_are_lists_shown_at_once(shown):
    first, _, third, last, _ = shown.request
    assert shown.request.tolist() == [first, first, third, last, last]
    assert len({first, third, last}) == 3


def test_the_later_part_comes_strictly_after_the_earlier(shown):
    earlier, later = halves(shown, 0.4)
    assert earlier.at.max() < later.at.min()
    assert len(earlier) + len(later) == len(shown)


def test_window_is_half_open():
    table = labels([("u", "a", at, 0.0, None) for at in (9, 10, 20)])
    assert between(table, 10, 20)["at"].cast(pa.int64()).to_pylist() == [10]


def test_comparison_names_every_retriever(shown):
    found = compare(shown, np.full(5, 0.5, np.float32))
    assert found["ranker/auc"] == 0.5
    assert {name.split("/")[0] for name in found} == {"ranker", "popularity"}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_auc_is_the_share_of_pairs_in_order(rows):
    positive, scores = (np.array(column) for column in zip(*rows, strict=True))
    pairs = [(p, n) for p in scores[positive] for n in scores[~positive]]
    expected = np.mean([(p > n) + (p == n) / 2 for p, n in pairs]) if pairs else np.nan
    np.testing.assert_allclose(auc(positive, scores.astype(np.float32)), expected)


def test_ndcg_within_requests_is_the_mean_over_those_that_differ():
    request, gains = np.array([0, 1, 0, 2, 2]), np.array([1, 0.5, 0, 0.5, 1], np.float32)
    scores = np.array([1, 0, 2, 0, 1], np.float32)
    log3 = np.log2(3)
    assert ndcg_within(request, gains, scores) == pytest.approx((1 / log3 + 1) / 2)
    assert np.isnan(ndcg_within(request[1:2], gains[1:2], scores[1:2]))


def test_log_loss_is_cross_entropy_and_undefined_for_other_scores():
    half = np.array([0.5, 0.5], np.float32)
    assert log_loss(np.array([0.3, 1], np.float32), half) == pytest.approx(np.log(2))
    assert np.isnan(log_loss(half, half + 1))
    assert np.isnan(log_loss(half[:0], half[:0]))
