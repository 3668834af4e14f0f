import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from avrec.arrays import unit
from avrec.factors import Factors
from avrec.models.als import ALSConfig, Side, fit, solve_rows
from avrec.models.cold import ColdConfig, _ridge, fill_cold
from avrec.vocab import Vocabulary

NUM_KINDS, NUM_ITEMS, NUM_USERS = 3, 60, 90
KIND = np.arange(NUM_ITEMS) % NUM_KINDS
COLD = np.arange(NUM_ITEMS) >= 54
VOCABULARY = Vocabulary.of([f"{row:03}" for row in range(NUM_ITEMS)])


@pytest.fixture
def content(rng):
    """Two noisy numbers of each item's sound tell its kind."""
    centres = np.eye(NUM_KINDS)[KIND]
    return unit((centres + rng.normal(0, 0.2, centres.shape)).astype(np.float32))


@pytest.fixture
def learned(rng):
    """Factors of a world where each user plays items of one kind; the last six came too late."""
    taste = np.arange(NUM_USERS) % NUM_KINDS
    plays = (taste[:, None] == KIND) & (rng.random((NUM_USERS, NUM_ITEMS)) < 0.5) & ~COLD
    weights, config = csr_array(plays.astype(np.float32)), ALSConfig(dim=8)
    items = fit(weights, config, rng=rng)
    return taste, solve_rows(weights, Side.of(items), config), Factors(VOCABULARY, items)


def test_new_item_is_offered_to_those_of_its_kind(content, learned):
    taste, users, factors = learned
    filled = fill_cold(factors, content, ColdConfig())
    for item in np.flatnonzero(COLD):
        best = np.argsort(-(users @ filled.vectors[item]))[: NUM_USERS // NUM_KINDS]
        assert (taste[best] == KIND[item]).mean() > 0.9


def test_new_items_are_as_long_as_known_ones(content, learned):
    factors = learned[2]
    length = np.linalg.norm(fill_cold(factors, content, ColdConfig()).vectors, axis=1)
    assert length[COLD].mean() == pytest.approx(length[~COLD].mean(), rel=0.2)


def test_known_items_stay_and_items_without_content_stay_unknown(content, learned):
    factors = learned[2]
    content[-1] = 0
    filled = fill_cold(factors, content, ColdConfig())
    np.testing.assert_array_equal(filled.vectors[~COLD], factors.vectors[~COLD])
    assert filled.known().tolist() == [True] * (NUM_ITEMS - 1) + [False]


def test_nothing_known_leaves_all_unknown(content):
    nothing = Factors(VOCABULARY, np.zeros((NUM_ITEMS, 4), np.float32))
    assert not fill_cold(nothing, content, ColdConfig()).known().any()


@given(num_rows=st.integers(1, 9), dim=st.integers(1, 9), seed=st.integers(0, 999))
def test_both_forms_of_the_ridge_agree(num_rows, dim, seed):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(num_rows, dim)), rng.normal(size=(num_rows, 2))
    expected = np.linalg.solve(X.T @ X + 0.5 * np.eye(dim), X.T @ Y)
    np.testing.assert_allclose(_ridge(X, Y, 0.5), expected, atol=1e-9)


def test_rejects_content_of_another_catalogue(learned):
    with pytest.raises(ValueError, match="content must have one row an item, got 2 for 60"):
        fill_cold(learned[2], np.ones((2, 3), np.float32), ColdConfig())
