from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.models.als import ALSConfig, Epoch, Side, fit, solve_rows
from avrec.models.als_fit import Fitter, split
from avrec.models.als_objective import TORCH_SOLVERS, loss
from tests.models.test_als import world
from tests.models.test_als_fit import grown, together

CONFIG = ALSConfig(dim=6, epochs=4)
DEVICES = pytest.mark.parametrize(
    "device", ["torch:cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
)
SOLVERS = pytest.mark.parametrize("solver", TORCH_SOLVERS)


def fitted(weights, config, size=1):
    def work(group):
        fitter = Fitter(split(weights, config, group), config, group)
        return fitter.run(fitter.begin(np.random.default_rng(7)))

    return together(size, work)


def joined(epochs):
    return np.concatenate([one.users for one in epochs]), np.concatenate([e.items for e in epochs])


def close(found, expected):
    """Equal to 1e-4 of the longest vector's largest number."""
    bound = 1e-4 * np.abs(expected).max(initial=1e-9)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=bound)


def present(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@DEVICES
@SOLVERS
@pytest.mark.parametrize("objective", ["ials", "confidence"])
@pytest.mark.parametrize("seed", range(3))
def test_a_fit_is_that_of_the_cpu(device, solver, objective, seed):
    present(device)
    weights, config = world(seed, (60, 40), 0.15), replace(CONFIG, solver=solver)
    config = replace(config, objective=objective)
    expected = joined(fitted(weights, config))
    found = joined(fitted(weights, replace(config, device=device)))
    for one, other in zip(found, expected, strict=True):
        close(one, other)
        np.testing.assert_array_equal(one.any(axis=1), other.any(axis=1))
    assert loss(weights, *found, config) == pytest.approx(loss(weights, *expected, config), 1e-5)


@SOLVERS
@pytest.mark.parametrize("max_gathered_mb", [4096, 0], ids=["gathered", "fetched"])
@pytest.mark.parametrize("size", [2, 3])
def test_number_of_workers_shows_in_rounding_only(solver, max_gathered_mb, size):
    weights = world(5, (60, 40), 0.15)
    config = replace(CONFIG, solver=solver, max_gathered_mb=max_gathered_mb)
    expected = joined(fitted(weights, config))
    found = joined(fitted(weights, replace(config, device="torch:cpu"), size))
    for one, other in zip(found, expected, strict=True):
        close(one, other)


def test_each_epoch_may_be_gone_on_from():
    weights, config = world(), replace(CONFIG, device="torch:cpu")
    kept = []

    def keep(epoch):
        items, users = epoch.items.copy(), epoch.users.copy()
        items.flags.writeable = users.flags.writeable = False
        kept.append(Epoch(epoch.number, items, epoch.change, users))

    whole = fit(weights, config, rng=np.random.default_rng(7), on_epoch=keep)
    assert [one.number for one in kept] == [1, 2, 3, 4]
    assert kept[0].change > kept[-1].change > 0
    again = fit(weights, config, rng=np.random.default_rng(8), start=kept[1])
    np.testing.assert_array_equal(again, whole)


@SOLVERS
def test_new_rows_begin_by_fold_in(solver):
    weights, _ = grown()
    config = replace(CONFIG, solver=solver, device="torch:cpu")
    items, known = fit(weights, config, rng=np.random.default_rng(1)), np.arange(40) < 33
    items[33:] = 0
    fitter = Fitter(split(weights, config), config)
    begun = fitter.fold_in(items, known)
    np.testing.assert_array_equal(begun.items[known], items[known])
    close(begun.users, solve_rows(weights, Side.of(items), config))
    assert fitter.audience(begun).num_known == begun.users.any(axis=1).sum()


def test_nothing_to_train_on_gives_zero_rows():
    users, items = joined(fitted(world() * 0, replace(CONFIG, device="torch:cpu")))
    assert not users.any()
    assert not items.any()


@pytest.mark.parametrize("device", ["torch:cpu", "cuda", "cuda:1"])
def test_names_the_solvers_that_a_device_has(device):
    with pytest.raises(ValueError, match=r"one of \('cg', 'cholesky'\) on the device .*'subspace'"):
        ALSConfig(solver="subspace", device=device)


@pytest.mark.parametrize("device", ["", "gpu", "torch:cuda", "cuda:x"])
def test_refuses_what_is_no_device(device):
    with pytest.raises(ValueError, match="device must be"):
        ALSConfig(device=device)


def test_refuses_a_device_that_is_not_here(rng):
    with pytest.raises(ValueError, match="device must be one that is here, got 'cuda:99'"):
        fit(world(), replace(CONFIG, device="cuda:99"), rng=rng)
