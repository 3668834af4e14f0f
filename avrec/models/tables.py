"""A table of vectors, one row an item, of which each worker holds its own rows only.

Worker `r` has the rows [r share, (r + 1) share), share = ceil(num_rows / workers): their weights,
their gradient and the moments of the optimiser. What a batch looks up is fetched from the owners,
and its gradients go back to them, so that the numbers are those of one whole table.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from avrec.models.training import Crew

PIECE = 1 << 14
"""Rows drawn at a time, a multiple of 16: torch draws in sixteens, so that what is drawn in pieces
is what is drawn at once."""
LAST = 16
FLOAT_BYTES = 4


def size_mb(num_rows: int, dim: int) -> float:
    """MiB of a table's weights."""
    return num_rows * dim * FLOAT_BYTES / 2**20


def owned(num_rows: int, crew: Crew) -> range:
    """Rows of a table that are this worker's."""
    share = -(-num_rows // crew.size)
    return range(min(crew.rank * share, num_rows), min((crew.rank + 1) * share, num_rows))


def table(num_rows: int, dim: int, std: float, crew: Crew | None = None) -> "Table":
    """Make a table of normal numbers, whole, or this worker's rows of the same one."""
    if crew is not None:
        return ShardedTable(num_rows, dim, std, crew)
    whole = nn.Embedding(num_rows, dim)
    nn.init.normal_(whole.weight, std=std)
    return whole


class ShardedTable(nn.Module):
    """This worker's rows; every worker of the crew calls it at the same time, each for its own.

    Averaging of gradients over workers must leave `weight` alone: it is done here.
    """

    def __init__(self, num_rows: int, dim: int, std: float, crew: Crew) -> None:
        super().__init__()
        self.embedding_dim, self.num_rows = dim, num_rows
        self.rows, self._crew = owned(num_rows, crew), crew
        self.weight = nn.Parameter(_drawn(num_rows, dim, std, self.rows))

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors (n, dim) of rows of the whole table (n)."""
        share = -(-self.num_rows // self._crew.size)
        return _Lookup.apply(self.weight, rows, share, self._crew)  # type: ignore[no-untyped-call]


Table = nn.Embedding | ShardedTable


class _Lookup(Function):
    """Ask each owner for its rows; the mean over workers of the gradients goes back."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, rows: Tensor, share: int, crew: Crew) -> Tensor:
        order = torch.argsort(rows, stable=True)
        counts = torch.bincount(rows // share, minlength=crew.size).tolist()
        asked = crew.swap(torch.split(rows[order], counts))
        own = [theirs - crew.rank * share for theirs in asked]
        vectors = torch.empty(len(rows), weight.shape[1], dtype=weight.dtype, device=weight.device)
        vectors[order] = torch.cat(crew.swap([weight[places] for places in own]))
        ctx.save_for_backward(order, torch.cat(own))
        ctx.counts, ctx.crew, ctx.shape = counts, crew, weight.shape
        return vectors

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        order, places = ctx.saved_tensors
        theirs = torch.cat(ctx.crew.swap(torch.split(gradient[order], ctx.counts)))
        total = gradient.new_zeros(ctx.shape).index_add_(0, places, theirs)
        return total / ctx.crew.size, None, None, None


def shards(net: nn.Module) -> dict[str, range]:
    """Parameters of which `net` holds some rows only, and which."""
    return {
        f"{name}.weight": module.rows
        for name, module in net.named_modules()
        if isinstance(module, ShardedTable)
    }


def _drawn(num_rows: int, dim: int, std: float, kept: range) -> Tensor:
    """Rows `kept` of the weights that `nn.Embedding` draws first and `table` draws anew."""
    for spread in (1.0, std):
        parts = [torch.zeros(0, dim)]
        for piece in _pieces(num_rows):
            values = torch.empty(len(piece), dim).normal_(std=spread)
            inside = range(max(piece.start, kept.start), min(piece.stop, kept.stop))
            if inside:
                parts.append(values[inside.start - piece.start : inside.stop - piece.start].clone())
    return torch.cat(parts)


def _pieces(num_rows: int) -> Iterator[range]:
    start = 0
    while start < num_rows:
        stop = num_rows if num_rows - start < PIECE + LAST else start + PIECE
        yield range(start, stop)
        start = stop
