"""Several models as one list, where what each says is brought to one spread for each query.

    score(query, i) = sum_m w_m[i] s_m(query, i) / std_j s_m(query, j)

with the spread over the items `j` that `m` has a weight for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array, diags_array

from avrec.arrays import Mask, Scores, Vectors
from avrec.factors import Retriever
from avrec.index import TopK, best_of, stacked
from avrec.interactions import Histories

QUERIES_PER_BLOCK = 512

Say = Callable[[Histories], Scores]
"""What a model says of all items for each history, shape (num_queries, num_items)."""


@dataclass(frozen=True, slots=True)
class Part:
    """A model, and its weight for each item."""

    say: Say
    weights: Scores

    def scores(self, some: Histories) -> Scores:
        """What it says, of spread 1 for each query, times its weights; no opinion stays 0."""
        said = self.say(some)
        spread = said[:, self.weights > 0].std(axis=1, keepdims=True)
        return np.divide(said, spread, out=np.zeros_like(said), where=spread > 0) * self.weights


@dataclass(frozen=True, slots=True)
class Fused:
    """A `Lister` of all parts together, of the items that are able."""

    name: str
    parts: Sequence[Part]
    able: Mask

    def among(self, able: Mask) -> "Fused":
        """The same of other items."""
        return replace(self, able=able)

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the first `k` for each history; see `avrec.index.Lister`."""
        blocks = []
        for start, stop in pairwise([*range(0, len(histories), QUERIES_PER_BLOCK), len(histories)]):
            rows = np.arange(start, stop, dtype=np.int32)
            some = histories.take(rows)
            scores: Scores = np.zeros((len(some), len(self.able)), np.float32)
            for part in self.parts:
                scores += part.scores(some)
            scores[:, ~self.able] = -np.inf
            if exclude is not None:
                barred = exclude.take(rows)
                scores[barred.query_of_item(), barred.items] = -np.inf
            blocks.append(best_of(scores, k))
        return stacked(blocks, k)


def by_vectors(model: Retriever) -> Say:
    """Dot products."""
    return lambda some: np.asarray(model.user_vectors(some) @ model.items.vectors.T, np.float32)


def by_matrix(matrix: Vectors) -> Say:
    """Sums of the rows of a history's items."""
    return lambda some: np.asarray(some.matrix(len(matrix)) @ matrix, np.float32)


def by_walks(weights: csr_array, share: float) -> Say:
    """Where walks of three steps from a history end: to a user of an item, to an item of theirs.

    h D_items^-share W' D_users^-1 W, as in RP3 (Paudel et al., TiiS 2017) with share 1.

    Args:
        weights: users in rows, items in columns.
        share: from 0, where an item of a history counts as often as it was taken to, to 1, where
            all count alike.
    """
    by_user, by_item = (np.maximum(weights.sum(axis=axis), 1) for axis in (1, 0))
    back = csr_array(diags_array(by_item**-share) @ weights.T @ diags_array(1 / by_user))

    def say(some: Histories) -> Scores:
        walked = some.matrix(len(by_item)) @ back @ weights
        return np.asarray(walked.toarray(), np.float32)

    return say


def by_likeness(rows: Vectors, sharpness: float) -> Say:
    """Sums of the kernel of `avrec.models.landmarks` between unit rows; at 0, of their cosine."""
    cosine = rows @ rows.T
    return by_matrix(np.exp(sharpness * (cosine - 1)) if sharpness else cosine)
