import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from avrec.models.svd import SVDConfig, fit


@given(seed=st.integers(0, 999), dim=st.integers(1, 12))
def test_projects_as_the_exact_decomposition_does(seed, dim):
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((30, 20)) < 0.3, rng.random((30, 20)), 0)
    vectors = fit(csr_array(weights), SVDConfig(dim=dim, passes=20), rng=rng)
    values, right = np.linalg.svd(weights)[1:]
    if values[dim - 1] - values[dim] > 0.05 * values[0]:
        np.testing.assert_allclose(vectors @ vectors.T, right[:dim].T @ right[:dim], atol=1e-3)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(dim), atol=1e-4)


def test_keeps_as_much_as_can_be_kept(rng):
    weights = np.where(rng.random((300, 200)) < 0.1, 1.0, 0)
    vectors = fit(csr_array(weights), SVDConfig(dim=10), rng=rng)
    kept = np.linalg.norm(weights @ vectors) ** 2
    best = (np.linalg.svd(weights)[1][:10] ** 2).sum()
    assert 0.995 * best < kept <= 1.00001 * best


@pytest.mark.parametrize("shape", [(3, 50), (50, 3)])
def test_lower_rank_leaves_columns_of_zeros(shape, rng):
    vectors = fit(csr_array(rng.random(shape)), SVDConfig(dim=8), rng=rng)
    assert vectors.shape == (shape[1], 8)
    assert vectors.any(axis=0).tolist() == [True] * 3 + [False] * 5


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_empty_in_empty_out(shape, rng):
    vectors = fit(csr_array(shape, dtype=np.float32), SVDConfig(dim=2), rng=rng)
    assert vectors.shape == (shape[1], 2)
    assert not vectors.any()


@pytest.mark.parametrize("wrong", [{"dim": 0}, {"passes": -1}])
def test_says_what_is_wrong(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        SVDConfig(**wrong)
