"""bf16 and compiled towers beside plain ones, on the CPU."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from avrec.models import towers
from avrec.models.item_tower import FUSIONS
from avrec.models.sequence_config import USERS, SequenceConfig
from avrec.models.towers_net import TowersConfig
from avrec.models.training import ALONE, shuffled, windows
from tests.models.worlds import cut, tastes

CONFIG = TowersConfig(
    dim=16,
    num_heads=2,
    history_length=8,
    epochs=8,
    batch_size=32,
    learning_rate=0.02,
    sequence=SequenceConfig(num_blocks=1, dropout=0.1),
)
WORLD = tastes()


def loss_and_gradient(config):
    """Of the first batch, with untrained towers."""
    task = towers.prepare(WORLD.histories, WORLD.content, config)
    net = towers.build(task.known, config, seed=0)
    loss, _ = towers.objective(net, task.known, task.held, config, 0)(net, ALONE)
    dealt = ALONE.deal(next(shuffled(windows(task.columns), config.batch_size, (0, 0))))
    value = loss(dealt, ALONE.own(dealt), (0, 0))
    value.backward()
    return value.item(), net.item.ids.weight.grad


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_loss_in_bf16_is_near_that_in_float32(user, similarity):
    sequence = dataclasses.replace(CONFIG.sequence, similarity=similarity)
    config = dataclasses.replace(CONFIG, user=user, sequence=sequence)
    plain, gradient = loss_and_gradient(config)
    low, of_low = loss_and_gradient(dataclasses.replace(config, precision="bf16"))
    assert low == pytest.approx(plain, rel=0.01)
    assert low != plain
    assert torch.cosine_similarity(of_low.ravel(), gradient.ravel(), dim=0) > 0.99


@pytest.mark.parametrize("fusion", FUSIONS)
def test_any_fusion_can_be_trained_in_bf16(fusion):
    config = dataclasses.replace(CONFIG, fusion=fusion, precision="bf16", batch_size=100)
    model = towers.fit(cut(WORLD.histories, 7), WORLD.content, config, seed=1)
    scores = model.user_vectors(cut(WORLD.histories, 7)) @ model.items.vectors.T
    for item in np.flatnonzero(WORLD.cold):
        fans = WORLD.taste_of_user == WORLD.kind_of_item[item]
        assert scores[fans, item].mean() > scores[~fans, item].mean() + 0.2
    assert all(p.dtype == torch.float32 for p in model.user.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch warns of its own parts
def test_a_compiled_tower_gives_what_a_plain_one_gives():
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none here")
    config = dataclasses.replace(CONFIG, user="sasrec")
    plain, gradient = loss_and_gradient(config)
    compiled, of_compiled = loss_and_gradient(dataclasses.replace(config, compile=True))
    assert compiled == pytest.approx(plain, rel=1e-5)
    torch.testing.assert_close(of_compiled, gradient, rtol=1e-3, atol=1e-6)


def test_an_unknown_precision_is_refused():
    with pytest.raises(
        ValueError, match=r"precision must be among \('float32', 'bf16'\), got 'f8'"
    ):
        TowersConfig(precision="f8")
