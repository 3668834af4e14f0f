"""ALS rows solved exactly, by Cholesky.

The matrix of a row is formed from its vectors in tiles that stay in registers, and factored in
place. Both are upper triangles in panels (see `avrec.models.als_simd`): the element (r, c) of a
matrix of `width` rows lies at `(c // LANES) * width * LANES + r * LANES + c % LANES`.
"""

from typing import NamedTuple

import numpy as np

from avrec.arrays import Vector, Vectors
from avrec.models.als_rows import AHEAD, Problem, kernel
from avrec.models.als_simd import (
    GROUP,
    LANES,
    TILE_HEIGHT,
    add_line1,
    add_line4,
    add_tile1,
    add_tile2,
    add_tile3,
    copy,
    divide_panel,
    dots,
    fetch,
    split_triangle,
    spread_panels,
    take_line1,
    take_tile1,
    take_tile2,
    take_tile3,
    undo_triangle,
)

CHUNK = 128
STRIDE = (CHUNK + 1) * LANES  # not a power of two, lest all panels share their cache lines


class Block(NamedTuple):
    """Columns [first, first + width) of the vectors, and where their equations are formed."""

    first: int
    width: int
    system: Vector
    target: Vector
    inverses: Vector
    scratch: Vector


def scratch_floats(width: int) -> int:
    """Size of the scratch memory of `solve`, or of a block of this width."""
    return width * width + 2 * (width // LANES) * STRIDE + 2 * CHUNK + 2 * width + GROUP


@kernel
def solve(
    problem: Problem, first: int, last: int, none: Vector, solved: Vectors, scratch: Vector
) -> None:
    """Write rows [first, last) of `solved`; the gram is in panels, and `none` is empty."""
    block = block_of(problem, 0, problem.width, scratch)
    for row in range(first, last):
        if problem.indptr[row] < problem.indptr[row + 1]:
            for k in range(problem.width):
                block.target[k] = 0
            form(problem, row, block, none)
            factor(block)
            substitute_back(block)
            for k in range(problem.dim):
                solved[row, k] = block.target[k]
        else:
            for k in range(problem.dim):
                solved[row, k] = 0


@kernel
def grams(
    problem: Problem, first: int, last: int, none: Vector, out: Vectors, scratch: Vector
) -> None:
    """Write the matrices of rows [first, last), upper triangles in panels, to rows of `out`."""
    block = block_of(problem, 0, problem.width, scratch)
    for row in range(first, last):
        form(problem, row, block, none)
        for k in range(len(block.system)):
            out[row, k] = block.system[k]


@kernel
def block_of(problem: Problem, first: int, width: int, scratch: Vector) -> Block:
    """Cut up the scratch memory."""
    width = min(width, problem.width - first)
    square = width * width
    target, inverses = scratch[square : square + width], scratch[square + width :]
    rest = scratch[square + 2 * width :]
    return Block(first, width, scratch[:square], target, inverses[:width], rest)


@kernel
def form(problem: Problem, row: int, block: Block, scores: Vector) -> None:
    """Write the matrix of a row, and add to its right side what its entries say.

    `scores` holds what the row predicts for each of its entries, or nothing where that is zero.
    """
    width, panels = block.width, block.width // LANES
    for q in range(panels):
        source = (block.first // LANES + q) * problem.width * LANES + block.first * LANES
        down = width * LANES
        copy((problem.gram, source), down, (block.system, q * down))
    for k in range(width):
        place = k // LANES * width * LANES + k * LANES + k % LANES
        inside = block.first + k < problem.dim
        block.system[place] += problem.reg[row] if inside else np.float32(1)
    pulls, curves = block.scratch[:CHUNK], block.scratch[CHUNK : 2 * CHUNK]
    plain = block.scratch[2 * CHUNK : 2 * CHUNK + panels * STRIDE]
    scaled = block.scratch[2 * CHUNK + panels * STRIDE :]
    begin, end = problem.indptr[row], problem.indptr[row + 1]
    for start in range(begin, end, CHUNK):
        count = min(CHUNK, end - start)
        for i in range(count):
            pulls[i] = problem.pull[start + i]
            curves[i] = pulls[i] - problem.offset
            if len(scores) > 0:
                pulls[i] -= curves[i] * scores[start - begin + i]
        _unfold(problem, start, count, block, curves, plain, scaled)
        add_outer(plain, scaled, count, block)
        add_line(pulls, plain, (STRIDE, count), block.target, panels)


@kernel
def _unfold(
    problem: Problem,
    first: int,
    count: int,
    block: Block,
    factors: Vector,
    plain: Vector,
    scaled: Vector,
) -> None:
    """Write the vectors of entries to rows of the panels, as they are and times their factors."""
    columns = min(block.width, problem.dim - block.first)
    whole = columns - columns % LANES
    indices, fixed, origin = problem.indices, problem.fixed, block.first
    for i in range(count):
        if first + i + AHEAD < len(indices):
            ahead = np.int64(indices[first + i + AHEAD]) * problem.dim + origin
            fetch((fixed, ahead), columns)
        start, line = np.int64(indices[first + i]) * problem.dim + origin, i * LANES
        lines = (plain, line, STRIDE), (scaled, line, STRIDE)
        spread_panels((fixed, start), whole, (factors, i), lines[0], lines[1])
        for k in range(whole, block.width):
            place = line + k // LANES * STRIDE + k % LANES
            value = fixed[start + k] if k < columns else np.float32(0)
            plain[place] = value
            scaled[place] = value * factors[i]


@kernel
def add_outer(plain: Vector, scaled: Vector, count: int, block: Block) -> None:
    """Add scaled^T plain to the upper triangle of the matrix, for `count` rows in panels."""
    panels, down = block.width // LANES, block.width * LANES
    for r in range(0, block.width, TILE_HEIGHT):
        q: int = r // LANES
        left = (scaled, q * STRIDE + r % LANES)
        while q < panels:
            out = (block.system, q * down + r * LANES, down)
            right = (plain, q * STRIDE, STRIDE)
            if panels - q == 3 or panels - q > 4:
                add_tile3(out, left, right, count)
                q += 3
            elif panels - q > 1:
                add_tile2(out, left, right, count)
                q += 2
            else:
                add_tile1(out, left, right, count)
                q += 1


@kernel
def add_line(
    factors: Vector, rows: Vector, shape: tuple[int, int], out: Vector, panels: int
) -> None:
    """Add factors[:count] @ rows to `out`, for rows in panels; `shape` is (stride, count)."""
    stride, count = shape
    q = 0
    while q < panels:
        place, right = (out, q * LANES, LANES), (rows, q * stride, stride)
        if panels - q >= 4:
            add_line4(place, (factors, 0), right, count)
            q += 4
        else:
            add_line1(place, (factors, 0), right, count)
            q += 1


@kernel
def factor(block: Block) -> None:
    """Factor the matrix into U^T U in place, and solve U^T y = target in place."""
    system, target, inverses = block.system, block.target, block.inverses
    panels, down = block.width // LANES, block.width * LANES
    for p in range(panels):
        top = p * LANES
        corner = (system, p * down + top * LANES)
        _take_above(system, block.width, p)
        take_line1((target, top, LANES), (target, 0), (system, p * down, down), top)
        split_triangle(corner, (inverses, top), (target, top))
        for q in range(p + 1, panels):
            divide_panel((system, q * down + top * LANES), corner, (inverses, top))


@kernel
def _take_above(system: Vector, width: int, p: int) -> None:
    """Take what the rows above explain from the `LANES` rows that begin at the diagonal."""
    panels, down, top = width // LANES, width * LANES, p * LANES
    for r in range(0, LANES, TILE_HEIGHT):
        left, q = (system, p * down + r), p
        while q < panels:
            out, right = (system, q * down + (top + r) * LANES, down), (system, q * down, down)
            if panels - q == 3 or panels - q > 4:
                take_tile3(out, left, right, top)
                q += 3
            elif panels - q > 1:
                take_tile2(out, left, right, top)
                q += 2
            else:
                take_tile1(out, left, right, top)
                q += 1


@kernel
def substitute_back(block: Block) -> None:
    """Solve U x = target in place."""
    system, target, sums = block.system, block.target, block.scratch
    panels, down = block.width // LANES, block.width * LANES
    for p in range(panels - 1, -1, -1):
        top = p * LANES
        undo_triangle((system, p * down + top * LANES), (block.inverses, top), (target, top))
        for r in range(0, top, GROUP):
            dots((system, p * down + r * LANES, LANES), LANES, (target, top), (sums, 0))
            for j in range(GROUP):
                target[r + j] -= sums[j]
