"""Where ALS keeps its factors and solves its rows: the CPU's memory, or a torch device.

Factors that lie where the kernels want them are `Placed`: an array for the numba kernels, a tensor
for those of torch. They are placed when a fit begins and fetched when an epoch is looked at.

CUDA was not at hand where this was written: there the torch kernels ran on CPU tensors only.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from avrec.arrays import Idx, Vectors
from avrec.models import als_torch
from avrec.models.als_objective import (
    ALSConfig,
    Population,
    Side,
    improve_rows,
    penalty,
    torch_device,
)
from avrec.models.als_parts import Collective, Part, Placed, gather_rows, population

GRAM_ROWS = 1 << 16


class Fixed(NamedTuple):
    """A side held fixed: vectors of the columns at hand, and the population they are of."""

    vectors: Placed
    population: Population


class Kernels(Protocol):
    """What solves rows, and the memory that it works in."""

    def place(self, vectors: Vectors) -> Placed:
        """Bring vectors to where they can be worked on; those given are not written to later."""
        ...

    def fetch(self, vectors: Placed, rows: Idx | None = None) -> Vectors:
        """Bring back all vectors, or some; they hold until the placed ones change."""
        ...

    def copy(self, vectors: Placed) -> Placed:
        """Copy placed vectors in place."""
        ...

    def norm(self, vectors: Placed) -> float:
        """Length of all numbers as one vector."""
        ...

    def population(self, table: "Table", group: Collective) -> Population:
        """Describe a side of the factors."""
        ...

    def improve(self, pull: csr_array, fixed: Fixed, config: ALSConfig, solved: Placed) -> None:
        """Bring rows nearer to their best, in place; `pull` must live as long as the kernels."""
        ...


class OnCPU:
    """The numba kernels."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def place(self, vectors: Vectors) -> Placed:
        """Copy."""
        return np.array(vectors, np.float32, order="C")

    def fetch(self, vectors: Placed, rows: Idx | None = None) -> Vectors:
        """Return them as they are."""
        assert isinstance(vectors, np.ndarray)
        return vectors if rows is None else vectors[rows]

    def copy(self, vectors: Placed) -> Placed:
        """Copy."""
        assert isinstance(vectors, np.ndarray)
        return vectors.copy()

    def norm(self, vectors: Placed) -> float:
        """Length of all numbers as one vector."""
        return float(np.linalg.norm(self.fetch(vectors)))

    def population(self, table: "Table", group: Collective) -> Population:
        """Add up whole numbers: no bit tells how many workers there are."""
        return population(table.fetch(), table.part, group, self.threads)

    def improve(self, pull: csr_array, fixed: Fixed, config: ALSConfig, solved: Placed) -> None:
        """Bring rows nearer to their best, in place."""
        side = Side(self.fetch(fixed.vectors), fixed.population)
        improve_rows(pull, side, config, self.fetch(solved), threads=self.threads)


class OnTorch:
    """The torch kernels; the rows of a matrix are cut into batches once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._batches: dict[int, list[als_torch.Batch]] = {}

    def place(self, vectors: Vectors) -> Placed:
        """Copy to the device."""
        return torch.tensor(vectors, dtype=torch.float32, device=self.device)

    def fetch(self, vectors: Placed, rows: Idx | None = None) -> Vectors:
        """Copy from the device; what is on the CPU is not copied."""
        assert isinstance(vectors, Tensor)
        if rows is not None:
            vectors = vectors[torch.from_numpy(rows.astype(np.int64)).to(self.device)]
        return np.asarray(vectors.cpu().numpy(), np.float32)

    def copy(self, vectors: Placed) -> Placed:
        """Copy on the device."""
        assert isinstance(vectors, Tensor)
        return vectors.clone()

    def norm(self, vectors: Placed) -> float:
        """Length of all numbers as one vector."""
        assert isinstance(vectors, Tensor)
        return float(torch.linalg.vector_norm(vectors))

    def population(self, table: "Table", group: Collective) -> Population:
        """Add up in float64, then the workers' sums in the order of their rank."""
        own = table.own
        assert isinstance(own, Tensor)
        dim = own.shape[1]
        gram = torch.zeros(dim, dim, dtype=torch.float64, device=self.device)
        for first in range(0, len(own), GRAM_ROWS):
            rows = own[first : first + GRAM_ROWS].double()
            gram.addmm_(rows.T, rows)
        known = own.any(dim=1).count_nonzero()
        mine = np.append(gram.cpu().numpy().ravel(), float(known))
        total = gather_rows(mine, group).sum(axis=0)
        return Population(total[:-1].reshape(dim, dim).astype(np.float32), int(total[-1]))

    def improve(self, pull: csr_array, fixed: Fixed, config: ALSConfig, solved: Placed) -> None:
        """Bring rows nearer to their best, in place."""
        assert isinstance(solved, Tensor)
        assert isinstance(fixed.vectors, Tensor)
        gram, num_known = fixed.population
        reg = penalty(np.diff(pull.indptr), num_known, config).astype(np.float32)
        known = als_torch.Known(
            fixed.vectors,
            torch.from_numpy(np.float32(config.unobserved_weight) * gram).to(self.device),
            torch.from_numpy(reg).to(self.device),
            config.unobserved_weight if config.objective == "confidence" else 0.0,
        )
        rows = self._cut(pull, config.dim)
        if config.solver == "cg":
            als_torch.solve_cg(rows, known, solved, steps=config.cg_steps)
        else:
            als_torch.solve_exact(rows, known, solved)

    def _cut(self, pull: csr_array, dim: int) -> list[als_torch.Batch]:
        if id(pull) not in self._batches:
            self._batches[id(pull)] = als_torch.batches(pull, dim, self.device)
        return self._batches[id(pull)]


def kernels(config: ALSConfig, threads: int) -> Kernels:
    """Give the kernels that the configured device has.

    Raises:
        ValueError: the device is not here.
    """
    device = torch_device(config.device)
    if device is None:
        return OnCPU(threads)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"device must be one that is here, got {config.device!r} of {count}")
    return OnTorch(device)


class Table:
    """The factors of one side, placed: this worker's rows, and all of them where those fit.

    Args:
        part: which rows are this worker's.
        own: their vectors; they are copied.
        home: the kernels in whose memory the factors lie.
        whole: whether to make room for all rows; `own` is then a view of the whole.
    """

    def __init__(self, part: Part, own: Vectors, home: Kernels, *, whole: bool) -> None:
        self.part, self.home, self.whole = part, home, None
        if not whole:
            self.own = home.place(own)
            return
        if len(own) < part.num_rows:
            own, mine = np.zeros((part.num_rows, own.shape[1]), np.float32), own
            own[part.start : part.stop] = mine
        self.whole = home.place(own)
        self.own = self.whole[part.start : part.stop]

    def fetch(self) -> Vectors:
        """Vectors of this worker's rows; they hold until the next half step."""
        return self.home.fetch(self.own)

    def population(self, group: Collective) -> Population:
        """Describe the side."""
        return self.home.population(self, group)

    def gathered(self, group: Collective) -> Placed:
        """All rows, as they stand with their owners."""
        assert self.whole is not None
        group.share(self.whole, self.part.bounds)
        return self.whole

    def fetched(self, wanted: Idx, group: Collective) -> Placed:
        """Some rows, given in order; every worker calls this, though it may want none."""
        cuts = np.searchsorted(wanted, self.part.bounds[1:-1])
        asked = group.exchange(np.split(wanted, cuts))
        mine = [self.home.fetch(self.own, rows - self.part.start) for rows in asked]
        return self.home.place(np.concatenate(group.exchange(mine)))
