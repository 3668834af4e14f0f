"""From a history to a ranked list: gather candidates, score, rerank them, say why.

One path serves evaluation, batch lists and the online service. Sources propose; what they proposed
is ordered by reciprocal rank fusion, in which a ranker, where there is one, has a voice of its own;
then `avrec.rerank` fills the list.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from avrec.arrays import Idx, Mask, Scores
from avrec.candidates import Attempt, Candidates, Proposal, enough_works, gathered, given
from avrec.factors import Retriever
from avrec.fusion import fused, ranked, voice
from avrec.index import Lister
from avrec.index_ann import Searcher
from avrec.interactions import Histories
from avrec.likeness import Likeness
from avrec.models.features import Knowledge
from avrec.models.newcomers import Stated, Tastes
from avrec.models.ranker import Ranker
from avrec.reasons import POPULAR, Person, Reasons
from avrec.recommend_config import SOURCES, BatchConfig, RecommendConfig
from avrec.rerank import GREEDY, Picked, Pool, refreshed, rerank, seeded
from avrec.sources import (
    Modelled,
    Queries,
    Segmented,
    Source,
    creator_of,
    discovery,
    searched,
)
from avrec.stopwatch import Stopwatch
from avrec.vocab import Vocabulary

__all__ = ["SOURCES", "BatchConfig", "RecommendConfig"]

ALIKE = ("content", "als")
SIMILAR, FUSED, RANKED = "similar", "rank_fusion", "fusion_with_ranker"
"""Names of policies."""
NO_ROWS: Idx = np.empty(0, np.int32)


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What else is known of each query; a field that is given has one entry a query.

    `finished` are rows of the catalogue that a reason calls so; `stated` is what newcomers say to
    like, and `segments` which one they are of; `request_ids` seed the chance in a list, without
    which there is none.
    """

    finished: Histories | None = None
    stated: Sequence[Stated] = ()
    segments: Sequence[str | None] = ()
    request_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """One list, best first; all sequences have one entry an item.

    `scores` are those of the items by themselves, which reranking may put in another order;
    `propensities` are explained in `avrec.rerank`; `policy` names the way the list was made.
    """

    items: Idx
    scores: Scores
    propensities: Scores
    sources: list[tuple[str, ...]]
    reasons: list[str]
    policy: str


class Newcomers(NamedTuple):
    """What helps where no history is known: stated tastes, and what is popular by segment."""

    tastes: Tastes
    segmented: Segmented | None


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
        self.newcomers: Newcomers | None = None
        self.searchers: Mapping[str, Searcher] = {}
        self._sources: list[Source] = [Modelled(one, knowledge.playable) for one in retrievers]
        self._sources += discovery(self.config.sources, knowledge, self.config.fresh_days)
        self._creators = creator_of(knowledge)
        alike = [one for one in retrievers if not isinstance(one, Lister) and one.name in ALIKE]
        self._likeness = Likeness([one.items.vectors for one in alike])
        days, similar = self.config.fresh_days, self.config.min_similarity
        self._reasons = Reasons(titles, self._likeness, knowledge, similar, days)

    @property
    def policy(self) -> str:
        """Name of the way in which lists are made when there is time and a request to draw by."""
        names = self.config.rerank.names(reranked=True, drawn=True)
        return _policy(RANKED if self._judge else FUSED, names)

    @property
    def _judge(self) -> Ranker | None:
        """The ranker, where it has a voice."""
        return self.ranker if self.config.ranker_weight else None

    def welcoming(self, newcomers: Newcomers) -> Self:
        """Make one that has something for whom no history is known."""
        made = copy(self)
        made.newcomers = newcomers
        if newcomers.segmented is not None:
            made._sources = [*self._sources, newcomers.segmented]
        return made

    def searched_by(self, searchers: Mapping[str, Searcher]) -> Self:
        """Make one in which vectors of the models named are searched otherwise than by a scan."""
        made = copy(self)
        made.searchers, made._sources = searchers, searched(self._sources, searchers)
        return made

    def without_ranker(self) -> Self:
        """Make one that orders by fusion alone."""
        made = copy(self)
        made.ranker = None
        return made

    def recommend(
        self,
        histories: Histories,
        *,
        k: int,
        at: int,
        exclude: Histories | None = None,
        context: Context | None = None,
        attempt: Attempt | None = None,
    ) -> list[Ranked]:
        """Make one list of at most `k` items a query, without those of its history.

        When the attempt's time is up, whatever is popular is asked for still, and neither other
        sources, nor the ranker, nor reranking; `attempt.watch.degraded` names what is missing.

        Args:
            histories: what each query took to, catalogue rows.
            k: length of a list, at least 1.
            at: the moment of the request, UTC microseconds.
            exclude: further rows to leave out, one row of them a query.
            context: what else is known of each query.
            attempt: its time, and proposals, of which those that are there are not made again.
        """
        task = self._task(histories, k, at, context, attempt)
        return self._lists(task, self._found(task, exclude))

    def rank(
        self,
        histories: Histories,
        items: Histories,
        *,
        k: int,
        at: int,
        context: Context | None = None,
        attempt: Attempt | None = None,
    ) -> list[Ranked]:
        """Order candidates of the caller's choice, the best `k`; none is left out but for length.

        Sources place the candidates among themselves; those that only list say where they do.

        Args:
            histories: what each query took to, catalogue rows.
            items: catalogue rows to rank, one row of them a query, ascending.
            k: length of a list, at least 1.
            at: the moment of the request, UTC microseconds.
            context: what else is known of each query.
            attempt: its time, as in `recommend`.
        """
        task = self._task(histories, k, at, context, attempt)
        with task.watch.stage("retrieve"):
            queries = self._queries(task, Histories.of([NO_ROWS] * len(histories)))
            proposals = self._propose(task, queries, judged=True)
            candidates = given(proposals, items.query_of_item(), items.items)
        return self._lists(task, self._scored(task, candidates))

    def rows(self, histories: Histories, k: int, at: int, exclude: Histories | None = None) -> Idx:
        """Lists without chance, as catalogue rows only, shape (num_queries, k), padded with -1."""
        task = self._task(histories, k, at, None, None)
        scored = self._found(task, exclude)
        rows = np.full((len(histories), k), -1, np.int32)
        for query, picked in enumerate(self._picks(task, scored)[0]):
            rows[query, : len(picked.entries)] = scored.candidates.item[picked.entries]
        return rows

    def similar(self, item: int, k: int) -> Ranked:
        """List the items most like one: mean cosine over content and learned factors."""
        _require_k(k)
        total = self._likeness.to(item, len(self.items))
        total[self.knowledge.copies.group == self.knowledge.copies.group[item]] = -np.inf
        total[~self.knowledge.playable] = -np.inf
        order = np.lexsort((np.arange(len(total)), -total))
        order = order[total[order] > 0]
        _, first = np.unique(self.knowledge.copies.group[order], return_index=True)
        rows: Idx = order[np.sort(first)][:k].astype(np.int32)
        reason = f'Similar to "{self.titles[item]}"'
        sources: list[tuple[str, ...]] = [(SIMILAR,)] * len(rows)
        sure = np.full(len(rows), GREEDY, np.float32)
        return Ranked(rows, total[rows], sure, sources, [reason] * len(rows), SIMILAR)

    def _task(
        self,
        histories: Histories,
        k: int,
        at: int,
        context: Context | None,
        attempt: Attempt | None,
    ) -> "_Task":
        """Join what was taken to with what was stated."""
        _require_k(k)
        context, attempt = context or Context(), attempt or Attempt()
        liked = [self._rows(one.items) for one in context.stated] or [NO_ROWS] * len(histories)
        taste = histories
        if context.stated and self.newcomers is not None:
            taste = self.newcomers.tastes.histories(context.stated).then(histories)
        return _Task(histories, taste, Histories.of(liked), k, at, context, attempt)

    def _queries(self, task: "_Task", exclude: Histories) -> Queries:
        return Queries(
            histories=task.taste, exclude=exclude, at=task.at, segments=task.context.segments
        )

    def _found(self, task: "_Task", exclude: Histories | None) -> "_Scored":
        """Gather candidates and score them; of a work's copies the best is left."""
        copies = self.knowledge.copies
        with task.watch.stage("retrieve"):
            seen = task.histories if exclude is None else task.histories.union(exclude)
            seen = seen.union(task.liked) if len(task.liked.items) else seen
            proposals = self._propose(task, self._queries(task, copies.spread(seen)))
            candidates = gathered(
                proposals, copies, len(self.items), scored=self._judge is not None
            )
        scored = self._scored(task, candidates)
        if not copies.repeated[candidates.item].any():
            return scored
        return scored.where(copies.best(candidates.query, candidates.item, scored.scores))

    def _propose(
        self, task: "_Task", queries: Queries, *, judged: bool = False
    ) -> Sequence[Proposal]:
        """Ask each source that has not answered yet, while there is time."""
        made = {one.name for one in task.attempt.proposals}
        for source in self._sources:
            if source.name in made:
                continue
            if source.name == POPULAR or not task.watch.forgoes(source.name):
                with task.watch.stage(f"retrieve_{source.name}"):
                    proposal = self._proposal(source, queries, task.k, judged=judged)
                task.attempt.proposals.append(proposal)
        return task.attempt.proposals

    def _proposal(self, source: Source, queries: Queries, k: int, *, judged: bool) -> Proposal:
        asked = source.ask(queries)
        depth = min(max(self.config.candidates_per_source, k), len(self.items))
        if judged and asked.queries is not None:
            rows = np.empty((len(queries), 0), np.int32)
        else:
            rows = enough_works(asked.lists, len(queries), depth, self.knowledge.copies)
        return Proposal(source.name, rows, asked.queries, asked.items)

    def _scored(self, task: "_Task", candidates: Candidates) -> "_Scored":
        """Score each candidate; higher is better within its query.

        Reciprocal ranks of what the sources proposed, and of the ranker's order, are summed, and
        the new gain. The ranker has no voice for a query of whom nothing is known.
        """
        with task.watch.stage("score"):
            unknown, config = task.taste.lengths() == 0, self.config
            scores, name = fused(candidates, unknown, config.discovery_weight), FUSED
            judge = self._judge
            if judge is not None and not task.watch.forgoes("ranker"):
                place = ranked(candidates, task.taste, self.knowledge, judge, task.at)
                scores, name = scores + voice(place, config.ranker_weight), RANKED
            published = self.knowledge.published_at[candidates.item]
            scores = refreshed(scores, published, task.at, self.config.rerank)
        return _Scored(candidates, scores, name)

    def _picks(self, task: "_Task", scored: "_Scored") -> tuple[list[Picked], str]:
        """Choose each query's list among its candidates, and name the policy."""
        config, num = self.config.rerank, len(task.histories)
        with task.watch.stage("rerank"):
            reranked = config.orders and not task.watch.forgoes("rerank")
            bounds = np.searchsorted(scored.candidates.query, np.arange(num + 1)).tolist()
            spans = [slice(*both) for both in pairwise(bounds)]
            if reranked:
                ids: Sequence[str | None] = task.context.request_ids or [None] * num
                both = zip(spans, ids, strict=True)
                picked = [self._reranked(scored, span, task.k, one) for span, one in both]
            else:
                picked = _best(scored, spans, task.k)
        drawn = reranked and bool(task.context.request_ids)
        return picked, _policy(scored.policy, config.names(reranked=reranked, drawn=drawn))

    def _reranked(self, scored: "_Scored", span: slice, k: int, request_id: str | None) -> Picked:
        rng = None if request_id is None else seeded(request_id)
        items = scored.candidates.item[span]
        vectors = self._likeness.vectors(items)
        pool = Pool(scored.scores[span], vectors, self._creators[items])
        picked = rerank(pool, k, self.config.rerank, rng)
        return Picked(picked.entries + span.start, picked.propensities)

    def _lists(self, task: "_Task", scored: "_Scored") -> list[Ranked]:
        picks, policy = self._picks(task, scored)
        with task.watch.stage("explain"):
            return [
                self._list(self._person(task, query), scored, picked, policy)
                for query, picked in enumerate(picks)
            ]

    def _list(self, person: Person, scored: "_Scored", picked: Picked, policy: str) -> Ranked:
        items = scored.candidates.item[picked.entries]
        sources = scored.candidates.sources(picked.entries)
        reasons = self._reasons.of(person, items, sources)
        scores = scored.scores[picked.entries]
        return Ranked(items, scores, picked.propensities, sources, reasons, policy)

    def _person(self, task: "_Task", query: int) -> Person:
        context, past, liked = task.context, task.histories.row(query), task.liked.row(query)
        return Person(
            history=np.concatenate([past, liked]) if len(liked) else past,
            finished=NO_ROWS if context.finished is None else context.finished.row(query),
            liked=liked,
            stated=context.stated[query] if context.stated else Stated(),
            segment=context.segments[query] if context.segments else None,
            at=task.at,
        )

    def _rows(self, item_ids: Sequence[str]) -> Idx:
        rows = self.items.idx(list(item_ids))
        return rows[rows >= 0]


class _Task(NamedTuple):
    """One call: `taste` is the histories with what was stated, of which `liked` are the items."""

    histories: Histories
    taste: Histories
    liked: Histories
    k: int
    at: int
    context: Context
    attempt: Attempt

    @property
    def watch(self) -> Stopwatch:
        return self.attempt.watch


class _Scored(NamedTuple):
    """Candidates, their scores, and what gave these."""

    candidates: Candidates
    scores: Scores
    policy: str

    def where(self, kept: Mask) -> "_Scored":
        return _Scored(self.candidates.where(kept), self.scores[kept], self.policy)


def _best(scored: _Scored, spans: Sequence[slice], k: int) -> list[Picked]:
    """The best of each query, ties by item."""
    order = np.lexsort((-scored.scores, scored.candidates.query)).astype(np.int32)
    first = [order[span][:k] for span in spans]
    return [Picked(entries, np.full(len(entries), GREEDY, np.float32)) for entries in first]


def _policy(scored: str, reranked: Sequence[str]) -> str:
    return "+".join([scored, *reranked])


def _require_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
