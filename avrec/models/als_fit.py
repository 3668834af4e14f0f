"""The alternation of ALS, on one worker or many."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Mask, Vectors
from avrec.models.als_device import Fixed, Table, kernels
from avrec.models.als_objective import ALSConfig, Population, observed
from avrec.models.als_parts import (
    Chunk,
    Collective,
    Part,
    Placed,
    Solo,
    chunks,
    cut_blocks,
    gather_numbers,
    worker_bounds,
)

ROWS_DRAWN = 1 << 16


class Epoch(NamedTuple):
    """Where a fit stands, as one worker sees it.

    Attributes:
        number: epochs done.
        items: factors of this worker's items; of all items where it is alone.
        change: relative change of the item factors of all workers in the last epoch.
        users: the same of users; none where they are to be folded in from the items.
    """

    number: int
    items: Vectors
    change: float = np.inf
    users: Vectors | None = None


class Parts(NamedTuple):
    """One worker's users and items."""

    users: Part
    items: Part


def split(weights: csr_array, config: ALSConfig, group: Collective | None = None) -> Parts:
    """Take a worker's rows of both sides from the whole matrix.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    group = group or Solo()
    pull = observed(weights, config.alpha)
    return Parts(_own(pull, config, group), _own(csr_array(pull.T), config, group))


def _own(pull: csr_array, config: ALSConfig, group: Collective) -> Part:
    pull = csr_array(pull)
    blocks = cut_blocks(np.diff(pull.indptr), config)
    start, stop = worker_bounds(blocks, group.size)[group.rank : group.rank + 2]
    return Part.of(pull if group.size == 1 else pull[start:stop], blocks, group)


class Fitter:
    """Alternates between the sides; every worker of a group has one and calls it alike.

    Args:
        parts: this worker's rows.
        config: what to minimise, and how.
        group: the workers.
        threads: threads of this worker.

    Raises:
        ValueError: the configured device is not here.
    """

    def __init__(
        self,
        parts: Parts,
        config: ALSConfig,
        group: Collective | None = None,
        *,
        threads: int = 1,
    ) -> None:
        self.parts, self.config = parts, config
        self.group = group or Solo()
        self.kernels = kernels(config, threads)
        self._cut: dict[int, list[Chunk]] = {}

    def begin(self, rng: np.random.Generator) -> Epoch:
        """Draw item factors; every worker must bring the same generator."""
        items, dim = self.parts.items, self.config.dim
        drawn = np.empty((items.stop - items.start, dim), np.float32)
        for first in range(0, items.num_rows, ROWS_DRAWN):
            last = min(first + ROWS_DRAWN, items.num_rows)
            normal = rng.normal(0, 0.1 / np.sqrt(dim), (last - first, dim))
            a, b = max(first, items.start), min(last, items.stop)
            if a < b:
                drawn[a - items.start : b - items.start] = normal[a - first : b - first]
        drawn[np.diff(items.pull.indptr) == 0] = 0
        return Epoch(0, drawn, users=self._no_users())

    def fold_in(self, items: Vectors, known: Mask) -> Epoch:
        """Begin where another fit has ended: users are folded in, then the items it lacked.

        Args:
            items: factors of this worker's items; those not known are not read.
            known: which of them the other fit has set.
        """
        exactly = replace(self.config, solver="cholesky")
        kept = np.where(known[:, None], items, np.float32(0)).astype(np.float32)
        kept[np.diff(self.parts.items.pull.indptr) == 0] = 0
        table = self._table(self.parts.items, kept)
        users = self._table(self.parts.users, self._no_users())
        self._half(users, table, exactly)
        self._half(table, users, exactly)
        return Epoch(0, np.where(known[:, None], kept, table.fetch()), users=users.fetch())

    def run(self, start: Epoch, on_epoch: Callable[[Epoch], None] | None = None) -> Epoch:
        """Go on from an epoch to the last one, calling `on_epoch` after each.

        The arrays that it is given hold until it returns.
        """
        users = self._table(
            self.parts.users, self._no_users() if start.users is None else start.users
        )
        items = self._table(self.parts.items, start.items)
        if start.users is None and self.config.solver != "cholesky":
            self._half(users, items, replace(self.config, solver="cholesky"))
        number, change = start.number, start.change
        while number < self.config.epochs:
            before = self.kernels.copy(items.own)
            self._half(users, items, self.config)
            self._half(items, users, self.config)
            number, change = number + 1, self._change(before, items.own)
            if on_epoch is not None:
                on_epoch(Epoch(number, items.fetch(), change, users.fetch()))
        return Epoch(number, items.fetch(), change, users.fetch())

    def audience(self, epoch: Epoch) -> Population:
        """Describe the users as the next epoch would see them: what folding in an item needs."""
        items = self._table(self.parts.items, epoch.items)
        users = self._table(
            self.parts.users, self._no_users() if epoch.users is None else epoch.users
        )
        self._half(users, items, self.config)
        return users.population(self.group)

    def _table(self, part: Part, own: Vectors) -> Table:
        return Table(part, own, self.kernels, whole=self._fits(part))

    def _half(self, solved: Table, fixed: Table, config: ALSConfig) -> None:
        """Improve this worker's rows of one side, in place, the other side held fixed."""
        known = fixed.population(self.group)
        if fixed.whole is not None:
            side = Fixed(fixed.gathered(self.group), known)
            self.kernels.improve(solved.part.pull, side, config, solved.own)
            return
        for chunk in self._chunks(solved.part):
            side = Fixed(fixed.fetched(chunk.wanted, self.group), known)
            rows = solved.own[chunk.start : chunk.stop]
            self.kernels.improve(chunk.pull, side, config, rows)

    def _chunks(self, part: Part) -> list[Chunk]:
        """Cut a part so that what a chunk fetches fits; the same number for every worker."""
        key = id(part.pull)
        if key not in self._cut:
            most = max(1, (self.config.max_gathered_mb << 20) // (4 * self.config.dim))
            made = list(chunks(part.pull, most))
            count = int(gather_numbers(len(made), self.group).max())
            end, none = part.pull.shape[0], np.empty(0, np.int32)
            idle = Chunk(end, end, csr_array((0, 0), dtype=np.float32), none)
            self._cut[key] = made + [idle] * (count - len(made))
        return self._cut[key]

    def _fits(self, part: Part) -> bool:
        return part.num_rows * self.config.dim * 4 <= self.config.max_gathered_mb << 20

    def _no_users(self) -> Vectors:
        users = self.parts.users
        return np.zeros((users.stop - users.start, self.config.dim), np.float32)

    def _change(self, before: Placed, after: Placed) -> float:
        lengths = (self.kernels.norm(after - before), self.kernels.norm(after))
        moved, length = (gather_numbers(one**2, self.group).sum() for one in lengths)
        return float(np.sqrt(moved / length)) if length else 0.0
