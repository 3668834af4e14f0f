"""ALS rows spread over workers: who holds which, and how one reaches another's.

The rows of a side are cut into `BLOCKS` blocks of like work, whatever the number of workers; a
worker holds a run of blocks. Sums over all rows are made block by block in whole numbers, which
add up the same in any order, so that no bit of a result tells how many workers there were.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from scipy.sparse import csr_array
from torch import Tensor

from avrec.arrays import Array, Idx, Offsets, Values, Vectors
from avrec.models.als_kernels import GRAM_FLOATS, gram_triangles, square
from avrec.models.als_objective import ALSConfig, Population, compact
from avrec.models.als_rows import kernel

Placed = Array | Tensor
"""Rows in the memory of the CPU, or on a torch device."""
BLOCKS = 120
ROW_WORK = {"cg": 1 / 8, "cholesky": 2 / 3, "subspace": 2.0}
"""Work of a row beside that of its entries, in entries a column of its vector."""


class Collective(Protocol):
    """The workers that fit together; each calls the same methods in the same order."""

    rank: int
    size: int

    def share(self, table: Placed, bounds: Offsets) -> None:
        """Bring in, in place, the rows of a table that other workers have written.

        Worker r has written rows [bounds[r], bounds[r + 1]); every worker's table is of one kind.
        """
        ...

    def exchange(self, pieces: Sequence[Array]) -> list[Array]:
        """Send piece r to worker r; returns what each has sent here, in the order of rank."""
        ...

    def total(self, numbers: Array) -> Array:
        """Sum the whole numbers of all workers, entry by entry."""
        ...


class Solo:
    """One worker alone."""

    rank, size = 0, 1

    def share(self, table: Placed, bounds: Offsets) -> None:
        """Nothing is missing."""

    def exchange(self, pieces: Sequence[Array]) -> list[Array]:
        """Return the only piece."""
        return list(pieces)

    def total(self, numbers: Array) -> Array:
        """Return what is here."""
        return numbers


class Part(NamedTuple):
    """One worker's rows of one side.

    Attributes:
        pull: alpha times the weights of its rows, all columns of the other side.
        blocks: first rows of the blocks of all workers, and the number of rows, BLOCKS + 1.
        bounds: first rows of all workers, and the number of rows.
        start: first row of this worker.
    """

    pull: csr_array
    blocks: Offsets
    bounds: Offsets
    start: int

    @property
    def stop(self) -> int:
        """Row after the last one of this worker."""
        return self.start + self.pull.shape[0]

    @property
    def num_rows(self) -> int:
        """Rows of all workers."""
        return int(self.bounds[-1])

    @classmethod
    def of(cls, pull: csr_array, blocks: Offsets, group: Collective) -> "Part":
        """Take this worker's rows, `pull`, as its part."""
        bounds = worker_bounds(blocks, group.size)
        return cls(pull, blocks, bounds, int(bounds[group.rank]))


def cut_blocks(degrees: Offsets, config: ALSConfig) -> Offsets:
    """Cut rows with some numbers of entries into blocks of like work; gives their bounds."""
    work = np.concatenate(([0.0], np.cumsum(degrees + ROW_WORK[config.solver] * config.dim)))
    bounds = np.searchsorted(work, work[-1] * np.arange(1, BLOCKS) / BLOCKS)
    return np.concatenate(([0], bounds, [len(degrees)])).astype(np.int64)


def worker_bounds(blocks: Offsets, size: int) -> Offsets:
    """First row of each worker, and the number of rows."""
    return blocks[BLOCKS * np.arange(size + 1) // size]


def population(vectors: Vectors, part: Part, group: Collective, threads: int = 1) -> Population:
    """Describe a side, of which `vectors` are the rows of this worker."""
    dim = vectors.shape[1]
    largest = np.abs(vectors).max(initial=0.0)
    bound = float(gather_numbers(largest, group).max()) ** 2 * max(part.num_rows, 1)
    scale = 2.0 ** (61 - np.ceil(np.log2(bound))) if bound > 0 else 1.0
    total = np.zeros(dim * (dim + 1) // 2 + 1, np.int64)
    for triangles in _triangles(vectors, part, threads):
        total[1:] += np.rint(triangles * np.float64(scale)).astype(np.int64).sum(axis=0)
    total[0] = np.count_nonzero(vectors.any(axis=1))
    total = group.total(total)
    return Population(square(total[1:] / scale, dim).astype(np.float32), int(total[0]))


def _triangles(vectors: Vectors, part: Part, threads: int) -> Iterator[Vectors]:
    """Grams of this worker's blocks, some at a time."""
    inside = part.blocks[(part.blocks > part.start) & (part.blocks < part.stop)]
    bounds = np.unique(np.concatenate(([part.start], inside, [part.stop]))) - part.start
    step = max(1, GRAM_FLOATS // vectors.shape[1] ** 2)
    for n in range(0, len(bounds) - 1, step):
        some = bounds[n : n + step + 1]
        rows = vectors[some[0] : some[-1]]
        yield gram_triangles(rows, some - some[0], threads=threads)


def gather_numbers(number: float, group: Collective) -> Values:
    """One number of each worker, in the order of rank."""
    return gather_rows(np.array([number], np.float64), group)[:, 0]


def gather_rows(row: Values, group: Collective) -> Values:
    """A row of numbers of each worker, in the order of rank."""
    table = np.zeros((group.size, len(row)))
    table[group.rank] = row
    group.share(table, np.arange(group.size + 1))
    return table


class Chunk(NamedTuple):
    """Rows [start, stop) of a worker, and the columns that they name, in order."""

    start: int
    stop: int
    pull: csr_array
    wanted: Idx


def chunks(pull: csr_array, most: int) -> Iterator[Chunk]:
    """Cut rows into runs that name at most so many columns, or where one row alone has entries."""
    num_rows, num_columns = pull.shape
    ends = np.zeros(num_rows, np.int64)
    seen = np.full(num_columns, -1, np.int32)
    indptr = np.asarray(pull.indptr, np.int64)
    count = _runs(indptr, np.asarray(pull.indices, np.int32), most, seen, ends)
    start = 0
    for stop in ends[:count].tolist():
        first, last = indptr[start], indptr[stop]
        wanted, places = np.unique(pull.indices[first:last], return_inverse=True)
        offsets, shape = indptr[start : stop + 1] - first, (stop - start, len(wanted))
        part = compact(pull.data[first:last], places, offsets, shape)
        yield Chunk(start, stop, part, wanted.astype(np.int32))
        start = stop


@kernel
def _runs(indptr: Offsets, indices: Idx, most: int, seen: Idx, ends: Offsets) -> int:
    """Write the row after each run to `ends`; `seen` holds the last run that named a column."""
    num_runs, named, start, row = 0, 0, 0, 0
    while row < len(ends):
        before = named
        for i in range(indptr[row], indptr[row + 1]):
            if seen[indices[i]] != num_runs:
                seen[indices[i]] = num_runs
                named += 1
        if named > most and before > 0 and row > start:
            ends[num_runs] = row
            num_runs, named, start = num_runs + 1, 0, row
        else:
            row += 1
    if len(ends) > 0:
        ends[num_runs] = row
        num_runs += 1
    return num_runs
