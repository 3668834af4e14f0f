"""Matrix factorisation for implicit feedback, by alternating least squares.

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
other row: `solve_rows` is that regression, and `fit` the alternation. Users' rows are not kept:
they follow from the items and a history. A row without interactions is zero.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Array, Idx, Mask, Offsets, Values, Vectors, Weights
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

OBJECTIVES = ("ials", "confidence")
NUMBERS_PER_BATCH = 1 << 21


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

    def __post_init__(self) -> None:
        for key in ("dim", "epochs"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("alpha", "unobserved_weight", "reg"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0 and finite, got {getattr(self, key)}")
        if not 0 <= self.reg_exponent <= 1:
            raise ValueError(f"reg_exponent must be in [0, 1], got {self.reg_exponent}")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {OBJECTIVES}, got {self.objective!r}")


class Collective(Protocol):
    """The workers that fit together; each calls the same methods in the same order."""

    rank: int
    size: int

    def all_gather(self, block: Vectors) -> Vectors:
        """Put the blocks of all workers below one another, in the order of rank."""
        ...


class Solo:
    """One worker alone."""

    rank, size = 0, 1

    def all_gather(self, block: Vectors) -> Vectors:
        """Return the only block."""
        return block


class Epoch(NamedTuple):
    """Where a fit stands: epochs done, item factors, and their last relative change."""

    number: int
    items: Vectors
    change: float = np.inf


class Side(NamedTuple):
    """One side held fixed: its vectors, V^T V, and how many of its rows are not zero."""

    vectors: Vectors
    gram: Vectors
    num_known: int

    @classmethod
    def of(cls, vectors: Vectors) -> "Side":
        """Summarise all rows."""
        return cls(vectors, vectors.T @ vectors, int(vectors.any(axis=1).sum()))


def fit(
    weights: csr_array,
    config: ALSConfig,
    *,
    rng: np.random.Generator,
    collective: Collective | None = None,
    start: Epoch | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Vectors:
    """Factorise and return the item factors, shape (num_items, dim) float32.

    Args:
        weights: users in rows, items in columns; a weight that is not above 0 is no observation.
        config: the objective and how long to minimise it.
        rng: draws the first item factors; every worker must bring the same.
        collective: the workers; each solves its block of rows of both sides.
        start: an epoch to go on from; default before the first.
        on_epoch: called by every worker after each epoch.
    """
    group = collective or Solo()
    weights = _observed(weights)
    by_item = csr_array(weights.T)
    epoch = start or Epoch(0, _initial(by_item, config, rng))
    by_user, by_item = _own_rows(weights, group), _own_rows(by_item, group)
    while epoch.number < config.epochs:
        users = group.all_gather(solve_rows(by_user, Side.of(epoch.items), config))
        items = group.all_gather(solve_rows(by_item, Side.of(users), config))
        epoch = Epoch(epoch.number + 1, items, _change(epoch.items, items))
        if on_epoch is not None:
            on_epoch(epoch)
    return epoch.items


def solve_rows(weights: csr_array, fixed: Side, config: ALSConfig) -> Vectors:
    """Best vector for each row of `weights`, given the vectors of its columns.

    Rows are solved in batches of like degree, padded to a power of two. The batch of a row sets
    neither the shape nor the order of its sums, so a row comes out the same in any company.
    """
    dim = fixed.vectors.shape[1]
    solved = np.zeros((weights.shape[0], dim), fixed.vectors.dtype)
    degrees = np.diff(weights.indptr)
    widths = 1 << np.ceil(np.log2(np.maximum(degrees, 1))).astype(np.int64)
    for width in np.unique(widths[degrees > 0]):
        rows = np.flatnonzero((widths == width) & (degrees > 0))
        step = max(1, NUMBERS_PER_BATCH // (max(width, dim) * dim))
        for first in range(0, len(rows), step):
            batch = rows[first : first + step]
            solved[batch] = _solve_batch(*_padded(weights, batch, width), fixed, config)
    return solved


def _solve_batch(columns: Idx, weights: Weights, fixed: Side, config: ALSConfig) -> Vectors:
    """Solve rows given as (batch, width) columns and weights, padded with weight 0."""
    V, pull = fixed.vectors[columns], config.alpha * weights
    curve = pull
    if config.objective == "confidence":
        curve = pull - config.unobserved_weight * (weights > 0)
    system = V.transpose(0, 2, 1) @ (V * curve[:, :, None].astype(V.dtype))
    system += (config.unobserved_weight * fixed.gram).astype(V.dtype)
    diagonal = np.arange(V.shape[2])
    penalty = _penalty((weights > 0).sum(axis=1), fixed.num_known, config)
    system[:, diagonal, diagonal] += penalty[:, None].astype(V.dtype)
    target = pull[:, None, :].astype(V.dtype) @ V
    solved: Vectors = np.linalg.solve(system, target.transpose(0, 2, 1))[:, :, 0]
    return solved


def _penalty(degrees: Offsets, num_known: int, config: ALSConfig) -> Values:
    frequency = degrees + config.unobserved_weight * num_known
    return np.asarray(config.reg * frequency**config.reg_exponent, np.float64)


def loss(weights: csr_array, users: Vectors, items: Vectors, config: ALSConfig) -> float:
    """Value of the objective, in float64."""
    U, V = users.astype(np.float64), items.astype(np.float64)
    observed = _observed(weights).tocoo()
    row, column = observed.coords
    scores = np.einsum("nd,nd->n", U[row], V[column])
    fit_term = config.alpha * (observed.data @ (scores - 1) ** 2)
    rest = np.sum((U.T @ U) * (V.T @ V))
    if config.objective == "confidence":
        rest -= np.sum(scores**2)
    users_degrees = np.bincount(row, minlength=len(U))
    items_degrees = np.bincount(column, minlength=len(V))
    penalty = _penalty(users_degrees, int(V.any(axis=1).sum()), config) @ (U**2).sum(axis=1)
    penalty += _penalty(items_degrees, int(U.any(axis=1).sum()), config) @ (V**2).sum(axis=1)
    return float(fit_term + config.unobserved_weight * rest + penalty)


class ALS:
    """Item factors, and users folded in from their histories.

    Args:
        items: one vector a catalogue row; rows that were not trained may have been filled from
            elsewhere (see `avrec.models.cold`).
        trained: which rows `fit` has set; default those that are not zero.
        config: what `items` were fitted with.
    """

    name = "als"

    def __init__(self, items: Factors, config: ALSConfig, trained: Mask | None = None) -> None:
        self.items, self.config = items, config
        self.trained = items.known() if trained is None else trained
        of_trained = Side.of(items.vectors[self.trained])
        self._fixed = Side(items.vectors, of_trained.gram, of_trained.num_known)

    def user_vectors(self, histories: Histories) -> Vectors:
        """Fold histories in: the rows that training would give them, shape (num_queries, dim)."""
        return solve_rows(
            _observed(histories.matrix(len(self.items.vectors))), self._fixed, self.config
        )


def save(model: ALS, draft: Draft) -> None:
    """Write `als.safetensors` and `als.json`."""
    trained = model.trained.astype(np.uint8)
    draft.add_tensors("als.safetensors", {"items": model.items.vectors, "trained": trained})
    facts = {"items": model.items.vocabulary.digest, "config": asdict(model.config)}
    draft.add_json("als.json", facts)


def load(artifact: Artifact, items: Vocabulary) -> ALS:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the model was made for another catalogue.
    """
    facts = artifact.json("als.json")
    if facts["items"] != items.digest:
        raise ArtifactError("the ALS model is of another catalogue; run train_als again")
    tensors = artifact.tensors("als.safetensors")
    trained = tensors["trained"].astype(bool)
    return ALS(Factors(items, tensors["items"]), ALSConfig(**facts["config"]), trained)


def _observed(weights: csr_array) -> csr_array:
    """Drop what is not above 0, and sort the columns of each row."""
    kept = csr_array(weights, dtype=np.float32, copy=True)
    kept.data[~(kept.data > 0)] = 0
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept


def _initial(by_item: csr_array, config: ALSConfig, rng: np.random.Generator) -> Vectors:
    scale = 0.1 / np.sqrt(config.dim)
    items = rng.normal(0, scale, (by_item.shape[0], config.dim)).astype(np.float32)
    items[np.diff(by_item.indptr) == 0] = 0
    return items


def _own_rows(weights: csr_array, group: Collective) -> csr_array:
    """Cut out one worker's block of rows, of about equal work for all."""
    work = np.cumsum(np.diff(weights.indptr) + 16)
    total = work[-1] if len(work) else 0
    bounds = np.searchsorted(work, total * np.arange(group.size + 1) / group.size)
    bounds[-1] = weights.shape[0]
    start, stop = list(pairwise(bounds))[group.rank]
    return csr_array(weights[start:stop])


def _padded(weights: csr_array, rows: Array, width: int) -> tuple[Idx, Weights]:
    """Columns and weights of some rows, shape (len(rows), width); column 0 and weight 0 pad."""
    start, stop = weights.indptr[rows], weights.indptr[rows + 1]
    entries = start[:, None] + np.arange(width)
    inside = entries < stop[:, None]
    entries = np.where(inside, entries, 0)
    return np.where(inside, weights.indices[entries], 0), weights.data[entries] * inside


def _change(before: Vectors, after: Vectors) -> float:
    length = float(np.linalg.norm(after))
    return float(np.linalg.norm(after - before)) / length if length else 0.0
