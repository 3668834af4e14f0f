"""Where candidates come from, each source as one way to ask for lists of any length.

models          by nearest vectors, or as a model without vectors lists (`Modelled`)
fresh           what came out lately, first what is tagged like the history (`Fresh`)
creators        more by the creators of the history, in proportion to how much of it is theirs
                (`Followed`)
by segment      for whom nothing else is known: what is popular with people of the same language
                (`Segmented`)
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Vectors
from avrec.factors import Retriever
from avrec.index import Lister, Scan
from avrec.index_ann import Searcher
from avrec.interactions import Histories
from avrec.models.knowledge import Knowledge
from avrec.models.newcomers import BySegment
from avrec.vocab import Vocabulary

FRESH, CREATORS, SEGMENT = "fresh", "creators", "popularity_by_segment"
DISCOVERY = (FRESH, CREATORS)
"""Sources that need no model."""
DAY = 86_400_000_000
MAX_FRESH = 500
"""Newest items that are looked at for one list."""
MAX_CREATORS = 20
"""Creators of a history that are followed, those with the most of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queries:
    """What is asked for, one row of each a query.

    `exclude` holds the catalogue rows to leave out; `at` is the moment, UTC microseconds;
    `segments`, where given, names the segment of each, None where it is not known.
    """

    histories: Histories
    exclude: Histories
    at: int
    segments: Sequence[str | None] = field(default=())

    def __len__(self) -> int:
        return len(self.histories)


Lists = Callable[[Idx, int], Idx]
"""From rows of the queries and a depth k to catalogue rows, shape (len(rows), k), -1 padded."""


class Asked(NamedTuple):
    """A source's answer: how to get lists, and the vectors behind them, where there are some."""

    lists: Lists
    queries: Vectors | None = None
    items: Vectors | None = None


class Source(Protocol):
    """Whatever proposes."""

    @property
    def name(self) -> str:
        """Short name, the same in tables, answers and metrics."""
        ...

    def ask(self, queries: Queries) -> Asked:
        """Prepare the lists of these queries."""
        ...


class Modelled:
    """What a trained model lists, of what can be played."""

    def __init__(self, model: Retriever | Lister, playable: Mask) -> None:
        self.name, self._playable = model.name, playable
        self._model: Retriever | None = None
        self._lister: Lister | None = None
        self._searcher: Searcher | None = None
        if isinstance(model, Lister):
            self._lister = model
        else:
            self._model = model
            self._searcher = Scan(model.items.vectors, model.items.known() & playable)

    def searched_by(self, searcher: Searcher) -> Self:
        """Make one whose vectors are searched otherwise than by a scan."""
        made = copy(self)
        made._searcher = searcher
        return made

    def ask(self, queries: Queries) -> Asked:
        """See `Source`."""
        model = self._model
        if self._lister is not None:
            return Asked(_listing(self._lister, queries, self._playable))
        assert model is not None
        assert self._searcher is not None
        vectors = model.user_vectors(queries.histories.asked(queries.at))
        found = _nearest(vectors, self._searcher, queries.exclude)
        return Asked(found, vectors, model.items.vectors)


def searched(sources: Sequence[Source], searchers: Mapping[str, Searcher]) -> list[Source]:
    """Let the models that `searchers` names be searched by these."""
    return [
        one.searched_by(searchers[one.name])
        if isinstance(one, Modelled) and one.name in searchers
        else one
        for one in sources
    ]


class Segmented:
    """What is popular in the segment of a query without a history."""

    name = SEGMENT

    def __init__(self, model: BySegment, playable: Mask) -> None:
        self.model, self._scan = model, Scan(model.items.vectors, playable)

    def ask(self, queries: Queries) -> Asked:
        """See `Source`; whose segment is not known gets none."""
        told = list(queries.segments) or [None] * len(queries)
        known = self.model.segments.idx(pa.array(told, pa.string())) >= 0
        vectors = self.model.vectors_of(told)
        vectors[~known | (queries.histories.lengths() > 0)] = 0
        found = _nearest(vectors, self._scan, queries.exclude)
        return Asked(found, vectors, self.model.items.vectors)


class Fresh:
    """What was published in the last days before the request, newest first.

    For a history with tags those come first whose tags are held by more of it.
    """

    name = FRESH

    def __init__(self, knowledge: Knowledge, days: float) -> None:
        can = np.flatnonzero(knowledge.playable & (knowledge.published_at >= 0))
        order = np.argsort(knowledge.published_at[can], kind="stable")
        self._items: Idx = can[order].astype(np.int32)
        self._times = knowledge.published_at[self._items]
        self._knowledge, self._span = knowledge, int(days * DAY)

    def ask(self, queries: Queries) -> Asked:
        """See `Source`."""
        first, last = np.searchsorted(self._times, (queries.at - self._span, queries.at), "right")
        pool = self._items[max(first, last - MAX_FRESH) : last][::-1]
        held = self._knowledge.tags.of(pool)
        counts = np.bincount(held.owner, minlength=len(pool))

        def affinity(history: Idx) -> Array:
            tags = self._knowledge.tags
            shares = np.bincount(tags.of(history).codes, minlength=tags.num_codes)
            return np.bincount(held.owner, shares[held.codes], len(pool)) / np.maximum(counts, 1)

        def lists(rows: Idx, k: int) -> Idx:
            found = np.full((len(rows), k), -1, np.int32)
            for place, query in enumerate(rows):
                order = np.argsort(-affinity(queries.histories.row(query)), kind="stable")
                _fill(found[place], pool[order], queries.exclude.row(query), self._knowledge)
            return found

        return Asked(lists)


class Followed:
    """Items by the creators of a history, the better known ones of each first.

    Places are shared among creators in proportion to the history's weights (d'Hondt's method).
    """

    name = CREATORS

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge, self._creator = knowledge, creator_of(knowledge)
        has = np.flatnonzero(self._creator >= 0)
        self._members = has[np.lexsort((has, -knowledge.counts[has], self._creator[has]))]
        sizes = np.bincount(self._creator[has], minlength=knowledge.creators.num_codes)
        self._bounds = np.concatenate(([0], np.cumsum(sizes)))

    def ask(self, queries: Queries) -> Asked:
        """See `Source`; a history without creators gets none."""

        def lists(rows: Idx, k: int) -> Idx:
            found = np.full((len(rows), k), -1, np.int32)
            for place, query in enumerate(rows):
                barred = queries.exclude.row(query)
                items = self._by_share(queries.histories, int(query), k + len(barred))
                _fill(found[place], items, barred, self._knowledge)
            return found

        return Asked(lists)

    def _by_share(self, histories: Histories, query: int, depth: int) -> Idx:
        span = slice(histories.offsets[query], histories.offsets[query + 1])
        creators, weights = self._creator[histories.items[span]], histories.weights[span]
        mine = np.bincount(creators[creators >= 0], weights[creators >= 0])
        liked = np.argsort(-mine, kind="stable")[:MAX_CREATORS]
        items, shares = [np.empty(0, np.int64)], [np.empty(0)]
        for creator in liked[mine[liked] > 0]:
            theirs = self._members[self._bounds[creator] : self._bounds[creator + 1]][:depth]
            items.append(theirs)
            shares.append(mine[creator] / np.arange(1, len(theirs) + 1))
        order = np.argsort(-np.concatenate(shares), kind="stable")
        return np.concatenate(items)[order].astype(np.int32)


def discovery(names: Sequence[str], knowledge: Knowledge, fresh_days: float) -> list[Source]:
    """Make those of the sources without a model that are named."""
    made: list[Source] = []
    if FRESH in names:
        made.append(Fresh(knowledge, fresh_days))
    if CREATORS in names:
        made.append(Followed(knowledge))
    return made


def creator_of(knowledge: Knowledge) -> Idx:
    """Code of each item's creator, -1 for none."""
    offsets, codes = knowledge.creators.offsets, knowledge.creators.codes
    creators = np.full(len(offsets) - 1, -1, np.int32)
    has = np.diff(offsets) > 0
    creators[has] = codes[offsets[:-1][has]]
    return creators


def languages_of_users(items: pa.Table, interactions: pa.Table) -> dict[str, str]:
    """Name for each user the language of most items that they took to, ties by its name.

    Args:
        items: ITEMS.
        interactions: INTERACTIONS; a user of whom no language is known is left out.
    """
    ids = items["item_id"].combine_chunks()
    language = items["language"].take(pc.index_in(interactions["item_id"], value_set=ids))
    pairs = pa.table({"user_id": interactions["user_id"], "language": language}).drop_null()
    counts = pairs.group_by(["user_id", "language"]).aggregate([([], "count_all")])
    ordered = counts.sort_by([("count_all", "ascending"), ("language", "descending")])
    return dict(zip(*(ordered[name].to_pylist() for name in ("user_id", "language")), strict=True))


def segmented(
    items: pa.Table, interactions: pa.Table, vocabulary: Vocabulary, playable: Mask
) -> Segmented | None:
    """Count what is popular by language; None where the catalogue names none."""
    segments = languages_of_users(items, interactions)
    if not segments:
        return None
    return Segmented(BySegment(vocabulary, interactions, segments), playable)


def _fill(row: Idx, items: Idx, barred: Idx, knowledge: Knowledge) -> None:
    """Write into `row` the first of `items` that may be shown."""
    open_ = knowledge.playable.copy()
    open_[barred] = False
    shown = items[open_[items]][: len(row)]
    row[: len(shown)] = shown


def _nearest(vectors: Vectors, searcher: Searcher, exclude: Histories) -> Lists:
    def lists(rows: Idx, k: int) -> Idx:
        found = np.full((len(rows), k), -1, np.int32)
        told = np.flatnonzero(vectors[rows].any(axis=1))
        asked = rows[told]
        if len(asked) and k:
            barred = exclude if len(asked) == len(exclude) else exclude.take(asked)
            found[told] = searcher.top_k(vectors[asked], k, barred).idx
        return found

    return lists


def _listing(lister: Lister, queries: Queries, playable: Mask) -> Lists:
    def lists(rows: Idx, k: int) -> Idx:
        if not k:
            return np.empty((len(rows), 0), np.int32)
        histories, exclude = queries.histories.take(rows), queries.exclude.take(rows)
        found = lister.lists(histories, k, exclude).idx
        return np.where(playable[found], found, np.int32(-1))

    return lists
