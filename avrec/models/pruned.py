"""Trained networks in fewer bytes: small weights left out, the others as whole numbers.

Of each matrix the weights of least magnitude are left out (Han et al., NIPS 2015), and each row of
what is left is rounded to the 127th part of its largest. On file a matrix is what is kept, one
byte each, a bit a weight that says which they are, and one scale a row; a network that runs is as
large as before. Vectors, such as the scales of a norm, stay as they are.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from avrec.arrays import Array, Mask, Vectors
from avrec.models.coded import Int8, int8

Packed = Mapping[str, Array]


def pack(net: nn.Module, left_out: float = 0.0) -> dict[str, Array]:
    """Lay the parameters of `net` out as few bytes.

    Args:
        net: any trained network.
        left_out: share of each matrix's weights, in [0, 1), that become 0.

    Returns:
        NAME.codes, NAME.kept, NAME.scales and NAME.shape of each matrix, NAME of all else.
    """
    if not 0 <= left_out < 1:
        raise ValueError(f"left_out must be in [0, 1), got {left_out}")
    packed: dict[str, Array] = {}
    for name, parameter in net.named_parameters():
        values = parameter.detach().cpu().numpy()
        if values.ndim < 2:  # noqa: PLR2004 -- a matrix has two
            packed[name] = values
            continue
        kept = _largest(values, 1 - left_out)
        coded = int8(np.where(kept, values, np.float32(0)).reshape(len(values), -1))
        packed[f"{name}.codes"] = coded.codes[kept.reshape(coded.codes.shape)]
        packed[f"{name}.kept"] = np.packbits(kept)
        packed[f"{name}.scales"] = coded.scales
        packed[f"{name}.shape"] = np.array(values.shape, np.int64)
    return packed


def unpack(net: nn.Module, packed: Packed) -> nn.Module:
    """Give `net` the parameters that `pack` laid out."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            values = packed[name] if name in packed else _matrix(packed, name)
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return net


def num_bytes(packed: Packed) -> int:
    """Bytes that it takes on file."""
    return sum(array.nbytes for array in packed.values())


def _largest(values: Vectors, share: float) -> Mask:
    """Mark the `share` of the weights that are of largest magnitude, rounded up."""
    count = int(np.ceil(share * values.size))
    marked = np.zeros(values.size, bool)
    marked[np.argsort(-np.abs(values), axis=None, kind="stable")[:count]] = True
    return marked.reshape(values.shape)


def _matrix(packed: Packed, name: str) -> Vectors:
    shape = tuple(packed[f"{name}.shape"])
    size = int(np.prod(shape))
    codes = np.zeros(size, np.int8)
    kept = np.unpackbits(packed[f"{name}.kept"], count=size).astype(bool)
    codes[kept] = packed[f"{name}.codes"]
    whole = Int8(codes.reshape(shape[0], -1), packed[f"{name}.scales"])
    return whole.vectors(slice(None)).reshape(shape)
