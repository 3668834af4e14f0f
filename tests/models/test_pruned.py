import numpy as np
import pytest
import torch
from torch import nn

from avrec.models.pruned import num_bytes, pack, unpack
from avrec.store import Recipe, Workspace


@pytest.fixture
def net():
    """Weights are random."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Conv1d(64, 8, 3))


@pytest.fixture
def other():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Conv1d(64, 8, 3))


def weights(net):
    return {name: p.detach().numpy().copy() for name, p in net.named_parameters()}


def test_without_leaving_out_weights_are_rounded(net, other):
    before, after = weights(net), weights(unpack(other, pack(net)))
    for name, values in before.items():
        if values.ndim < 2:
            np.testing.assert_array_equal(after[name], values)
        else:
            steps = np.abs(values.reshape(len(values), -1)).max(axis=1) / 127
            apart = np.abs(after[name] - values).reshape(len(values), -1)
            assert (apart <= 0.5 * steps[:, None] + 1e-7).all()


@pytest.mark.parametrize("left_out", [0.25, 0.9])
def test_the_smallest_are_left_out(net, other, left_out):
    before, after = weights(net), weights(unpack(other, pack(net, left_out)))
    for name, values in before.items():
        if values.ndim >= 2:
            gone = after[name] == 0
            bound = np.quantile(np.abs(values), left_out)
            assert gone.mean() == pytest.approx(left_out, abs=0.02)
            assert np.abs(values[~gone]).min() >= bound - 1e-6


def test_bytes_are_few(net):
    matrices = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    assert num_bytes(pack(net)) < 0.5 * 4 * matrices
    assert num_bytes(pack(net, 0.75)) < 0.2 * 4 * matrices


def test_comes_back_from_a_file_of_numbers_alone(net, other, tmp_path):
    packed, workspace = pack(net, 0.5), Workspace(str(tmp_path))
    with workspace.create("towers", Recipe({}, {})) as draft:
        draft.add_tensors("small.safetensors", packed)
    unpack(other, workspace.open("towers").tensors("small.safetensors"))
    again = pack(other)
    straight = weights(unpack(net, packed))
    for name, values in weights(other).items():
        np.testing.assert_array_equal(values, straight[name])
    assert set(again) == set(packed)


@pytest.mark.parametrize("left_out", [-0.1, 1.0])
def test_rejects_what_is_no_share(net, left_out):
    with pytest.raises(ValueError, match=r"left_out must be in \[0, 1\), got"):
        pack(net, left_out)
