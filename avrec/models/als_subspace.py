"""ALS rows by Newton steps on one block of columns after another, from where they stand.

iALS++ (Rendle, Krichene, Zhang and Koren, 2021, arXiv 2110.14044): a sweep costs one small matrix
a block instead of a large one, for dims where the exact solver's cube is too dear.
"""

import numpy as np

from avrec.arrays import Vector, Vectors
from avrec.models import als_exact
from avrec.models.als_exact import Block, add_line, block_of, factor, form, substitute_back
from avrec.models.als_rows import Problem, gather, kernel
from avrec.models.als_simd import GROUP, LANES, dots

ROWS = 64


def scratch_floats(width: int, block: int, longest: int) -> int:
    """Size of the scratch memory of `solve`, where the longest row has `longest` entries."""
    return width + longest + GROUP + ROWS * width + als_exact.scratch_floats(block)


@kernel
def solve(
    problem: Problem,
    first: int,
    last: int,
    plan: tuple[int, int, int],
    solved: Vectors,
    scratch: Vector,
) -> None:
    """Improve rows [first, last) of `solved` in place; the gram of the problem is in panels.

    `plan` is (width of a block, number of sweeps, entries of the longest row).
    """
    step, sweeps, longest = plan
    width, dim = problem.width, problem.dim
    x, scores = scratch[:width], scratch[width : width + longest + GROUP]
    rows = scratch[width + longest + GROUP :][: ROWS * width]
    rest = scratch[width + longest + GROUP + ROWS * width :]
    for row in range(first, last):
        count = problem.indptr[row + 1] - problem.indptr[row]
        for k in range(width):
            x[k] = solved[row, k] if k < dim and count > 0 else np.float32(0)
        if count > 0:
            for i in range(count):
                scores[i] = 0
            _add_scores(problem, row, (0, width), x, scores, rows)
            for _ in range(sweeps):
                for start in range(0, width, step):
                    block = block_of(problem, start, step, rest)
                    _move(problem, row, block, x, scores)
                    _add_scores(problem, row, (start, block.width), block.target, scores, rows)
        for k in range(dim):
            solved[row, k] = x[k]


@kernel
def _move(problem: Problem, row: int, block: Block, x: Vector, scores: Vector) -> None:
    """Minimise over the columns of a block; the move is left in its target."""
    down = problem.width * LANES
    for k in range(block.width):
        block.target[k] = 0
    panels = problem.gram[block.first // LANES * down :]
    add_line(x, panels, (down, problem.width), block.target, block.width // LANES)
    for k in range(block.width):
        block.target[k] = -block.target[k] - problem.reg[row] * x[block.first + k]
    form(problem, row, block, scores)
    factor(block)
    substitute_back(block)
    for k in range(block.width):
        x[block.first + k] += block.target[k]


@kernel
def _add_scores(
    problem: Problem, row: int, columns: tuple[int, int], move: Vector, scores: Vector, rows: Vector
) -> None:
    """Add to the scores of a row's entries what a move in some columns brings."""
    first, width = columns
    begin, end = problem.indptr[row], problem.indptr[row + 1]
    sums = scores[len(scores) - GROUP :]
    for start in range(begin, end, ROWS):
        stop = min(start + ROWS, end)
        gather(problem, start, stop, first, width, rows)
        for i in range(start, stop, GROUP):
            dots((rows, (i - start) * width, width), width, (move, 0), (sums, 0))
            for j in range(min(GROUP, stop - i)):
                scores[i - begin + j] += sums[j]
