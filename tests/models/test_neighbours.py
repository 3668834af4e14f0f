import numpy as np
import pytest
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_array, csr_matrix

from avrec.interactions import Histories
from avrec.models import neighbours
from avrec.models.neighbours import NeighboursConfig, fit
from avrec.vocab import Vocabulary

OF_IMPLICIT = {
    "cosine": CosineRecommender(K=9),
    "tfidf": TFIDFRecommender(K=9),
    "bm25": BM25Recommender(K=9, K1=3, B=0.4),
}


@pytest.fixture
def weights(rng) -> csr_array:
    return csr_array(np.where(rng.random((40, 25)) < 0.3, rng.integers(1, 5, (40, 25)), 0.0))


def items(count=25) -> Vocabulary:
    return Vocabulary.of([f"i{row:02}" for row in range(count)])


def as_histories(weights) -> Histories:
    rows = list(zip(weights.indptr[:-1], weights.indptr[1:], strict=True))
    return Histories.of(
        [weights.indices[a:b] for a, b in rows], [weights.data[a:b] for a, b in rows]
    )


@pytest.mark.filterwarnings("ignore:Method expects CSR input")  # from its own coo_matrix
@pytest.mark.parametrize("weighting", OF_IMPLICIT)
def test_item_neighbours_are_those_of_implicit(weights, weighting):
    config = NeighboursConfig(weighting=weighting, num_neighbours=9, k1=3, b=0.4)
    histories = as_histories(weights)
    found = fit(weights, items(), config).lists(histories, 5, exclude=histories)
    theirs = OF_IMPLICIT[weighting]
    given = csr_matrix(weights, dtype=np.float32)
    theirs.fit(given, show_progress=False)
    ids, scores = theirs.recommend(np.arange(40), given, N=5)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    clear = np.abs(np.diff(scores, axis=1)).min(axis=1) > 1e-5
    assert clear.sum() > 20
    np.testing.assert_array_equal(found.idx[clear], ids[clear])


@pytest.mark.parametrize("weighting", OF_IMPLICIT)
def test_user_neighbours_are_what_the_formula_says(weights, weighting):
    config = NeighboursConfig(side="user", weighting=weighting, num_neighbours=7, k1=3, b=0.4)
    histories = as_histories(weights)
    found = fit(weights, items(), config).lists(histories, 5, exclude=histories)
    weighted = weigh(weights.toarray().astype(float), weighting, k1=3, b=0.4)
    likeness = weighted @ weighted.T
    for user in range(40):
        nearest = np.argsort(-likeness[user], kind="stable")[:7]
        scores = likeness[user, nearest] @ weights.toarray()[nearest]
        scores[histories.row(user)] = 0
        np.testing.assert_allclose(found.scores[user], np.sort(scores)[::-1][:5], rtol=1e-4)
        np.testing.assert_allclose(scores[found.idx[user]], found.scores[user], rtol=1e-4)


def weigh(x, weighting, k1, b):
    rarity = np.log(len(x) / (np.count_nonzero(x, axis=0) + 1))
    length = x.sum(axis=1, keepdims=True)
    if weighting == "bm25":
        return x * (k1 + 1) / (x + k1 * (1 - b + b * length / length.mean())) * rarity
    x = np.sqrt(x) * rarity if weighting == "tfidf" else x
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("side", ["item", "user"])
def test_wide_indices_are_no_matter(weights, side):
    wide = weights.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    config, histories = NeighboursConfig(side=side), as_histories(weights)
    found, expected = (fit(W, items(), config).lists(histories, 5) for W in (wide, weights))
    np.testing.assert_array_equal(found.idx, expected.idx)


@pytest.mark.parametrize("side", ["item", "user"])
def test_blocks_do_not_matter(weights, side, monkeypatch):
    model, histories = fit(weights, items(), NeighboursConfig(side=side)), as_histories(weights)
    whole = model.lists(histories, 5, exclude=histories)
    monkeypatch.setattr(neighbours, "SCORES_PER_BLOCK", 120)
    for ours, theirs in zip(model.lists(histories, 5, exclude=histories), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_are_not_above_zero_are_no_observations(weights):
    with_more = weights.toarray().astype(np.float32)
    with_more[0, with_more[0] == 0] = -1
    with_more[1, with_more[1] == 0] = np.nan
    histories = as_histories(weights)
    found = fit(csr_array(with_more), items(), NeighboursConfig()).lists(histories, 5)
    expected = fit(weights, items(), NeighboursConfig()).lists(histories, 5)
    np.testing.assert_array_equal(found.idx, expected.idx)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": "both"}, "side must be one of"),
        ({"weighting": "jaccard"}, "weighting must be one of"),
        ({"num_neighbours": 0}, "num_neighbours must be at least 1, got 0"),
        ({"k1": -1}, "k1 must be at least 0"),
        ({"b": 2}, r"b must be in \[0, 1\], got 2"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(ValueError, match=message):
        NeighboursConfig(**wrong)
