"""Faster arithmetic for towers, by configuration."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bf16")
Pair = tuple[Tensor, Tensor]


def in_bf16(net: Callable[..., Pair], device: torch.device) -> Callable[..., Pair]:
    """Let a network multiply in bf16; its weights, and what comes out, stay float32."""

    def call(*inputs: object) -> Pair:
        with torch.autocast(device.type, torch.bfloat16):
            queries, items = net(*inputs)
        return queries.float(), items.float()

    return call


def compile_in_place(net: nn.Module) -> None:
    """Let torch compile a network when it is next called, once for rows of any number and length.

    Its parameters keep their names.
    """
    net.compile(dynamic=True)
