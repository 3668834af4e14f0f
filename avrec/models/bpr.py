"""Bayesian personalised ranking, of `implicit`, with newcomers folded in.

Minimises, over users `u` and pairs of an item `i` that the user took to and one, `j`, that not,

    -log sigmoid(u.v_i + b_i - u.v_j - b_j)  +  reg (|u|^2 + |v_i|^2 + |v_j|^2)

by stochastic steps (Rendle et al., UAI 2009). The bias `b` is the last column of the item
vectors; a query's last column is 1.

A user that was trained has a vector, a history has none. So a ridge regression over the trained
users foretells the vector from the mean of the history's item vectors, and everybody, trained or
not, is given what it foretells: no user's row has to be kept, and on MovieLens 1M the lists are
better than those of the trained rows.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_array, csr_matrix

from avrec.arrays import Values, Vectors
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

RIDGE = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class BPRConfig:
    """How to rank pairs."""

    dim: int = 64
    """Length of a factor vector, the bias not counted."""
    epochs: int = 100
    """Passes over the interactions."""
    learning_rate: float = 0.05
    """Length of a step."""
    reg: float = 0.01
    """L2 penalty on the factors."""

    def __post_init__(self) -> None:
        for key in ("dim", "epochs"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        for key in ("learning_rate", "reg"):
            if not 0 < getattr(self, key) < np.inf:
                raise ValueError(f"{key} must be above 0 and finite, got {getattr(self, key)}")


class Learned(NamedTuple):
    """Item vectors and biases, (num_items, dim + 1); map from history to query, (dim + 1, dim)."""

    items: Vectors
    fold: Vectors


class BPR:
    """Item vectors, and queries foretold from the mean of a history's."""

    name = "bpr"

    def __init__(self, items: Factors, fold: Vectors, config: BPRConfig) -> None:
        self.items, self.fold, self.config = items, fold, config

    def user_vectors(self, histories: Histories) -> Vectors:
        """Fold histories in, shape (num_queries, dim + 1)."""
        weights = histories.matrix(len(self.items.vectors))
        profiles = _profiles(weights, self.items.vectors)
        queries = np.zeros((len(histories), self.items.dim), np.float32)
        queries[:, :-1] = profiles @ self.fold
        queries[:, -1] = profiles[:, -1]
        return queries


def fit(weights: csr_array, config: BPRConfig, *, seed: int) -> Learned:
    """Learn from users in rows, on one thread, so that the seed settles the result.

    Every weight above 0 counts alike; an item without one is a zero row.
    """
    taken = csr_array(weights, dtype=np.float32, copy=True)
    taken.data = (taken.data > 0).astype(np.float32)
    taken.eliminate_zeros()
    num_items, dim = taken.shape[1], config.dim
    if not taken.nnz:
        return Learned(
            np.zeros((num_items, dim + 1), np.float32), np.zeros((dim + 1, dim), np.float32)
        )
    model = BayesianPersonalizedRanking(
        factors=dim,
        iterations=config.epochs,
        learning_rate=config.learning_rate,
        regularization=config.reg,
        num_threads=1,
        random_state=seed,
    )
    model.fit(csr_matrix(taken), show_progress=False)
    items = np.array(model.item_factors)
    items[np.bincount(taken.indices, minlength=num_items) == 0] = 0
    return Learned(items, _fold(_profiles(taken, items), model.user_factors[:, :-1]))


def save(model: BPR, draft: Draft) -> None:
    """Write `bpr.safetensors` and `bpr.json`."""
    draft.add_tensors("bpr.safetensors", {"items": model.items.vectors, "fold": model.fold})
    facts = {"items": model.items.vocabulary.digest, "config": asdict(model.config)}
    draft.add_json("bpr.json", facts)


def load(artifact: Artifact, items: Vocabulary) -> BPR:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the model was made for another catalogue.
    """
    facts = artifact.json("bpr.json")
    if facts["items"] != items.digest:
        raise ArtifactError("the BPR model is of another catalogue; run train_baselines again")
    tensors = artifact.tensors("bpr.safetensors")
    return BPR(Factors(items, tensors["items"]), tensors["fold"], BPRConfig(**facts["config"]))


def _profiles(weights: csr_array, items: Vectors) -> Values:
    """Mean vector of the known items of each row, and 1; zeros where it has none."""
    known = csr_array((weights.data > 0, weights.indices, weights.indptr), shape=weights.shape)
    known = known.astype(np.float64) @ np.column_stack([items[:, :-1], items.any(axis=1)])
    count = known[:, -1:]
    return np.divide(known, count, out=np.zeros_like(known), where=count > 0)


def _fold(profiles: Values, users: Vectors) -> Vectors:
    system = profiles.T @ profiles + RIDGE * np.eye(profiles.shape[1])
    return np.linalg.solve(system, profiles.T @ users).astype(np.float32)
