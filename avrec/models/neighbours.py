"""Nearest neighbours: items like those of a history, or what the users like this one took to.

* item-item: the score of item `i` for a history `h` is  sum_j h_j S[j, i]  over the rows `j` of
  the history, where a row of `S` holds its `num_neighbours` most similar items, itself counted
  (Deshpande and Karypis, TOIS 2004). This is `implicit`'s, and finds the neighbours with it.
* user-user: it is  sum_v sim(h, v) W[v, i]  over the `num_neighbours` users most similar to the
  history. A user whom the model was made with is among their own neighbours.

Similarity is the product of two rows (of items, or of users) weighted as documents are, in which
an entry `x` is a term that `n` of `N` rows have:

* "cosine":  x / |row|
* "tfidf":   sqrt(x) log(N / (n + 1)), then / |row|
* "bm25":    x (k1 + 1) / (x + k1 (1 - b + b length / mean length)) log(N / (n + 1)), where a
  row's length is the sum of its entries

A score of 0 is no opinion, and such an item is not listed.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
from implicit.nearest_neighbours import all_pairs_knn
from scipy.sparse import csr_array, csr_matrix, diags_array

from avrec.arrays import Values
from avrec.errors import ArtifactError
from avrec.index import TopK, best_of, stacked
from avrec.interactions import Histories
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

SIDES = ("item", "user")
WEIGHTINGS = ("cosine", "tfidf", "bm25")
SCORES_PER_BLOCK = 1 << 23


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighboursConfig:
    """Whose neighbours, and by what likeness."""

    side: str = "item"
    """Neighbours of the history's items, "item", or of the history itself, "user"; a search has
    one side, `jobs.train_baselines` makes both."""
    weighting: str = "bm25"
    """How entries are weighted before they are compared: "cosine", "tfidf" or "bm25"."""
    num_neighbours: int = 100
    """Most similar items of an item, or users of a history, that have a say."""
    k1: float = 1.2
    """For "bm25": how slowly a larger weight stops to count."""
    b: float = 0.75
    """For "bm25": how far a longer row counts less, from 0 to 1."""

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ValueError(f"side must be one of {SIDES}, got {self.side!r}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {WEIGHTINGS}, got {self.weighting!r}")
        if self.num_neighbours < 1:
            raise ValueError(f"num_neighbours must be at least 1, got {self.num_neighbours}")
        if not 0 <= self.k1 < np.inf:
            raise ValueError(f"k1 must be at least 0 and finite, got {self.k1}")
        if not 0 <= self.b <= 1:
            raise ValueError(f"b must be in [0, 1], got {self.b}")


class Neighbours(Protocol):
    """A neighbours model: a `Lister` that can be saved."""

    @property
    def name(self) -> str:
        """Side and weighting, such as "item_bm25"."""
        ...

    @property
    def items(self) -> Vocabulary:
        """The catalogue."""
        ...

    @property
    def matrix(self) -> csr_array:
        """All that was learned: similarities of items, or weights of users."""
        ...

    @property
    def config(self) -> NeighboursConfig:
        """What the model was made with."""
        ...

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the first `k` for each history; see `avrec.index.Lister`."""
        ...


@dataclass(frozen=True, slots=True)
class ItemNeighbours:
    """Item-item: `matrix[j, i]` is how similar `i` is to `j`, where it is one of its nearest."""

    items: Vocabulary
    matrix: csr_array
    config: NeighboursConfig

    @property
    def name(self) -> str:
        """Side and weighting."""
        return f"item_{self.config.weighting}"

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the first `k` for each history; see `avrec.index.Lister`."""
        return _lists(self, len(self.items), histories, k, exclude)

    def scores(self, taken: csr_array) -> csr_array:
        """Score all items for each row of weights."""
        return taken @ self.matrix


class UserNeighbours:
    """User-user: `matrix` holds the weights of every user, which is what votes are cast with."""

    def __init__(self, items: Vocabulary, matrix: csr_array, config: NeighboursConfig) -> None:
        self.items, self.matrix, self.config = items, matrix, config
        self.name = f"user_{config.weighting}"
        self._terms = _Terms.of(matrix)
        self._by_term = csr_array(_weigh(matrix, self._terms, config).T)

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the first `k` for each history; see `avrec.index.Lister`."""
        return _lists(self, max(self.matrix.shape), histories, k, exclude)

    def scores(self, taken: csr_array) -> csr_array:
        """Score all items for each row of weights."""
        likeness = (_weigh(taken, self._terms, self.config) @ self._by_term).toarray()
        likeness[likeness == 0] = -np.inf
        nearest = best_of(likeness, self.config.num_neighbours)
        row, place = np.nonzero(nearest.idx >= 0)
        cell = row, nearest.idx[row, place]
        votes = csr_array((nearest.scores[row, place], cell), shape=likeness.shape)
        return votes @ self.matrix


def fit(weights: csr_array, items: Vocabulary, config: NeighboursConfig) -> Neighbours:
    """Make a model of weights with users in rows; an entry not above 0 is no observation."""
    W = csr_array(weights, dtype=np.float32, copy=True)
    W.data[~(W.data > 0)] = 0
    W.eliminate_zeros()
    W.sum_duplicates()
    if config.side == "user":
        return UserNeighbours(items, W, config)
    by_item = csr_array(W.T)
    weighted = csr_matrix(_weigh(by_item, _Terms.of(by_item), config).T, dtype=np.float64)
    weighted.indices, weighted.indptr = (
        indices.astype(np.int32) for indices in (weighted.indices, weighted.indptr)
    )
    nearest = all_pairs_knn(weighted, config.num_neighbours, show_progress=False, num_threads=0)
    similarity = csr_array(nearest, dtype=np.float32)
    similarity.eliminate_zeros()
    similarity.sum_duplicates()
    return ItemNeighbours(items, similarity, config)


def save(model: Neighbours, draft: Draft) -> None:
    """Write `SIDE_neighbours.safetensors` and `SIDE_neighbours.json`."""
    matrix, name = model.matrix, f"{model.config.side}_neighbours"
    arrays = {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}
    draft.add_tensors(f"{name}.safetensors", arrays)
    facts = {
        "items": model.items.digest,
        "config": asdict(model.config),
        "num_rows": matrix.shape[0],
    }
    draft.add_json(f"{name}.json", facts)


def load(artifact: Artifact, items: Vocabulary, side: str) -> Neighbours:
    """Read what `save` wrote of a model of that side.

    Raises:
        ArtifactError: the model was made for another catalogue.
    """
    facts = artifact.json(f"{side}_neighbours.json")
    if facts["items"] != items.digest:
        raise ArtifactError(
            "the neighbours model is of another catalogue; run train_baselines again"
        )
    arrays = artifact.tensors(f"{side}_neighbours.safetensors")
    config = NeighboursConfig(**facts["config"])
    cells = arrays["data"], arrays["indices"], arrays["indptr"]
    matrix = csr_array(cells, shape=(facts["num_rows"], len(items)))
    kind = UserNeighbours if config.side == "user" else ItemNeighbours
    return kind(items, matrix, config)


class _Scorer(Protocol):
    @property
    def items(self) -> Vocabulary: ...

    def scores(self, taken: csr_array) -> csr_array: ...


def _lists(
    model: _Scorer, widest: int, histories: Histories, k: int, exclude: Histories | None
) -> TopK:
    """Score some rows at a time, so that no array has more than SCORES_PER_BLOCK numbers."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if exclude is not None and len(exclude) != len(histories):
        raise ValueError(f"exclude must have {len(histories)} rows, got {len(exclude)}")
    step, blocks = max(1, SCORES_PER_BLOCK // max(widest, 1)), []
    for start, stop in pairwise([*range(0, len(histories), step), len(histories)]):
        rows = np.arange(start, stop, dtype=np.int32)
        scores = model.scores(histories.take(rows).matrix(len(model.items))).toarray()
        scores[scores == 0] = -np.inf
        if exclude is not None:
            barred = exclude.take(rows)
            scores[barred.query_of_item(), barred.items] = -np.inf
        blocks.append(best_of(scores, k))
    return stacked(blocks, k)


class _Terms(NamedTuple):
    """What the weighting of a row takes from all rows: log(N / (n + 1)), and the mean length."""

    rarity: Values
    mean_length: float

    @classmethod
    def of(cls, matrix: csr_array) -> "_Terms":
        num_rows, num_terms = matrix.shape
        seen = np.bincount(matrix.indices, minlength=num_terms)
        rarity = np.log(max(num_rows, 1)) - np.log1p(seen)
        return cls(rarity, float(matrix.data.sum(dtype=np.float64)) / max(num_rows, 1))


def _weigh(matrix: csr_array, terms: _Terms, config: NeighboursConfig) -> csr_array:
    entries, row = matrix.data.astype(np.float64), matrix.tocoo().coords[0]
    if config.weighting == "tfidf":
        entries = np.sqrt(entries) * terms.rarity[matrix.indices]
    if config.weighting == "bm25":
        length = matrix.sum(axis=1) / (terms.mean_length or 1)
        slow = config.k1 * (1 - config.b + config.b * length)
        entries = entries * (config.k1 + 1) / (slow[row] + entries) * terms.rarity[matrix.indices]
    weighted = csr_array((entries, matrix.indices, matrix.indptr), shape=matrix.shape)
    if config.weighting != "bm25":
        norm = np.sqrt(np.bincount(row, entries**2, minlength=matrix.shape[0]))
        weighted = (
            diags_array(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)) @ weighted
        )
    return csr_array(weighted, dtype=np.float32)
