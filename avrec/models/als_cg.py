"""ALS rows by conjugate gradients, from where they stand.

The matrix of a row is never formed: its vectors are copied once, side by side, and serve every
step (Takacs, Pilaszy and Tikk, RecSys 2011). The last step needs only the length of its move,
so half of that pass is left out.
"""

import numpy as np

from avrec.arrays import Vector, Vectors
from avrec.models.als_rows import Problem, add_symmetric, gather, kernel
from avrec.models.als_simd import GROUP, add_rows, dot, dots

CLOSE = np.float32(1e-20)
STREAM = 64


def scratch_floats(width: int, cached: int) -> int:
    """Size of the scratch memory of `solve`, which copies rows of up to `cached` entries."""
    return 5 * width + (max(cached, STREAM) + GROUP) * width


@kernel
def solve(
    problem: Problem,
    first: int,
    last: int,
    plan: tuple[int, int],
    solved: Vectors,
    scratch: Vector,
) -> None:
    """Improve rows [first, last) of `solved` in place.

    `plan` is (number of steps, entries up to which the vectors of a row are kept).
    """
    steps, cached = plan
    for row in range(first, last):
        if problem.indptr[row] == problem.indptr[row + 1]:
            for k in range(problem.dim):
                solved[row, k] = 0
        else:
            _solve_row(problem, row, steps, cached, solved[row], scratch)


@kernel
def _solve_row(
    problem: Problem, row: int, steps: int, cached: int, solved: Vector, scratch: Vector
) -> None:
    width, dim, reg = problem.width, problem.dim, problem.reg[row]
    x, p = scratch[:width], scratch[width : 2 * width]
    y, r = scratch[2 * width : 3 * width], scratch[3 * width : 4 * width]
    rest = scratch[4 * width :]
    for k in range(width):
        x[k] = solved[k] if k < dim else np.float32(0)
        p[k] = -x[k]
    _pass(problem, row, -1, cached, p, y, rest)
    for k in range(width):
        r[k] = y[k] + reg * p[k]
        p[k] = r[k]
    old = dot((r, 0), (r, 0), width)
    if old < CLOSE:
        return
    for step in range(steps):
        last = step == steps - 1
        curve = _pass(problem, row, 1 if last else 0, cached, p, y, rest)
        curve += dot((p, 0), (y, 0), width) + reg * dot((p, 0), (p, 0), width)
        length = old / curve
        for k in range(width):
            x[k] += length * p[k]
            r[k] -= length * (y[k] + reg * p[k])
        current = dot((r, 0), (r, 0), width)
        if last or current < CLOSE:
            break
        for k in range(width):
            p[k] = r[k] + (current / old) * p[k]
        old = current
    for k in range(dim):
        solved[k] = x[k]


@kernel
def _pass(
    problem: Problem, row: int, kind: int, cached: int, p: Vector, y: Vector, scratch: Vector
) -> np.float32:
    width = problem.width
    z, curves, rows = scratch[:GROUP], scratch[GROUP : 2 * GROUP], scratch[width:]
    begin, end = problem.indptr[row], problem.indptr[row + 1]
    keep = end - begin <= cached
    size = end - begin if keep else STREAM
    for k in range(width):
        y[k] = 0
    add_symmetric(problem.gram, width, p, y)
    for j in range(GROUP):
        curves[j] = 0
    for start in range(begin, end, size):
        stop = min(start + size, end)
        if kind < 0 or not keep:
            gather(problem, start, stop, 0, width, rows)
        for i in range(start, stop, GROUP):
            group = (rows, (i - start) * width, width)
            dots(group, width, (p, 0), (z, 0))
            count = min(stop - i, GROUP)
            if kind > 0:
                for j in range(count):
                    curves[j] += (problem.pull[i + j] - problem.offset) * z[j] * z[j]
                continue
            for j in range(count):
                z[j] *= problem.pull[i + j] - problem.offset
                if kind < 0:
                    z[j] += problem.pull[i + j]
            for j in range(count, GROUP):
                z[j] = 0
            add_rows(group, width, (z, 0), (y, 0))
    total = np.float32(0)
    for j in range(GROUP):
        total += curves[j]
    return total
