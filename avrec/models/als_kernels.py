"""Half a sweep of ALS on the CPU: every row of one side, the other side held fixed.

Three solvers share one problem, `Ridge`. `solve_cg` is the fastest a sweep up to a dim of some
hundreds, `solve_exact` is the reference, and for fold-in; `solve_blocks` is for large dims. Rows
are cut into pieces of like work, which threads take one after another. A row's vector depends
neither on the number of threads nor on the rows solved beside it, down to the last bit.

The code is compiled on first use, and kept beside this file, or in the user's cache folder.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Array, Offsets, Vector, Vectors
from avrec.models import als_cg, als_exact, als_subspace
from avrec.models.als_rows import Problem
from avrec.models.als_simd import LANES

CACHED_FLOATS = 1 << 22
PIECES_PER_THREAD = 32
SMALL_WORK = 1 << 22
GRAM_ROWS = 4096
GRAM_FLOATS = 1 << 24
NONE = np.zeros(0, np.float32)

Piece = tuple[int, int]


class Ridge(NamedTuple):
    """One ridge regression a row, on the vectors `v` of the other side.

    Row r minimises over x, with the sum over its entries,

        x.(gram x) + sum (pull - offset) (v.x)^2 - 2 sum pull v.x + reg[r] x.x

    so the objective that weighs every pair has the offset 0, and the one that weighs observed
    pairs apart from the rest has the weight of the rest. A row without entries is zero.

    Attributes:
        pull: confidences, (num_rows, num_columns) float32.
        fixed: vectors of the columns, (num_columns, dim) float32.
        gram: weight of the unobserved times fixed^T fixed, (dim, dim) float32.
        reg: L2 penalties, (num_rows,) float32, above 0.
        offset: what the gram already holds of an entry's weight.
    """

    pull: csr_array
    fixed: Vectors
    gram: Vectors
    reg: Vector
    offset: float = 0.0

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.fixed.shape[1]


def solve_cg(ridge: Ridge, solved: Vectors, *, steps: int = 3, threads: int = 1) -> None:
    """Improve `solved`, (num_rows, dim), in place by steps of conjugate gradients.

    A step is that of `implicit`'s solver, to rounding; from the same start so is the result.
    """
    _check(ridge, solved)
    problem = _problem(ridge, _padded(ridge))
    cached = CACHED_FLOATS // problem.width
    floats = als_cg.scratch_floats(problem.width, min(cached, _longest(problem)))
    entry, row = 2 * steps * problem.width, steps * problem.width**2 // 4
    _run(
        lambda piece, scratch: als_cg.solve(problem, *piece, (steps, cached), solved, scratch),
        floats,
        _pieces(problem.indptr, entry, row, threads),
        threads,
    )


def solve_exact(ridge: Ridge, *, threads: int = 1) -> Vectors:
    """Solve every row by Cholesky, (num_rows, dim)."""
    solved = np.empty((ridge.pull.shape[0], ridge.dim), np.float32)
    _check(ridge, solved)
    problem = _problem(ridge, _panels(_padded(ridge)))
    _run(
        lambda piece, scratch: als_exact.solve(problem, *piece, NONE, solved, scratch),
        als_exact.scratch_floats(problem.width),
        _pieces(problem.indptr, problem.width**2 // 2, problem.width**3 // 3, threads),
        threads,
    )
    return solved


def solve_blocks(
    ridge: Ridge, solved: Vectors, *, block: int = 128, sweeps: int = 1, threads: int = 1
) -> None:
    """Improve `solved`, (num_rows, dim), in place by exact moves in blocks of columns.

    Args:
        ridge: the problem.
        solved: where the rows stand.
        block: columns moved together, a multiple of 16.
        sweeps: how often each block is moved.
        threads: number of threads.
    """
    if block < LANES or block % LANES:
        raise ValueError(f"block must be a multiple of {LANES} above 0, got {block}")
    _check(ridge, solved)
    problem = _problem(ridge, _panels(_padded(ridge)))
    longest, width = _longest(problem), problem.width
    plan = (min(block, width), sweeps, longest)
    _run(
        lambda piece, scratch: als_subspace.solve(problem, *piece, plan, solved, scratch),
        als_subspace.scratch_floats(width, plan[0], longest),
        _pieces(problem.indptr, width * plan[0] // 2, width**2 + width * plan[0] ** 2, threads),
        threads,
    )


def gram(vectors: Vectors, *, threads: int = 1) -> Vectors:
    """V^T V of float32 vectors, (dim, dim); the sum runs in an order that the shape alone sets."""
    num_rows, dim = vectors.shape
    step = max(GRAM_ROWS, -(-num_rows * _width(dim) ** 2 // GRAM_FLOATS))
    bounds = np.append(np.arange(0, num_rows, step), num_rows)
    parts = gram_triangles(vectors, bounds, threads=threads)
    return square(parts.sum(axis=0, dtype=np.float64), dim).astype(np.float32)


def gram_triangles(vectors: Vectors, bounds: Offsets, *, threads: int = 1) -> Vectors:
    """V^T V of each run of rows [bounds[n], bounds[n + 1]), as rows of upper triangles.

    A run gives the same whatever the other runs are; see `square`.
    """
    num_rows, dim = vectors.shape
    width, num_runs = _width(dim), len(bounds) - 1
    every = csr_array(
        (np.ones(num_rows, np.float32), np.arange(num_rows, dtype=np.int32), bounds),
        shape=(num_runs, num_rows),
    )
    none = np.zeros((dim, dim), np.float32), np.zeros(num_runs, np.float32)
    problem = _problem(Ridge(every, vectors, *none), np.zeros((width, width), np.float32))
    parts = np.empty((num_runs, width**2), np.float32)
    _run(
        lambda piece, scratch: als_exact.grams(problem, *piece, NONE, parts, scratch),
        als_exact.scratch_floats(width),
        [(n, n + 1) for n in range(num_runs)],
        threads,
    )
    row, column = np.triu_indices(dim)
    return parts[:, column // LANES * width * LANES + row * LANES + column % LANES]


def square(triangle: Array, dim: int) -> Array:
    """The symmetric matrix (dim, dim) of an upper triangle, row after row."""
    whole = np.empty((dim, dim), triangle.dtype)
    row, column = np.triu_indices(dim)
    whole[row, column] = triangle
    whole[column, row] = triangle
    return whole


def _run(
    task: Callable[[Piece, Vector], None], floats: int, pieces: list[Piece], threads: int
) -> None:
    """Give each thread its own scratch memory, and the next piece whenever it is free."""
    waiting = iter(pieces)

    def work(_: int) -> None:
        scratch = _aligned(floats)
        for piece in waiting:
            task(piece, scratch)

    if threads == 1 or len(pieces) == 1:
        work(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(threads)):
            pass


def _pieces(indptr: Offsets, entry: int, row: int, threads: int) -> list[Piece]:
    """Cut the rows into pieces of like work, given the work of an entry and of a row."""
    num_rows = len(indptr) - 1
    if int(indptr[-1]) * entry + num_rows * row < SMALL_WORK:
        return [(0, num_rows)]
    work = np.asarray(indptr, np.float64) * entry + np.arange(num_rows + 1, dtype=np.float64) * row
    bounds = np.linspace(0, work[-1], threads * PIECES_PER_THREAD + 1)[1:-1]
    bounds = np.searchsorted(work, bounds)
    bounds = np.unique(np.concatenate(([0], bounds, [num_rows])))
    heaviest = np.argsort(-np.diff(work[bounds]), kind="stable")
    return [(int(bounds[n]), int(bounds[n + 1])) for n in heaviest]


def _problem(ridge: Ridge, square: Vectors) -> Problem:
    pull = ridge.pull
    gram = _aligned(square.size)
    gram[:] = square.ravel()
    return Problem(
        indptr=_frozen(pull.indptr, np.int64),
        indices=_frozen(pull.indices, np.int32),
        pull=_frozen(pull.data, np.float32),
        offset=np.float32(ridge.offset),
        fixed=_frozen(ridge.fixed, np.float32).reshape(-1),
        dim=ridge.dim,
        width=_width(ridge.dim),
        gram=_frozen(gram, np.float32),
        reg=_frozen(ridge.reg, np.float32),
    )


def _check(ridge: Ridge, solved: Vectors) -> None:
    (num_rows, num_columns), dim = ridge.pull.shape, ridge.dim
    shapes = {
        "fixed": (ridge.fixed, (num_columns, dim)),
        "gram": (ridge.gram, (dim, dim)),
        "reg": (ridge.reg, (num_rows,)),
        "solved": (solved, (num_rows, dim)),
    }
    for name, (array, shape) in shapes.items():
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    if solved.dtype != np.float32 or not solved.flags.c_contiguous:
        raise ValueError(f"solved must be contiguous float32, got {solved.dtype}")
    columns = ridge.pull.indices
    if len(columns) and not 0 <= columns.min() <= columns.max() < num_columns:
        raise ValueError(f"columns must be in [0, {num_columns}), got {columns.max()}")


def _padded(ridge: Ridge) -> Vectors:
    """The gram, with zeros beyond `dim`."""
    beyond = _width(ridge.dim) - ridge.dim
    return np.pad(np.asarray(ridge.gram, np.float32), (0, beyond))


def _panels(square: Vectors) -> Vectors:
    width = len(square)
    return np.ascontiguousarray(square.reshape(width, -1, LANES).transpose(1, 0, 2))


def _width(dim: int) -> int:
    return -(-dim // LANES) * LANES


def _longest(problem: Problem) -> int:
    return int(np.diff(problem.indptr).max(initial=0))


def _frozen(array: Array, dtype: type[np.generic]) -> Array:
    """A contiguous view that cannot be written: one type, and so one compilation, for all."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def _aligned(floats: int) -> Vector:
    """Zeros that begin on a cache line, so that no vector lies across two."""
    memory = np.zeros(floats + LANES, np.float32)
    start = -memory.ctypes.data % 64 // 4
    return memory[start : start + floats]
