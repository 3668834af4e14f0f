"""A bundle over a catalogue that has changed since it was made, without training anything.

Rows are numbered anew, for a catalogue is sorted by item_id. What was learned of an item goes with
it; an item that is new has the vectors that its content gives, by the maps that the bundle holds
(`avrec.models.cold`); one that is gone is in nothing any more, histories included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Values, Vectors
from avrec.bundle import Bundle, catalogue
from avrec.copies import Copies
from avrec.embed.pool import Content
from avrec.factors import Factors, Retriever
from avrec.index import Lister, Scan, TopK
from avrec.index_ann import Searcher
from avrec.interactions import Histories, UserHistories
from avrec.models.content import ContentProfile
from avrec.models.knowledge import Knowledge, attribute, log_popularity, published_at
from avrec.models.newcomers import Tastes
from avrec.models.popularity import Popularity
from avrec.recommend import Newcomers, Recommender
from avrec.schema import ITEMS, conform
from avrec.sources import Segmented
from avrec.vocab import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What became of a catalogue.

    `items` are ITEMS put, each once, over what there was under their ids. All else has one row, or
    entry, an item put: `vectors` by encoder (name@revision) the mean over its segments, zeros where
    it saw nothing; `duration_seconds`, NaN where unknown; `playable`, 1 or 0, or -1 for as it was,
    which is yes for what is new.
    """

    items: pa.Table
    vectors: Mapping[str, Vectors]
    duration_seconds: Values
    playable: Idx
    gone: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """From the rows of one catalogue to those of another; -1 is an item that only one has."""

    old_of_new: Idx
    new_of_old: Idx

    @classmethod
    def between(cls, old: Vocabulary, new: Vocabulary) -> "Move":
        """Find every item's rows in both."""
        return cls(old.idx(new.ids), new.idx(old.ids))

    def rows(self, values: Array, fill: Any) -> Any:
        """Values by row, in the new order; `fill` stands for what is new."""
        shape = (len(self.old_of_new), *values.shape[1:])
        moved = np.full(shape, fill, values.dtype)
        kept = self.old_of_new >= 0
        moved[kept] = values[self.old_of_new[kept]]
        return moved

    def histories(self, old: Histories) -> Histories:
        """Histories in new rows, without what is gone."""
        return _renumbered(old, self.new_of_old)

    def back(self, new: Histories) -> Histories:
        """Histories in old rows, without what is new."""
        return _renumbered(new, self.old_of_new)


@dataclass(frozen=True, slots=True)
class Moved:
    """A trained model over a catalogue that has changed; of histories it reads what it knows."""

    name: str
    items: Factors
    model: Retriever
    move: Move

    def user_vectors(self, histories: Histories) -> Vectors:
        """See `Retriever`."""
        return self.model.user_vectors(self.move.back(histories))


@dataclass(frozen=True, slots=True)
class MovedLister:
    """A model without vectors over a catalogue that has changed; it lists what it knows."""

    name: str
    model: Lister
    move: Move

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """See `Lister`."""
        gone = np.flatnonzero(self.move.new_of_old < 0).astype(np.int32)
        rows = exclude or Histories.of([np.empty(0, np.int32)] * len(histories))
        barred = [np.append(row, gone) for row in map(self.move.back(rows).row, range(len(rows)))]
        found = self.model.lists(self.move.back(histories), k, Histories.of(barred))
        return TopK(_named(found.idx, self.move.new_of_old), found.scores)


class MovedSearcher:
    """An index over a catalogue that has changed: what it knows still, and a scan of the rest.

    Args:
        old: over the catalogue as it was.
        move: from there to the catalogue as it is.
        vectors: of that, shape (num_items, dim).
        rows: those that are new, or have another vector than `old` has.
        known: which may be listed.
    """

    def __init__(self, old: Searcher, move: Move, vectors: Vectors, rows: Idx, known: Mask) -> None:
        self.way = f"{old.way}, and a scan of {len(rows)} new"
        self._old, self._move, self._rows = old, move, np.sort(rows)
        self._place = np.full(len(vectors), -1, np.int32)
        self._place[self._rows] = np.arange(len(rows), dtype=np.int32)
        self._scan = Scan(vectors[self._rows], known[self._rows])
        listable = move.new_of_old >= 0
        listable[listable] = known[move.new_of_old[listable]]
        listable[move.old_of_new[rows][move.old_of_new[rows] >= 0]] = False
        self._barred = np.flatnonzero(~listable).astype(np.int32)

    def top_k(self, queries: Vectors, k: int, exclude: Histories | None = None) -> TopK:
        """See `Searcher`."""
        barred = exclude or Histories.of([np.empty(0, np.int32)] * len(queries))
        of_old, of_new = self._move.back(barred), _renumbered(barred, self._place)
        every = Histories.of([self._barred] * len(queries)).union(of_old)
        known, new = self._old.top_k(queries, k, every), self._scan.top_k(queries, k, of_new)
        idx = np.concatenate(
            [_named(known.idx, self._move.new_of_old), _named(new.idx, self._rows)], axis=1
        )
        scores = np.concatenate([known.scores, new.scores], axis=1)
        order = np.lexsort((idx, -scores), axis=1)[:, :k]
        return TopK(*(np.take_along_axis(one, order, axis=1) for one in (idx, scores)))


def grow(bundle: Bundle, changes: Changes) -> Bundle:
    """Make a bundle over the catalogue as it is now; the given one stays as it is."""
    put = conform(changes.items, ITEMS)
    over = [*put["item_id"].to_pylist(), *changes.gone]
    ids = bundle.items["item_id"]
    kept = bundle.items.filter(pc.invert(pc.is_in(ids, value_set=pa.array(over, pa.string()))))
    items, vocabulary = catalogue(pa.concat_tables([kept, put]))
    move = Move.between(bundle.vocabulary, vocabulary)
    rows = vocabulary.idx(put["item_id"])
    content = _content(bundle.content, vocabulary, move, rows, changes.vectors)
    known = _knowledge(bundle.recommender.knowledge, items, move)
    _put(known, rows, changes, content)
    made = _recommender(bundle, items, content, known, move)
    return replace(
        bundle,
        items=items,
        vocabulary=vocabulary,
        recommender=made.searched_by(_searchers(bundle.recommender, made, move, rows)),
        users=UserHistories(bundle.users.users, move.histories(bundle.users.histories)),
        seen=move.histories(bundle.seen),
        durations_seconds=known.duration_seconds,
        content=content,
    )


def _named(found: Idx, place: Idx) -> Idx:
    """Rows by another numbering; -1 stays."""
    return np.where(found >= 0, place[found] if len(place) else found, np.int32(-1))


def _renumbered(rows: Histories, place: Idx) -> Histories:
    moved = replace(rows, items=place[rows.items])
    return moved.only(moved.items >= 0)


def _content(
    old: Content | None,
    vocabulary: Vocabulary,
    move: Move,
    rows: Idx,
    vectors: Mapping[str, Vectors],
) -> Content | None:
    if old is None:
        return None
    modalities = {name: move.rows(found, 0) for name, found in old.modalities.items()}
    for name in modalities.keys() & vectors.keys() & old.scales.keys():
        seen = vectors[name].any(axis=1)
        modalities[name][rows[seen]] = old.scales[name].standardised(vectors[name][seen])
    return Content(vocabulary, modalities, old.scales)


def _knowledge(old: Knowledge, items: pa.Table, move: Move) -> Knowledge:
    counts = move.rows(old.counts, 0)
    alone = np.arange(len(move.old_of_new), dtype=np.int64) + len(move.new_of_old)
    work = np.where(move.old_of_new >= 0, old.copies.group[move.old_of_new], alone)
    _, first, place = np.unique(work, return_index=True, return_inverse=True)
    return Knowledge(
        counts=counts,
        log_popularity=log_popularity(counts),
        published_at=published_at(items),
        duration_seconds=move.rows(old.duration_seconds, np.nan),
        content=move.rows(old.content, 0),
        playable=move.rows(old.playable, fill=True),
        creators=attribute(items["creator_id"]),
        languages=attribute(items["language"]),
        tags=attribute(items["tags"]),
        copies=Copies.of(first[place].astype(np.int32)),
    )


def _put(known: Knowledge, rows: Idx, changes: Changes, content: Content | None) -> None:
    """Write what is said of the items put into the fresh arrays of `known`."""
    seconds, playable = known.duration_seconds, known.playable
    told = np.isfinite(changes.duration_seconds)
    seconds[rows[told]] = changes.duration_seconds[told]
    sure = changes.playable >= 0
    playable[rows[sure]] = changes.playable[sure] > 0
    if content is not None:
        ordered = np.sort(rows)
        known.content[ordered] = content.of(ordered).joined()


def _recommender(
    bundle: Bundle, items: pa.Table, content: Content | None, known: Knowledge, move: Move
) -> Recommender:
    old, vocabulary = bundle.recommender, Vocabulary.of(items["item_id"])
    retrievers: list[Retriever | Lister] = []
    for model in old.retrievers:
        if isinstance(model, ContentProfile):
            retrievers.append(model.over(Factors(vocabulary, known.content)))
        elif isinstance(model, Popularity):
            factors = Factors(vocabulary, move.rows(model.items.vectors, 1))
            retrievers.append(Popularity(model.name, factors))
        elif isinstance(model, Lister):
            retrievers.append(MovedLister(model.name, model, move))
        else:
            vectors = move.rows(model.items.vectors, 0)
            if content is not None and model.name in bundle.maps:
                new = np.flatnonzero(move.old_of_new < 0).astype(np.int32)
                seen = bundle.maps[model.name].content(content, items, known.duration_seconds)
                vectors[new] = bundle.maps[model.name].map.vectors(seen.of(new).joined())
            retrievers.append(Moved(model.name, Factors(vocabulary, vectors), model, move))
    titles = items["title"].to_pylist()
    made = Recommender(vocabulary, titles, retrievers, known, old.ranker, old.config)
    if old.newcomers is None:
        return made
    segmented = _segmented(old.newcomers.segmented, vocabulary, known, move)
    return made.welcoming(Newcomers(Tastes(items, known.counts), segmented))


def _searchers(old: Recommender, new: Recommender, move: Move, rows: Idx) -> dict[str, Searcher]:
    """Indexes of the models that had one; of content, an item that was put has another vector."""
    made: dict[str, Searcher] = {}
    for model in new.retrievers:
        if isinstance(model, Lister) or model.name not in old.searchers:
            continue
        changed = rows if isinstance(model, ContentProfile) else rows[move.old_of_new[rows] < 0]
        known = model.items.known() & new.knowledge.playable
        searcher, vectors = old.searchers[model.name], model.items.vectors
        made[model.name] = MovedSearcher(searcher, move, vectors, changed, known)
    return made


def _segmented(
    old: Segmented | None, vocabulary: Vocabulary, known: Knowledge, move: Move
) -> Segmented | None:
    if old is None:
        return None
    shares = Factors(vocabulary, move.rows(old.model.items.vectors, 0))
    return Segmented(old.model.over(shares), known.playable)
