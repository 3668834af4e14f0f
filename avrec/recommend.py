"""From a history to a ranked list: retrieve candidates, score them, say why.

One path serves evaluation, batch lists and the online service. Retrievers propose; what
they proposed is ordered by reciprocal rank fusion, in which a ranker, where there is one, has a
voice of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from avrec.arrays import Array, Idx, Mask, Scores, Vectors, unit
from avrec.factors import Retriever
from avrec.index import Lister, top_k
from avrec.interactions import Histories
from avrec.models.features import Knowledge, featurize
from avrec.models.ranker import Ranker
from avrec.vocab import Vocabulary

POPULAR = "popularity"
SOURCES = ("als", "towers", "content", "svd", "bpr", "item_neighbours", "user_neighbours")
RANK_FUSION_OFFSET = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommendConfig:
    """How lists are made."""

    sources: tuple[str, ...] = SOURCES[:3]
    """Models that propose, those of them that were made: als, towers, content, svd, bpr,
    item_neighbours, user_neighbours. What is popular always does."""
    candidates_per_source: int = 100
    """Items that each retriever proposes for a query."""
    ranker_weight: float = 1.0
    """Voice of the ranker beside those of the retrievers, one each, when ranks are fused."""
    min_similarity: float = 0.3
    """Cosine from which a past item is named as the reason for a recommended one."""
    one_of_each: bool = True
    """Whether a list shows one of each group of near-duplicates, where these were found."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.sources if name not in SOURCES]
        if unknown:
            raise ValueError(f"sources must be among {SOURCES}, got {unknown}")
        if self.candidates_per_source < 1:
            raise ValueError(
                f"candidates_per_source must be at least 1, got {self.candidates_per_source}"
            )
        if self.ranker_weight < 0:
            raise ValueError(f"ranker_weight must be at least 0, got {self.ranker_weight}")


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """How lists for every user are made at once."""

    k: int = 20
    """Length of a list."""
    num_actors: int = 2
    """Ray actors that each load the bundle; one takes one CPU."""

    def __post_init__(self) -> None:
        for name in ("k", "num_actors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Ranked:
    """One list, best first; all fields have one entry an item."""

    items: Idx
    scores: Scores
    sources: list[tuple[str, ...]]
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What was proposed, as flat arrays sorted by query, then item.

    `scores[name]` holds every candidate's dot product under that retriever, if it has vectors;
    `ranks[name]` its place (from 1) in what that one proposed for the query, 0 where it did not.
    """

    query: Idx
    item: Idx
    scores: Mapping[str, Scores]
    ranks: Mapping[str, Idx]

    def sources(self, entry: int) -> tuple[str, ...]:
        """Retrievers that proposed one candidate."""
        return tuple(name for name, ranks in self.ranks.items() if ranks[entry])

    def where(self, kept: Mask) -> "Candidates":
        """Some of them."""
        scores = {name: values[kept] for name, values in self.scores.items()}
        ranks = {name: places[kept] for name, places in self.ranks.items()}
        return Candidates(self.query[kept], self.item[kept], scores, ranks)


class Recommender:
    """Retrieves and ranks for a batch of histories over one catalogue.

    An item whose every file failed is never listed. Of a work's copies a list shows one, and none
    to whom one of them is known.
    """

    def __init__(
        self,
        items: Vocabulary,
        titles: Sequence[str],
        retrievers: Sequence[Retriever | Lister],
        knowledge: Knowledge,
        ranker: Ranker | None = None,
        config: RecommendConfig | None = None,
    ) -> None:
        self.items, self.titles = items, titles
        self.retrievers, self.knowledge, self.ranker = tuple(retrievers), knowledge, ranker
        self.config = config or RecommendConfig()
        self._with_vectors = [r for r in self.retrievers if not isinstance(r, Lister)]
        self._known = {r.name: r.items.known() & knowledge.playable for r in self._with_vectors}
        self._likeness = [
            unit(r.items.vectors) for r in self._with_vectors if r.name in ("content", "als")
        ]

    @property
    def policy(self) -> str:
        """Name of the way in which lists are ordered."""
        return "fusion_with_ranker" if self._ranks() else "rank_fusion"

    def candidates(self, histories: Histories, exclude: Histories, k: int) -> Candidates:
        """Collect what every retriever proposes, at least `k` each, without rows of `exclude`."""
        num_items = len(self.items)
        depth = min(max(self.config.candidates_per_source, k), num_items)
        vectors = {r.name: r.user_vectors(histories) for r in self._with_vectors}
        keys, ranks = [], []
        for retriever in self.retrievers:
            if isinstance(retriever, Lister):
                propose = partial(self._listed, retriever, histories, exclude)
            else:
                propose = partial(self._nearest, retriever, vectors[retriever.name], exclude)
            idx = self._of_enough_works(propose, len(histories), depth)
            keys.append(_keyed(idx, self.knowledge.copies.places(idx), num_items))
        every = np.unique(np.concatenate([k for k, _ in keys])) if keys else np.empty(0, np.int64)
        for proposed, place in keys:
            rank = np.zeros(len(every), np.int32)
            rank[np.searchsorted(every, proposed)] = place
            ranks.append(rank)
        query = (every // num_items).astype(np.int32) if num_items else every.astype(np.int32)
        item = (every % num_items).astype(np.int32) if num_items else every.astype(np.int32)
        scores = {
            r.name: _dots(vectors[r.name], r.items.vectors, query, item) for r in self._with_vectors
        }
        names = [r.name for r in self.retrievers]
        return Candidates(query, item, scores, dict(zip(names, ranks, strict=True)))

    def score(self, histories: Histories, candidates: Candidates, at: int) -> Scores:
        """Score each candidate; higher is better within its query.

        Reciprocal ranks of what the retrievers proposed, and of the ranker's order, are summed.
        The ranker has no voice for a query without a history.
        """
        fused = self._fuse(histories, candidates)
        if self.ranker is None or not self._ranks():
            return fused
        features = featurize(
            histories,
            candidates.query,
            candidates.item,
            candidates.scores,
            self.knowledge,
            np.full(len(candidates.query), at, np.int64),
        )
        place = _places(candidates, self.ranker.score(features))
        known = (histories.lengths() > 0)[candidates.query]
        voice = self.config.ranker_weight / (RANK_FUSION_OFFSET + place)
        return np.where(known, fused + voice, fused).astype(np.float32)

    def recommend(
        self, histories: Histories, *, k: int, at: int, exclude: Histories | None = None
    ) -> list[Ranked]:
        """Make one list of at most `k` items a query, without those of its history.

        Args:
            histories: what each query took to, catalogue rows.
            k: length of a list, at least 1.
            at: the moment of the request, UTC microseconds.
            exclude: further rows to leave out, one row of them a query.
        """
        candidates, scores, bounds = self._scored(histories, k, at, exclude)
        lists = []
        for query in range(len(histories)):
            entries = _best(candidates, scores, slice(bounds[query], bounds[query + 1]), k)
            items = candidates.item[entries]
            sources = [candidates.sources(int(entry)) for entry in entries]
            reasons = self._reasons(histories.row(query), items, sources)
            lists.append(Ranked(items, scores[entries], sources, reasons))
        return lists

    def rows(self, histories: Histories, k: int, at: int, exclude: Histories | None = None) -> Idx:
        """Lists as catalogue rows only, shape (num_queries, k), padded with -1."""
        candidates, scores, bounds = self._scored(histories, k, at, exclude)
        rows = np.full((len(histories), k), -1, np.int32)
        for query in range(len(histories)):
            entries = _best(candidates, scores, slice(bounds[query], bounds[query + 1]), k)
            rows[query, : len(entries)] = candidates.item[entries]
        return rows

    def similar(self, item: int, k: int) -> Ranked:
        """List the items most like one: mean cosine over content and learned factors."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        total = np.zeros(len(self.items), np.float32)
        for vectors in self._likeness:
            total += vectors @ vectors[item] / len(self._likeness)
        total[self.knowledge.copies.group == self.knowledge.copies.group[item]] = -np.inf
        total[~self.knowledge.playable] = -np.inf
        order = np.lexsort((np.arange(len(total)), -total))
        order = order[total[order] > 0]
        _, first = np.unique(self.knowledge.copies.group[order], return_index=True)
        rows: Idx = order[np.sort(first)][:k].astype(np.int32)
        reason = f'Similar to "{self.titles[item]}"'
        sources: list[tuple[str, ...]] = [("similar",)] * len(rows)
        return Ranked(rows, total[rows], sources, [reason] * len(rows))

    def _scored(
        self, histories: Histories, k: int, at: int, exclude: Histories | None
    ) -> tuple[Candidates, Scores, Array]:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        seen = histories if exclude is None else _join(histories, exclude)
        candidates = self.candidates(histories, self.knowledge.copies.spread(seen), k)
        scores = self.score(histories, candidates, at)
        if self.knowledge.copies.repeated[candidates.item].any():
            kept = self.knowledge.copies.best(candidates.query, candidates.item, scores)
            candidates, scores = candidates.where(kept), scores[kept]
        return candidates, scores, np.searchsorted(candidates.query, np.arange(len(histories) + 1))

    def _ranks(self) -> bool:
        return self.ranker is not None and self.config.ranker_weight > 0

    def _of_enough_works(
        self, propose: Callable[[Idx, int], Idx], num_queries: int, depth: int
    ) -> Idx:
        """Ask for longer lists where copies fill one, until it has `depth` works or all there are.

        How long a list gets does not depend on the others beside it.
        """
        rows = propose(np.arange(num_queries, dtype=np.int32), depth)
        width, short = depth, self._short(rows, depth)
        while len(short) and width < len(self.items):
            width = min(2 * width, len(self.items))
            rows = np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=-1)
            rows[short] = propose(short, width)
            short = short[self._short(rows[short], depth)]
        return rows

    def _short(self, rows: Idx, depth: int) -> Idx:
        """Which full lists have fewer than `depth` works."""
        if not rows.size or not self.knowledge.copies.repeated.any():
            return np.empty(0, np.int32)
        lacking = (rows[:, -1] >= 0) & (self.knowledge.copies.num_works(rows) < depth)
        return np.flatnonzero(lacking).astype(np.int32)

    def _nearest(
        self, retriever: Retriever, vectors: Vectors, exclude: Histories, queries: Idx, k: int
    ) -> Idx:
        """Rows of the highest dot products, shape (len(queries), k), padded with -1."""
        rows = np.full((len(queries), k), -1, np.int32)
        told = np.flatnonzero(vectors[queries].any(axis=1))
        asked = queries[told]
        if len(asked) and k:
            known, barred = self._known[retriever.name], exclude.take(asked)
            found = top_k(vectors[asked], retriever.items.vectors, k, exclude=barred, known=known)
            rows[told] = found.idx
        return rows

    def _listed(
        self, lister: Lister, histories: Histories, exclude: Histories, queries: Idx, k: int
    ) -> Idx:
        """Rows that a model without vectors lists, shape (len(queries), k), padded with -1."""
        if not k:
            return np.empty((len(queries), 0), np.int32)
        rows = lister.lists(histories.take(queries), k, exclude.take(queries)).idx
        return np.where(self.knowledge.playable[rows], rows, np.int32(-1))

    def _fuse(self, histories: Histories, candidates: Candidates) -> Scores:
        """Reciprocal rank fusion (Cormack et al., SIGIR 2009); popularity only breaks the ice."""
        total = np.zeros(len(candidates.query), np.float32)
        newcomer = (histories.lengths() == 0)[candidates.query]
        for name, ranks in candidates.ranks.items():
            gain = np.where(ranks > 0, 1 / (RANK_FUSION_OFFSET + ranks), 0)
            total += np.where(newcomer, gain, 0.01 * gain) if name == POPULAR else gain
        return total

    def _reasons(self, history: Idx, items: Idx, sources: list[tuple[str, ...]]) -> list[str]:
        causes, likeness = self._causes(history, items)
        reasons = []
        for entry, proposed in enumerate(sources):
            if likeness[entry] >= self.config.min_similarity:
                reasons.append(f'Because you enjoyed "{self.titles[causes[entry]]}"')
            elif proposed == (POPULAR,) or not len(history):
                reasons.append("Popular with listeners")
            else:
                reasons.append("People with your taste enjoy it")
        return reasons

    def _causes(self, history: Idx, items: Idx) -> tuple[Idx, Scores]:
        """For each item the most similar of the history, and how similar (cosine)."""
        if not len(history) or not self._likeness:
            return np.full(len(items), -1, np.int32), np.full(len(items), -np.inf, np.float32)
        pairs = np.mean([v[items] @ v[history].T for v in self._likeness], axis=0)
        best = np.argmax(pairs, axis=1)
        return history[best], pairs[np.arange(len(items)), best]


def _keyed(rows: Idx, places: Idx, num_items: int) -> tuple[Array, Array]:
    """Keys (query * num_items + item) and places of one retriever's proposals."""
    query, column = np.nonzero(rows >= 0)
    keys = query * np.int64(num_items) + rows[query, column]
    return keys, places[query, column]


def _best(candidates: Candidates, scores: Scores, entries: slice, k: int) -> Array:
    order = np.lexsort((candidates.item[entries], -scores[entries]))[:k]
    return order + entries.start


def _places(candidates: Candidates, scores: Scores) -> Array:
    """Place of each candidate by score within its query, from 1; ties by item."""
    order = np.lexsort((candidates.item, -scores, candidates.query))
    _, first = np.unique(candidates.query, return_index=True)
    sizes = np.diff([*first, len(scores)])
    place = np.empty(len(scores), np.int64)
    place[order] = np.arange(len(scores)) - np.repeat(first, sizes) + 1
    return place


def _dots(users: Vectors, items: Vectors, query: Idx, item: Idx) -> Scores:
    scores: Scores = np.einsum("nd,nd->n", users[query], items[item])
    return scores


def _join(first: Histories, second: Histories) -> Histories:
    rows = [np.union1d(first.row(q), second.row(q)).astype(np.int32) for q in range(len(first))]
    return Histories.of(rows)
