import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avrec.arrays import unit
from avrec.models.landmarks import landmarks


def content(seed, rows=30, dim=5):
    vectors = unit(np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32))
    vectors[3] = 0
    return vectors


@given(st.integers(0, 20), st.sampled_from([0.5, 2.0, 8.0]))
def test_features_of_landmarks_have_the_kernel_as_dot_product(seed, sharpness):
    rows = content(seed)
    features = landmarks(rows, sharpness, 100).features(rows)
    kernel = np.exp(sharpness * (rows @ rows.T - 1))
    kernel[3], kernel[:, 3] = 0, 0
    np.testing.assert_allclose(features @ features.T, kernel, atol=2e-2)


def test_few_landmarks_are_nearly_enough_where_likeness_is_soft():
    rows = content(0, rows=400, dim=3)
    few = landmarks(rows, 1.0, 60).features(rows)
    assert few.shape == (400, 60)
    present = rows.any(axis=1)
    kernel = np.exp(rows @ rows.T - 1) * present[:, None] * present
    assert abs(few @ few.T - kernel).max() < 0.02


def test_the_same_content_gives_the_same_landmarks_and_copies_do_no_harm():
    rows = np.repeat(content(1), 3, axis=0)
    first, second = (landmarks(rows, 4.0, 50).features(rows) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("rows", [0, 4])
def test_no_content_has_no_landmarks(rows):
    nothing = np.zeros((rows, 3), np.float32)
    assert landmarks(nothing, 1.0, 10).features(nothing).shape == (rows, 0)
