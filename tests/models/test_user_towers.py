"""Weights are random: what is tested is what a tower may look at."""

import dataclasses

import numpy as np
import pytest
import torch

from avrec.interactions import Histories
from avrec.models.steps import SECOND, latest_windows, steps
from avrec.models.user_towers import KINDS, Dropout, SequenceTower, Shape, noise_width

SHAPE = Shape(kind="sasrec", dim=8, num_heads=2, num_blocks=2, history_length=6)
ITEMS = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=KINDS)
def shape(request):
    return dataclasses.replace(SHAPE, kind=request.param)


def tower(shape):
    torch.manual_seed(1)
    return SequenceTower(shape).eval()


def group_of(rows, at=None, weights=None):
    histories = Histories.of([np.array(row) for row in rows], weights)
    if at is not None:
        histories = dataclasses.replace(histories, at=np.concatenate(at) * SECOND)
    columns = latest_windows(histories, SHAPE.history_length)
    lengths = histories.lengths()
    return steps(columns, np.arange(len(rows)), lengths, SHAPE.history_length)


def read(net, group):
    with torch.inference_mode():
        return net(ITEMS[group.items], group)


def test_a_step_does_not_see_those_that_follow(shape):
    net = tower(shape)
    whole, changed = (read(net, group_of([[3, 1, 4, 1, last]])) for last in (5, 9))
    torch.testing.assert_close(whole[:, :4], changed[:, :4])
    assert not torch.allclose(whole[:, 4], changed[:, 4])


def test_a_step_sees_those_before(shape):
    net = tower(shape)
    whole, changed = (read(net, group_of([[first, 1, 4]])) for first in (5, 9))
    assert not torch.allclose(whole[:, 2], changed[:, 2])


def test_padding_and_company_change_nothing(shape):
    net = tower(shape)
    together = read(net, group_of([[3, 1, 4, 1, 5], [9, 2]]))
    torch.testing.assert_close(together[1:, :2], read(net, group_of([[9, 2]])))


@pytest.mark.parametrize("kind", ["sasrec", "ligr", "hstu", "gru", "conv"])
def test_order_matters(kind):
    net = tower(dataclasses.replace(SHAPE, kind=kind))
    first, second = (read(net, group_of([row]))[:, -1] for row in ([3, 1, 4], [1, 3, 4]))
    assert not torch.allclose(first, second)


def test_only_hstu_sees_times_unasked(shape):
    net = tower(shape)
    near, far = (read(net, group_of([[3, 1]], at=[[0, gap]])) for gap in (1, 100_000))
    assert torch.allclose(near, far) == (shape.kind != "hstu")


def test_times_and_weights_are_seen_where_asked(shape):
    net = tower(dataclasses.replace(shape, with_times=True, with_weights=True))
    plain, late, liked = (
        read(net, group_of([[3, 1]], at=[[0, gap]], weights=[np.array([1, weight])]))
        for gap, weight in ((1, 1), (100_000, 1), (1, 3))
    )
    assert not torch.allclose(plain, late)
    assert not torch.allclose(plain, liked)


def test_heads_look_apart():
    """With one head or two the same weights find something else."""
    one, two = (tower(dataclasses.replace(SHAPE, num_heads=heads)) for heads in (1, 2))
    group = group_of([[3, 1, 4]])
    assert not torch.allclose(read(one, group), read(two, group))


def test_a_tower_has_noise_for_all_that_it_drops(shape):
    shape = dataclasses.replace(shape, dropout=0.5)
    net, group = tower(shape), group_of([[3, 1, 4], [5]])
    width = noise_width(shape)
    all_kept = torch.full((2, 3, width), 255, dtype=torch.uint8)
    all_dropped = torch.zeros_like(all_kept)
    kept, dropped = (read(net, group._replace(noise=noise)) for noise in (all_kept, all_dropped))
    assert not torch.allclose(kept, dropped)
    torch.testing.assert_close(dropped[0, 0], dropped[1, 0])


def test_dropout_drops_its_share_and_keeps_the_mean():
    noise = torch.randint(0, 256, (4, 50, 64), dtype=torch.uint8)
    drop = Dropout.of(noise, 0.25)
    first, second = drop(torch.ones(4, 50, 32)), drop(torch.ones(4, 50, 32))
    assert first.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(first.mean()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(first, second)


def test_no_noise_or_no_rate_drops_nothing():
    x = torch.ones(2, 3, 4)
    assert torch.equal(Dropout.of(None, 0.5)(x), x)
    assert torch.equal(Dropout.of(torch.zeros(2, 3, 4, dtype=torch.uint8), 0.0)(x), x)
