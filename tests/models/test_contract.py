"""What every model that learns from who took to what must do, whatever it is."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.index import as_lister
from avrec.interactions import Histories
from avrec.models import als, bpr, neighbours, svd
from avrec.models.als import ALSConfig
from avrec.models.bpr import BPRConfig
from avrec.models.neighbours import NeighboursConfig
from avrec.models.svd import SVDConfig
from avrec.store import Recipe, Workspace
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of([f"i{row:02}" for row in range(20)])


class Kind(NamedTuple):
    fit: Callable
    save: Callable
    load: Callable


def fit_als(weights):
    config = ALSConfig(dim=4)
    vectors = als.fit(weights, config, rng=np.random.default_rng(0))
    return als.ALS(Factors(ITEMS, vectors), config)


def fit_svd(weights):
    config = SVDConfig(dim=4)
    vectors = svd.fit(weights, config, rng=np.random.default_rng(0))
    return svd.SVD(Factors(ITEMS, vectors), config)


def fit_bpr(weights):
    config = BPRConfig(dim=4, epochs=200)
    learned = bpr.fit(weights, config, seed=0)
    return bpr.BPR(Factors(ITEMS, learned.items), learned.fold, config)


def near(side, weighting):
    config = NeighboursConfig(side=side, weighting=weighting, num_neighbours=12)
    return lambda weights: neighbours.fit(weights, ITEMS, config)


KINDS = {
    "als": Kind(fit_als, als.save, als.load),
    "svd": Kind(fit_svd, svd.save, svd.load),
    "bpr": Kind(fit_bpr, bpr.save, bpr.load),
} | {
    f"{side}_{weighting}": Kind(
        near(side, weighting), neighbours.save, partial(neighbours.load, side=side)
    )
    for side in ("item", "user")
    for weighting in ("cosine", "tfidf", "bm25")
}


@pytest.fixture(params=KINDS, scope="module")
def kind(request) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def weights() -> csr_array:
    """Twenty users of two tastes; each misses the one item on the diagonal."""
    return csr_array(np.where(np.eye(20), 0, np.equal.outer(np.arange(20) % 2, np.arange(20) % 2)))


@pytest.fixture(scope="module")
def tastes(kind, weights):
    """A model of two tastes, in which many items are alike."""
    return kind.fit(weights)


@pytest.fixture(scope="module")
def model(kind):
    """A model of weights at random, in which no two items are alike."""
    rng = np.random.default_rng(3)
    return kind.fit(csr_array(np.where(rng.random((30, 20)) < 0.4, rng.random((30, 20)), 0)))


HISTORIES = Histories.of([np.array(row) for row in ([1, 3, 5], [0], [], [2, 8, 4, 6], [7, 0])])


def lists(model, histories, k=5):
    return as_lister(model).lists(histories, k, exclude=histories).idx


def test_finds_the_one_item_held_back(tastes, weights):
    everybody = Histories.of([weights.indices[a:b] for a, b in _spans(weights)])
    assert lists(tastes, everybody, 1)[:, 0].tolist() == list(range(20))


def _spans(weights):
    return zip(weights.indptr[:-1], weights.indptr[1:], strict=True)


def test_a_query_is_the_same_in_any_company(model):
    whole = lists(model, HISTORIES)
    for query in range(len(HISTORIES)):
        alone = lists(model, HISTORIES.take(np.array([query])))
        np.testing.assert_array_equal(alone[0], whole[query])
    turned = np.arange(len(HISTORIES))[::-1]
    np.testing.assert_array_equal(lists(model, HISTORIES.take(turned)), whole[turned])


def test_order_within_a_history_does_not_matter(model):
    turned = Histories.of([HISTORIES.row(query)[::-1] for query in range(len(HISTORIES))])
    np.testing.assert_array_equal(lists(model, turned), lists(model, HISTORIES))


def test_what_is_excluded_is_never_listed(model):
    found = lists(model, HISTORIES, 30)
    for query in range(len(HISTORIES)):
        assert not np.isin(found[query], HISTORIES.row(query)).any()
        listed = found[query][found[query] >= 0]
        assert len(np.unique(listed)) == len(listed)


def test_a_larger_k_extends_the_list(model):
    np.testing.assert_array_equal(lists(model, HISTORIES, 9)[:, :4], lists(model, HISTORIES, 4))


def test_padding_comes_last_and_scores_fall(model):
    found = as_lister(model).lists(HISTORIES, 30)
    assert ((found.idx >= 0) == np.isfinite(found.scores)).all()
    assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()


def test_an_empty_history_has_an_empty_list(model):
    assert (lists(model, HISTORIES)[2] == -1).all()
    assert lists(model, Histories.of([])).shape == (0, 5)


def test_an_item_that_nobody_took_to_is_never_listed(kind, weights):
    fewer = weights.toarray()
    fewer[:, 6] = 0
    model = kind.fit(csr_array(fewer))
    assert not np.isin(lists(model, HISTORIES, 20), 6).any()


@pytest.mark.parametrize("num_users", [0, 3])
def test_nothing_learned_is_nothing_listed(kind, num_users):
    model = kind.fit(csr_array((num_users, 20), dtype=np.float32))
    assert (lists(model, HISTORIES) == -1).all()


def test_fitting_again_gives_the_same(kind, tastes, weights):
    again = as_lister(kind.fit(weights)).lists(HISTORIES, 5)
    np.testing.assert_array_equal(again.scores, as_lister(tastes).lists(HISTORIES, 5).scores)


def test_comes_back_from_disk_as_it_was(kind, model, tmp_path):
    workspace = Workspace(str(tmp_path))
    with workspace.create("model", Recipe({}, {})) as draft:
        kind.save(model, draft)
    again = kind.load(workspace.open("model"), ITEMS)
    assert (again.name, again.config) == (model.name, model.config)
    for ours, theirs in zip(
        as_lister(again).lists(HISTORIES, 5), as_lister(model).lists(HISTORIES, 5), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ArtifactError, match="another catalogue"):
        kind.load(workspace.open("model"), Vocabulary.of(pa.array(["other"])))
