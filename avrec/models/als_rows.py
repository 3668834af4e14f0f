"""What the ALS kernels share: the problem they solve, and the way to its rows."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numba import njit

from avrec.arrays import Idx, Offsets, Vector, Weights
from avrec.models.als_simd import GROUP, LANES, add_rows, copy, fetch

Kernel = TypeVar("Kernel", bound=Callable[..., object])
AHEAD = 16


class Problem(NamedTuple):
    """One ridge regression a row, on the vectors `v` of its columns.

    Row r minimises over x, with the sum over its entries i,

        x.(gram x) + sum (pull_i - offset) (v_i.x)^2 - 2 sum pull_i v_i.x + reg[r] x.x

    `indptr`, `indices` and `pull` are compressed rows. `fixed` is flat, (num_columns * dim,).
    `gram` is flat and padded with zeros to (width * width,), where `width` is `dim` rounded up to
    a multiple of `LANES`.
    """

    indptr: Offsets
    indices: Idx
    pull: Weights
    offset: np.float32
    fixed: Vector
    dim: int
    width: int
    gram: Vector
    reg: Vector


def kernel(function: Kernel) -> Kernel:
    """Compile on first use, free of the GIL, and keep the code on disk where that can be written.

    A kernel makes no arrays, so it counts no references to them (`_nrt`): threads would fight over
    the counters. Its loops are compiled as they are written, without `fastmath`: where the compiler
    may reorder sums, it chooses by how arrays happen to lie in memory.
    """
    options = {"nogil": True, "_nrt": False}
    try:
        return cast("Kernel", njit(cache=True, **options)(function))
    except RuntimeError:  # no folder to keep it in
        return cast("Kernel", njit(**options)(function))


@kernel
def gather(problem: Problem, first: int, last: int, column: int, width: int, rows: Vector) -> int:
    """Copy `width` columns of the vectors of entries [first, last), row below row.

    Columns beyond `dim` are zero, and so are the rows added to make their number, which is
    returned, a multiple of `GROUP`.
    """
    dim = problem.dim
    count = min(width, dim - column)
    whole = count - count % LANES
    for i in range(last - first):
        if first + i + AHEAD < last:
            ahead = np.int64(problem.indices[first + i + AHEAD])
            fetch((problem.fixed, ahead * dim + column), count)
        start = np.int64(problem.indices[first + i]) * dim + column
        copy((problem.fixed, start), whole, (rows, i * width))
        for k in range(whole, width):
            rows[i * width + k] = problem.fixed[start + k] if k < count else np.float32(0)
    num_rows = (last - first + GROUP - 1) // GROUP * GROUP
    for k in range((last - first) * width, num_rows * width):
        rows[k] = 0
    return num_rows


@kernel
def add_symmetric(matrix: Vector, width: int, vector: Vector, out: Vector) -> None:
    """Add the product of a flat symmetric matrix and a vector to `out`."""
    for j in range(0, width, GROUP):
        add_rows((matrix, j * width, width), width, (vector, j), (out, 0))
