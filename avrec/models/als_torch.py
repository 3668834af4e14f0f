"""Half a sweep of ALS in torch, for a GPU: rows in batches of like degree.

The problem is that of `avrec.models.als_kernels.Ridge`, with everything on one device: a side is
cut into batches once, and they serve every epoch. Rows of a batch are padded to the longest of
them, so batches are cut from the rows in order of degree. Unlike on the CPU, a row's last bits
depend on its batch, since so do the shapes that the matrix products see.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from avrec.arrays import Array

CLOSE = 1e-20
PAD = 8
GROWTH = 1.125


class Batch(NamedTuple):
    """Rows of one side, padded to `width` entries.

    Attributes:
        rows: which they are, (num_rows,) int64.
        columns: of their entries, (num_rows, width) int32, padded with 0.
        pull: confidences of the entries, (num_rows, width) float32, padded with 0.
        lengths: number of entries, (num_rows,) int32, at least 1.
        step: entries of each row to be gathered at a time.
    """

    rows: Tensor
    columns: Tensor
    pull: Tensor
    lengths: Tensor
    step: int


class Known(NamedTuple):
    """What rows are solved against: `Ridge` without the entries, on the device."""

    fixed: Tensor
    gram: Tensor
    reg: Tensor
    offset: float


class Piece(NamedTuple):
    """Some entries of each row: their vectors (b, n, dim), and what weighs them (b, n)."""

    vectors: Tensor
    curve: Tensor
    pull: Tensor


def batches(pull: csr_array, dim: int, device: torch.device, floats: int = 1 << 28) -> list[Batch]:
    """Cut the rows that have entries into batches whose gathered vectors take up to `floats`.

    A row that is longer alone is gathered some entries at a time.
    """
    degrees = np.diff(pull.indptr)
    order = np.argsort(degrees, kind="stable")
    order = order[degrees[order] > 0]
    ordered, made, first = degrees[order], [], 0
    while first < len(order):
        # As far as padding adds an eighth at most, and the vectors fit.
        longest = max(int(ordered[first] * GROWTH), PAD)
        last = int(np.searchsorted(ordered, longest, side="right"))
        last = min(last, first + max(1, floats // (longest * dim)))
        step = max(PAD, floats // (dim * (last - first)))
        made.append(_batch(pull, order[first:last], step, device))
        first = last
    return made


def solve_cg(rows: list[Batch], known: Known, solved: Tensor, *, steps: int = 3) -> None:
    """Improve `solved`, (num_rows, dim), in place by steps of conjugate gradients."""
    for batch in rows:
        reg = known.reg[batch.rows, None]
        x = solved[batch.rows]
        pieces = list(_pieces(batch, known)) if batch.step >= batch.columns.shape[1] else None
        r = _descent(batch, known, pieces, x) - reg * x
        p, old = r, (r * r).sum(dim=1, keepdim=True)
        for _ in range(steps):
            moved = _curved(batch, known, pieces, p) + reg * p
            going = old >= CLOSE
            length = torch.where(going, old / (p * moved).sum(dim=1, keepdim=True), 0)
            x, r = x + length * p, r - length * moved
            current = (r * r).sum(dim=1, keepdim=True)
            p = r + torch.where(going, current / old, 0) * p
            old = torch.where(going, current, old)
        solved[batch.rows] = x
    _clear_empty(rows, solved)


def solve_exact(rows: list[Batch], known: Known, solved: Tensor, *, floats: int = 1 << 28) -> None:
    """Write `solved`, (num_rows, dim), by batched Cholesky of up to `floats` numbers at once."""
    dim = known.fixed.shape[1]
    most = max(1, floats // dim**2)
    for whole in rows:
        for first in range(0, len(whole.rows), most):
            batch = _some(whole, slice(first, first + most))
            system = known.gram.repeat(len(batch.rows), 1, 1)
            system.diagonal(dim1=1, dim2=2).add_(known.reg[batch.rows, None])
            target = torch.zeros_like(system[:, 0])
            for piece in _pieces(batch, known):
                weighted = piece.vectors * piece.curve[:, :, None]
                system.baddbmm_(weighted.transpose(1, 2), piece.vectors)
                target += torch.bmm(piece.pull[:, None], piece.vectors)[:, 0]
            factor = torch.linalg.cholesky_ex(system).L  # does not wait for the device
            solved[batch.rows] = torch.cholesky_solve(target[:, :, None], factor)[:, :, 0]
    _clear_empty(rows, solved)


def _batch(pull: csr_array, rows: Array, step: int, device: torch.device) -> Batch:
    start, lengths = pull.indptr[rows], np.diff(pull.indptr)[rows]
    width = -(-int(lengths.max()) // PAD) * PAD
    entries = start[:, None] + np.arange(width)
    inside = np.arange(width) < lengths[:, None]
    entries = np.where(inside, entries, 0)
    columns = np.where(inside, pull.indices[entries], 0).astype(np.int32)
    weights = np.where(inside, pull.data[entries], 0).astype(np.float32)
    return Batch(
        torch.from_numpy(rows.astype(np.int64)).to(device),
        torch.from_numpy(columns).to(device),
        torch.from_numpy(weights).to(device),
        torch.from_numpy(lengths.astype(np.int32)).to(device),
        step,
    )


def _some(batch: Batch, part: slice) -> Batch:
    rows, columns, pull, lengths, step = batch
    return Batch(rows[part], columns[part], pull[part], lengths[part], step)


def _pieces(batch: Batch, known: Known) -> Iterator[Piece]:
    num_rows, width = batch.columns.shape
    for first in range(0, width, batch.step):
        columns = batch.columns[:, first : first + batch.step]
        pull = batch.pull[:, first : first + batch.step]
        at = torch.arange(first, first + columns.shape[1], device=columns.device)
        curve = torch.where(at < batch.lengths[:, None], pull - known.offset, 0)
        vectors = known.fixed.index_select(0, columns.reshape(-1))
        yield Piece(vectors.view(num_rows, columns.shape[1], -1), curve, pull)


def _descent(batch: Batch, known: Known, pieces: list[Piece] | None, x: Tensor) -> Tensor:
    """Half the objective's gradient at x but for the penalty, downwards."""
    down = -(x @ known.gram)
    for vectors, curve, pull in pieces or _pieces(batch, known):
        scores = torch.bmm(vectors, x[:, :, None])[:, :, 0]
        down += torch.bmm((pull - curve * scores)[:, None], vectors)[:, 0]
    return down


def _curved(batch: Batch, known: Known, pieces: list[Piece] | None, p: Tensor) -> Tensor:
    """The rows' matrices, but for the penalty, times p."""
    moved = p @ known.gram
    for vectors, curve, _ in pieces or _pieces(batch, known):
        scores = torch.bmm(vectors, p[:, :, None])[:, :, 0]
        moved += torch.bmm((curve * scores)[:, None], vectors)[:, 0]
    return moved


def _clear_empty(rows: list[Batch], solved: Tensor) -> None:
    empty = torch.ones(len(solved), dtype=torch.bool, device=solved.device)
    for batch in rows:
        empty[batch.rows] = False
    solved[empty] = 0
