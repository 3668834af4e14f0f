"""Truncated singular value decomposition of the weights: PureSVD.

With the weights `W` of users in rows, and `V` the right singular vectors of the `dim` largest
singular values, an item's score for a history `h` is that of the projection `h V V^T`: what is
not observed counts as 0 (Cremonesi, Koren and Turrin, RecSys 2010). Nothing is kept of a user.
"""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.sparse import csr_array

from avrec.arrays import Vectors
from avrec.errors import ArtifactError
from avrec.factors import Factors
from avrec.interactions import Histories
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

OVERSAMPLING = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class SVDConfig:
    """How to decompose."""

    dim: int = 64
    """Singular vectors kept; a matrix of lower rank gives columns of zeros."""
    passes: int = 6
    """Multiplications by W and its transpose that sharpen the subspace."""

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}")
        if self.passes < 0:
            raise ValueError(f"passes must be at least 0, got {self.passes}")


class SVD:
    """Right singular vectors of the items; a query is the sum of its history's."""

    name = "svd"

    def __init__(self, items: Factors, config: SVDConfig) -> None:
        self.items, self.config = items, config

    def user_vectors(self, histories: Histories) -> Vectors:
        """Project histories, shape (num_queries, dim)."""
        weights = histories.matrix(len(self.items.vectors))
        return np.asarray(weights @ self.items.vectors, np.float32)


def fit(weights: csr_array, config: SVDConfig, *, rng: np.random.Generator) -> Vectors:
    """Find V, shape (num_items, dim) float32: an item without interactions is a zero row.

    A random subspace is multiplied by W and W^T some times, and the decomposition is done in it
    (Halko, Martinsson and Tropp, SIAM Review 2011). The largest entry of a column is positive.
    """
    num_items, dim = weights.shape[1], config.dim
    found = np.zeros((num_items, dim), np.float32)
    width = min(dim + OVERSAMPLING, *weights.shape)
    if not width:
        return found
    W = csr_array(weights, dtype=np.float32)
    basis = _orthonormal(W @ rng.normal(size=(num_items, width)).astype(np.float32))
    for _ in range(config.passes):
        basis = _orthonormal(W @ _orthonormal(W.T @ basis))
    _, values, right = np.linalg.svd((W.T @ basis).T, full_matrices=False)
    kept = values[:dim] > values[0] * width * np.finfo(np.float32).eps
    V = right[:dim][kept].T
    V *= np.sign(V[np.abs(V).argmax(axis=0), np.arange(V.shape[1])])
    V[np.bincount(W.indices[W.data != 0], minlength=num_items) == 0] = 0
    found[:, : V.shape[1]] = V
    return found


def save(model: SVD, draft: Draft) -> None:
    """Write `svd.safetensors` and `svd.json`."""
    draft.add_tensors("svd.safetensors", {"items": model.items.vectors})
    facts = {"items": model.items.vocabulary.digest, "config": asdict(model.config)}
    draft.add_json("svd.json", facts)


def load(artifact: Artifact, items: Vocabulary) -> SVD:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the model was made for another catalogue.
    """
    facts = artifact.json("svd.json")
    if facts["items"] != items.digest:
        raise ArtifactError("the SVD model is of another catalogue; run train_baselines again")
    vectors = artifact.tensors("svd.safetensors")["items"]
    return SVD(Factors(items, vectors), SVDConfig(**facts["config"]))


def _orthonormal(columns: Vectors) -> Vectors:
    return np.asarray(np.linalg.qr(columns)[0], np.float32)
