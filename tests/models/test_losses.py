import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from avrec.models.losses import full_softmax, gbce, sampled_softmax


def drawn(num_queries=23, num_items=37, dim=8, seed=0, dtype=torch.float32):
    """Queries, items, targets and weights; every fifth weight is 0."""
    rng = torch.Generator().manual_seed(seed)
    queries = torch.randn(num_queries, dim, generator=rng, dtype=dtype, requires_grad=True)
    items = torch.randn(num_items, dim, generator=rng, dtype=dtype, requires_grad=True)
    target = torch.randint(0, num_items, (num_queries,), generator=rng)
    weight = torch.rand(num_queries, generator=rng, dtype=dtype)
    weight[::5] = 0
    return queries, items, target, weight


def plain(queries, items, target, weight):
    each = functional.cross_entropy(queries @ items.T, target, reduction="none")
    return (each * weight).sum()


def with_gradients(loss, queries, items, *rest):
    value = loss(queries, items, *rest)
    return value, *torch.autograd.grad(3 * value, (queries, items))


@given(rows=st.integers(1, 40), num_queries=st.integers(1, 30), num_items=st.integers(1, 40))
def test_chunks_give_the_loss_and_gradients_of_the_whole(rows, num_queries, num_items):
    given = drawn(num_queries, num_items)
    expected = with_gradients(plain, *given)
    found = with_gradients(full_softmax, *given, rows)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_formula():
    queries, items, target, weight = drawn(5, 7, 3, dtype=torch.float64)
    torch.autograd.gradcheck(lambda q, v: full_softmax(q, v, target, weight, 2), (queries, items))


@given(scale=st.floats(0, 1e4))
def test_large_logits_stay_finite(scale):
    queries, items, target, weight = drawn()
    value, *gradients = with_gradients(full_softmax, queries * scale, items, target, weight)
    assert torch.isfinite(value)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_no_query_is_no_loss():
    queries, items, target, weight = drawn(0)
    value, of_queries, of_items = with_gradients(full_softmax, queries, items, target, weight)
    assert (value.item(), len(of_queries), of_items.abs().sum().item()) == (0, 0, 0)


def test_a_query_of_weight_0_moves_nothing():
    queries, items, target, weight = drawn()
    _, of_queries, _ = with_gradients(full_softmax, queries, items, target, weight)
    assert not of_queries[weight == 0].any()
    assert of_queries[weight > 0].any(dim=1).all()


def test_no_gradient_is_made_where_none_is_asked():
    queries, items, target, weight = (one.detach() for one in drawn())
    value = full_softmax(queries, items, target, weight)
    torch.testing.assert_close(value, plain(queries, items, target, weight))
    assert not value.requires_grad


def logits(queries, items, target):
    same = target[:, None] == torch.arange(len(items))
    return (queries * items[target]).sum(1), queries @ items.T, same


def test_the_whole_catalogue_as_sample_is_the_full_softmax():
    queries, items, target, weight = drawn()
    value = sampled_softmax(*logits(queries, items, target), torch.zeros(len(items)), weight)
    torch.testing.assert_close(value, plain(queries, items, target, weight))


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_corrected_samples_estimate_the_full_softmax_whatever_they_are_drawn_from(skew):
    queries, items, target, weight = (one.detach() for one in drawn())
    chance = torch.linspace(1, 5, len(items)) ** skew
    chance /= chance.sum()
    draws = torch.multinomial(chance, 200_000, True, generator=torch.Generator().manual_seed(1))
    positive, negative, same = logits(queries, items, target)
    expected = torch.log(200_000 * chance[draws])
    value = sampled_softmax(positive, negative[:, draws], same[:, draws], expected, weight)
    torch.testing.assert_close(value, plain(queries, items, target, weight), rtol=5e-3, atol=0)


def test_gbce_without_calibration_is_binary_cross_entropy():
    queries, items, target, weight = drawn()
    positive, negative, same = logits(queries, items, target)
    each = functional.binary_cross_entropy_with_logits(negative, same.float(), reduction="none")
    value = gbce(positive, negative, same, 0.0, len(items), weight)
    torch.testing.assert_close(value, (each.sum(1) * weight).sum())


def test_gbce_weighs_the_positive_down_by_the_share_of_negatives_seen():
    """With t = 1 and 9 negatives of 91 items, beta is 9 / 90."""
    positive, negative = torch.tensor([0.3]), torch.full((1, 9), -0.2)
    same = torch.zeros(1, 9, dtype=torch.bool)
    value = gbce(positive, negative, same, 1.0, 91, torch.ones(1))
    sigma = 1 / (1 + np.exp(-np.array([0.3, 0.2])))
    assert float(value) == pytest.approx(-0.1 * np.log(sigma[0]) - 9 * np.log(sigma[1]), rel=1e-5)
