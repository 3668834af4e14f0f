import numpy as np
import pytest
from scipy.sparse import csr_array

from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.models.bpr import BPR, BPRConfig, fit
from avrec.vocab import Vocabulary

CONFIG = BPRConfig(dim=4, epochs=50)


@pytest.fixture
def model(two_tastes) -> BPR:
    learned = fit(two_tastes, CONFIG, seed=0)
    items = Factors(Vocabulary.of([f"i{row:02}" for row in range(20)]), learned.items)
    return BPR(items, learned.fold, CONFIG)


def test_a_query_ends_in_one_for_the_bias(model):
    queries = model.user_vectors(Histories.of([np.array([3]), [], np.array([0, 2])]))
    assert queries.shape == (3, 5)
    assert queries[:, -1].tolist() == [1, 0, 1]
    assert not queries[1].any()


def test_the_seed_settles_the_result(two_tastes):
    one, same, other = (fit(two_tastes, CONFIG, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.items, same.items)
    assert (one.items != other.items).any()


def test_weights_count_alike(two_tastes):
    heavier = csr_array(two_tastes * np.float32(5))
    np.testing.assert_array_equal(
        fit(heavier, CONFIG, seed=1).items, fit(two_tastes, CONFIG, seed=1).items
    )


@pytest.mark.parametrize(
    "wrong", [{"dim": 0}, {"epochs": 0}, {"learning_rate": 0}, {"reg": np.inf}]
)
def test_says_what_is_wrong(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        BPRConfig(**wrong)
