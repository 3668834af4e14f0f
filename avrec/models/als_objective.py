"""What ALS minimises, and the ridge regression that each row of it is.

With users `U`, items `V`, and a weight `w` > 0 for each observed pair, minimise

    sum_observed alpha w (u.v - 1)^2  +  unobserved_weight * sum_rest (u.v)^2
        +  sum_rows reg * (n + unobserved_weight * N)^reg_exponent * |row|^2

where a row has `n` observed pairs and the other side `N` rows with any. The objectives differ in
what the rest is:

* "ials": every pair, the observed too (Rendle, Krichene, Zhang and Koren, RecSys 2022).
* "confidence": the pairs not observed (Hu, Koren and Volinsky, ICDM 2008). This is the one of
  `implicit` with unobserved_weight = 1 and reg_exponent = 0: confidence alpha w where observed
  (not 1 + alpha w, as in the paper), 1 elsewhere.

With one side held fixed, each row of the other side is a ridge regression that depends on no
other row. Solvers take a row as follows:

* "cg": `cg_steps` steps of conjugate gradients from where the row stands; the fastest to a loss
  for a dim of up to some hundreds.
* "cholesky": exactly; a sweep costs dim^3 a row.
* "subspace": by exact moves in `block` columns at a time (iALS++); for large dims.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from avrec.arrays import Idx, Offsets, Values, Vectors, Weights
from avrec.models.als_kernels import Ridge, gram, solve_blocks, solve_cg, solve_exact
from avrec.models.als_simd import LANES

OBJECTIVES = ("ials", "confidence")
SOLVERS = ("cg", "cholesky", "subspace")
TORCH_SOLVERS = ("cg", "cholesky")
TORCH_ON_CPU = "torch:cpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class ALSConfig:
    """How to factorise."""

    dim: int = 64
    """Length of a factor vector."""
    epochs: int = 12
    """Alternations; one updates every user and then every item."""
    objective: str = "ials"
    """What is minimised: "ials" or "confidence"."""
    alpha: float = 1.0
    """Factor on the weights of the observed pairs."""
    unobserved_weight: float = 0.3
    """Weight of a pair that no interaction names."""
    reg: float = 0.03
    """L2 penalty on the factors."""
    reg_exponent: float = 1.0
    """How the penalty of a row grows with its frequency: 0 not at all, 1 in proportion."""
    solver: str = "cg"
    """How a row is solved: "cg", "cholesky" or "subspace"."""
    cg_steps: int = 3
    """Steps of conjugate gradients a row and half epoch; for the solver "cg"."""
    block: int = 128
    """Columns moved together, a multiple of 16; for the solver "subspace"."""
    device: str = "cpu"
    """Where a fit runs: "cpu", or a torch device such as "cuda", for the solvers "cg" and
    "cholesky"; "torch:cpu" runs the GPU's kernels on the CPU, to test them. What is folded in
    later is folded in on the CPU."""
    warm_start: bool = False
    """Whether training goes on from the `als` at hand, if any, for `warm_epochs`."""
    warm_epochs: int = 2
    """Alternations after a warm start."""
    max_gathered_mb: int = 4096
    """Factors of one side, in MiB, up to which every worker holds them all; beyond that a worker
    fetches those that it needs, for some of its rows at a time."""

    def __post_init__(self) -> None:
        for key in ("dim", "epochs", "cg_steps", "warm_epochs"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("alpha", "unobserved_weight", "reg"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0 and finite, got {getattr(self, key)}")
        if not 0 <= self.reg_exponent <= 1:
            raise ValueError(f"reg_exponent must be in [0, 1], got {self.reg_exponent}")
        for key, known in (("objective", OBJECTIVES), ("solver", SOLVERS)):
            if getattr(self, key) not in known:
                raise ValueError(f"{key} must be one of {known}, got {getattr(self, key)!r}")
        self._check_sizes()
        self._check_device()

    def _check_device(self) -> None:
        if torch_device(self.device) and self.solver not in TORCH_SOLVERS:
            raise ValueError(
                f"solver must be one of {TORCH_SOLVERS} on the device {self.device!r}, "
                f"got {self.solver!r}"
            )

    def _check_sizes(self) -> None:
        if self.block < LANES or self.block % LANES:
            raise ValueError(f"block must be a multiple of {LANES} above 0, got {self.block}")
        if self.max_gathered_mb < 0:
            raise ValueError(f"max_gathered_mb must be at least 0, got {self.max_gathered_mb}")


def torch_device(name: str) -> torch.device | None:
    """Device of the torch kernels; None for the CPU's own, "cpu".

    Raises:
        ValueError: torch knows no such device.
    """
    if name == "cpu":
        return None
    try:
        return torch.device("cpu" if name == TORCH_ON_CPU else name)
    except RuntimeError as error:
        raise ValueError(
            f'device must be "cpu", {TORCH_ON_CPU!r} or a torch device, got {name!r}'
        ) from error


class Population(NamedTuple):
    """What is said of all rows of a side: V^T V, and how many of its rows are not zero."""

    gram: Vectors
    num_known: int


class Side(NamedTuple):
    """One side held fixed: vectors of the columns at hand, and the population they are of."""

    vectors: Vectors
    population: Population

    @classmethod
    def of(cls, vectors: Vectors, threads: int = 1) -> "Side":
        """Take all rows as the population."""
        vectors = np.asarray(vectors, np.float32)
        known = int(vectors.any(axis=1).sum())
        return cls(vectors, Population(gram(vectors, threads=threads), known))


def solve_rows(weights: csr_array, fixed: Side, config: ALSConfig, *, threads: int = 1) -> Vectors:
    """Best vector for each row of `weights`, given those of its columns.

    A row comes out the same in any company, to the last bit. A row without entries is zero.

    Raises:
        ValueError: a weight is negative or not finite; the message names its row.
    """
    return solve_exact(ridge(observed(weights, config.alpha), fixed, config), threads=threads)


def improve_rows(
    pull: csr_array, fixed: Side, config: ALSConfig, solved: Vectors, *, threads: int = 1
) -> None:
    """Bring rows nearer to their best, in place, by the configured solver.

    `pull` is what `observed` makes of the weights.
    """
    problem = ridge(pull, fixed, config)
    if config.solver == "cg":
        solve_cg(problem, solved, steps=config.cg_steps, threads=threads)
    elif config.solver == "subspace":
        solve_blocks(problem, solved, block=config.block, threads=threads)
    else:
        solved[:] = solve_exact(problem, threads=threads)


def ridge(pull: csr_array, fixed: Side, config: ALSConfig) -> Ridge:
    """State the regression of each row."""
    reg = penalty(np.diff(pull.indptr), fixed.population.num_known, config)
    return Ridge(
        pull,
        fixed.vectors,
        np.float32(config.unobserved_weight) * fixed.population.gram,
        reg.astype(np.float32),
        config.unobserved_weight if config.objective == "confidence" else 0.0,
    )


def penalty(degrees: Offsets, num_known: int, config: ALSConfig) -> Values:
    """L2 penalty of rows with some number of entries."""
    frequency = degrees + config.unobserved_weight * num_known
    return np.asarray(config.reg * frequency**config.reg_exponent, np.float64)


def observed(weights: csr_array, alpha: float = 1.0) -> csr_array:
    """Copy weights times alpha, without zeros, the columns of each row in order.

    Raises:
        ValueError: a weight is negative or not finite; the message names its row.
    """
    weights = csr_array(weights)
    kept = compact(weights.data, weights.indices, weights.indptr, weights.shape)
    kept.sum_duplicates()
    wrong = np.flatnonzero(~((kept.data >= 0) & (kept.data < np.inf)))
    if len(wrong):
        row = int(np.searchsorted(kept.indptr, wrong[0], side="right")) - 1
        column, weight = kept.indices[wrong[0]], kept.data[wrong[0]]
        raise ValueError(
            f"weights must be at least 0 and finite, got {weight} in row {row}, column {column}"
        )
    kept.data *= np.float32(alpha)
    kept.eliminate_zeros()
    return kept


def compact(
    data: Weights, indices: Idx | Offsets, indptr: Offsets, shape: tuple[int, int]
) -> csr_array:
    """Copy compressed rows into float32 and, where they fit, int32."""
    kind = np.int32 if max(len(data), *shape) < np.iinfo(np.int32).max else np.int64
    arrays = data.astype(np.float32), indices.astype(kind), indptr.astype(kind)
    return csr_array(arrays, shape=shape)


def loss(weights: csr_array, users: Vectors, items: Vectors, config: ALSConfig) -> float:
    """Value of the objective, in float64."""
    U, V = users.astype(np.float64), items.astype(np.float64)
    seen = observed(weights)
    row = np.repeat(np.arange(len(U)), np.diff(seen.indptr))
    scores = np.empty(seen.nnz)
    step = max(1, (1 << 24) // max(config.dim, 1))
    for start in range(0, seen.nnz, step):
        part = slice(start, start + step)
        scores[part] = np.einsum("nd,nd->n", U[row[part]], V[seen.indices[part]])
    fit_term = config.alpha * (seen.data @ (scores - 1) ** 2)
    rest = np.sum((U.T @ U) * (V.T @ V))
    if config.objective == "confidence":
        rest -= np.sum(scores**2)
    items_degrees = np.bincount(seen.indices, minlength=len(V))
    known = int(U.any(axis=1).sum()), int(V.any(axis=1).sum())
    penalties = penalty(np.diff(seen.indptr), known[1], config) @ (U**2).sum(axis=1)
    penalties += penalty(items_degrees, known[0], config) @ (V**2).sum(axis=1)
    return float(fit_term + config.unobserved_weight * rest + penalties)
