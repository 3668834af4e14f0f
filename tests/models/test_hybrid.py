import numpy as np
import pytest
from scipy.sparse import csr_array

from avrec.arrays import unit
from avrec.factors import Factors
from avrec.index import as_lister
from avrec.interactions import Histories
from avrec.models import als, cold
from avrec.models.als import ALSConfig
from avrec.models.cold import ColdConfig
from avrec.models.hybrid import Hybrid, HybridConfig
from avrec.vocab import Vocabulary

ITEMS = Vocabulary.of([f"i{n:02}" for n in range(20)])
HISTORIES = Histories.of([np.array(row) for row in ([1, 3, 5], [0], [], [2, 8, 4])])
CONFIG = HybridConfig(sharpness=3.0, warm=0.2, cold=0.7)


@pytest.fixture
def model(two_tastes):
    """Of two tastes, odd and even; the last two items came too late."""
    weights = two_tastes.toarray()
    weights[:, 18:] = 0
    config = ALSConfig(dim=4)
    vectors = als.fit(csr_array(weights), config, rng=np.random.default_rng(0))
    return als.ALS(Factors(ITEMS, vectors), config)


@pytest.fixture
def content(rng):
    kind = np.eye(2, 4)[np.arange(20) % 2]
    return unit((kind + 0.1 * rng.normal(size=kind.shape)).astype(np.float32))


def test_score_is_the_models_and_the_likeness_to_the_history(model, content):
    hybrid = Hybrid(model, content, CONFIG)
    scores = hybrid.user_vectors(HISTORIES) @ hybrid.items.vectors.T
    kernel = np.exp(CONFIG.sharpness * (content @ content.T - 1))
    likeness = HISTORIES.matrix(20) @ kernel
    weight = np.where(model.items.known(), CONFIG.warm, CONFIG.cold)
    expected = model.user_vectors(HISTORIES) @ model.items.vectors.T + weight * likeness
    np.testing.assert_allclose(scores, expected, atol=1e-2)


def test_what_is_foretold_from_content_counts_as_cold(model, content):
    filled = als.ALS(cold.fill_cold(model.items, content, ColdConfig()), ALSConfig(dim=4))
    hybrid = Hybrid(filled, content, CONFIG, trained=model.trained)
    likeness = np.linalg.norm(hybrid.items.vectors[:, 4:], axis=1)
    np.testing.assert_allclose(likeness[:18], CONFIG.warm, rtol=1e-2)
    np.testing.assert_allclose(likeness[18:], CONFIG.cold, rtol=1e-2)


def test_an_item_that_nobody_took_to_is_listed_for_those_of_its_kind(model, content):
    found = as_lister(Hybrid(model, content, CONFIG)).lists(HISTORIES, 17, exclude=HISTORIES).idx
    assert 19 in found[0][:7]
    assert 18 not in found[0][:7]
    assert 18 in found[3][:7]
    assert (found[2] == -1).all()


def test_without_weight_it_is_the_model(model, content):
    plain = Hybrid(model, content, HybridConfig(warm=0, cold=0))
    ours, theirs = (as_lister(m).lists(HISTORIES, 5).idx for m in (plain, model))
    np.testing.assert_array_equal(ours, theirs)


def test_rejects_impossible_weights():
    with pytest.raises(ValueError, match="cold must be at least 0 and finite, got -1"):
        HybridConfig(cold=-1)
