"""The service without its wire: one person's history as of now, and the list made from it.

A person is what the bundle knows of them, then what they did since (live events, read at each
request, so a posted event shows in the very next list), then the session that the request brings.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx, Micros, Weights
from avrec.interactions import Histories
from avrec.schema import RECOMMENDATIONS
from avrec.serving.state import UserState

if TYPE_CHECKING:
    from avrec.bundle import Bundle
    from avrec.recommend import Ranked

UNWANTED = ("skip", "dislike", "hide")
"""Kinds of event after which an item is not shown to that person again."""
GREEDY = 1.0
"""Propensity of every item of a list that is not drawn at random."""


class Taken(NamedTuple):
    """What live events say: INTERACTIONS, and the item ids never to show again."""

    interactions: pa.Table
    finished: pa.ChunkedArray


class Person(NamedTuple):
    """A request's history and the rows to leave out, one row of `Histories` each."""

    history: Histories
    exclude: Histories


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """One request for a list."""

    request_id: str
    k: int
    at: datetime
    user_id: str | None = None
    session: Sequence[str] = ()
    exclude: Sequence[str] = ()


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds by stage, in the order of the stages."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        self.milliseconds[name] = 1000 * (time.perf_counter() - start)


class Service:
    """Makes lists and takes events in, over one bundle.

    Args:
        bundle: catalogue, recommender and histories.
        state: live events and served lists.
        interpret: says what the live EVENTS of one user mean.
    """

    def __init__(
        self, bundle: "Bundle", state: UserState, interpret: Callable[[pa.Table], Taken]
    ) -> None:
        self.bundle, self.state = bundle, state
        self._interpret = interpret
        self._titles: list[str] = bundle.items["title"].to_pylist()
        self._ids: list[str] = bundle.items["item_id"].to_pylist()
        self._rows = {item_id: row for row, item_id in enumerate(self._ids)}

    def row(self, item_id: str) -> int:
        """Catalogue row of an item, -1 if unknown."""
        return self._rows.get(item_id, -1)

    def item_id(self, row: int) -> str:
        """Id of a catalogue row."""
        return self._ids[row]

    def title(self, row: int) -> str:
        """Title of a catalogue row."""
        return self._titles[row]

    def unknown(self, item_ids: Sequence[str]) -> list[str]:
        """Ids among `item_ids` that the catalogue lacks."""
        return [item_id for item_id in item_ids if item_id not in self._rows]

    def recommend(self, wish: Wish, watch: Stopwatch) -> "Ranked":
        """Make the list that `wish` asks for; a person of whom nothing is known gets the popular.

        Raises:
            StateError: the live events cannot be read.
        """
        with watch.stage("history"):
            person = self.person(wish)
        with watch.stage("recommend"):
            at = int(wish.at.timestamp() * 1_000_000)
            [ranked] = self.bundle.recommender.recommend(
                person.history, k=wish.k, at=at, exclude=person.exclude
            )
        return ranked

    def similar(self, row: int, k: int, watch: Stopwatch) -> "Ranked":
        """List the items most like one."""
        with watch.stage("similar"):
            return self.bundle.recommender.similar(row, k)

    def log(self, wish: Wish, ranked: "Ranked", watch: Stopwatch) -> None:
        """Store a list as it was shown.

        Raises:
            StateError: it cannot be stored.
        """
        with watch.stage("log"):
            self.state.log_served(self._served(wish, ranked))

    def person(self, wish: Wish) -> Person:
        """Join what is known of a person, as of this request."""
        history, seen = self._base(wish.user_id)
        unwanted: Idx = np.empty(0, np.int32)
        if wish.user_id is not None:
            events, forgotten_at = self.state.live(wish.user_id)
            if forgotten_at is not None:
                history, seen = _since(history, seen, forgotten_at)
            if len(events):
                taken = self._interpret(events)
                unwanted = self._unwanted(events)
                seen = np.concatenate([seen, unwanted, self._known(taken.finished)])
                history = _merge(history, _Row.of(self, taken.interactions))
        session = self._known(pa.array(wish.session, pa.string()))
        history = _merge(history, _Row.now(session, wish.at)).without(unwanted)
        leave_out = np.concatenate([seen, self._known(pa.array(wish.exclude, pa.string()))])
        return Person(history.histories(), Histories.of([np.unique(leave_out)]))

    def _base(self, user_id: str | None) -> tuple["_Row", Idx]:
        user = -1 if user_id is None else int(self.bundle.users.users.idx([user_id])[0])
        if user < 0:
            return _Row.now(np.empty(0, np.int32), datetime.now(UTC)), np.empty(0, np.int32)
        past = self.bundle.users.histories
        span = slice(past.offsets[user], past.offsets[user + 1])
        row = _Row(past.items[span], past.weights[span], past.at[span])
        return row, self.bundle.seen.row(user)

    def _unwanted(self, events: pa.Table) -> Idx:
        """Items whose last telling event was a refusal."""
        telling = events.filter(pc.not_equal(events["kind"], "impression"))
        last = dict(zip(telling["item_id"].to_pylist(), telling["kind"].to_pylist(), strict=True))
        return self._known(pa.array([i for i, kind in last.items() if kind in UNWANTED]))

    def _known(self, item_ids: pa.ChunkedArray | pa.Array) -> Idx:
        rows = [self._rows.get(item_id, -1) for item_id in item_ids.to_pylist()]
        return np.array([row for row in rows if row >= 0], np.int32)

    def _served(self, wish: Wish, ranked: "Ranked") -> pa.Table:
        count = len(ranked.items)
        columns = {
            "request_id": [wish.request_id] * count,
            "user_id": [wish.user_id or ""] * count,
            "item_id": [self._ids[row] for row in ranked.items],
            "rank": list(range(1, count + 1)),
            "score": ranked.scores,
            "propensity": [GREEDY] * count,
            "policy": [self.bundle.recommender.policy] * count,
            "model": [self.bundle.version] * count,
            "at": [wish.at] * count,
            "reason": ranked.reasons,
        }
        return pa.table(columns, schema=RECOMMENDATIONS)


class _Row(NamedTuple):
    """One person's history, oldest first, each item once."""

    items: Idx
    weights: Weights
    at: Micros

    @classmethod
    def of(cls, service: Service, interactions: pa.Table) -> "_Row":
        rows = [service.row(item_id) for item_id in interactions["item_id"].to_pylist()]
        items = np.array(rows, np.int32)
        at = interactions["at"].cast(pa.int64()).to_numpy()
        known = items >= 0
        return cls(items[known], interactions["weight"].to_numpy()[known], at[known])

    @classmethod
    def now(cls, items: Idx, at: datetime) -> "_Row":
        moment = int(at.timestamp() * 1_000_000)
        times = np.arange(moment, moment + len(items), dtype=np.int64)
        return cls(items, np.ones(len(items), np.float32), times)

    def without(self, unwanted: Idx) -> "_Row":
        keep = ~np.isin(self.items, unwanted)
        return _Row(self.items[keep], self.weights[keep], self.at[keep])

    def histories(self) -> Histories:
        offsets = np.array([0, len(self.items)], np.int64)
        return Histories(offsets, self.items, self.weights.astype(np.float32), self.at)


def _since(history: _Row, seen: Idx, forgotten_at: datetime) -> tuple[_Row, Idx]:
    """Leave out what a bundle may not say any more of a forgotten user.

    What is seen has no times, so it goes too, unless the bundle was made without their past.
    """
    later = history.at > int(forgotten_at.timestamp() * 1_000_000)
    left = _Row(history.items[later], history.weights[later], history.at[later])
    return left, seen if later.any() and later.all() else np.empty(0, np.int32)


def _merge(first: _Row, second: _Row) -> _Row:
    """Join two histories; an item of both keeps its greater weight and its earlier time.

    So events that a later bundle was trained on change nothing when they are still in the state.
    """
    items, inverse = np.unique(np.concatenate([first.items, second.items]), return_inverse=True)
    weights = np.zeros(len(items), np.float32)
    np.maximum.at(weights, inverse, np.concatenate([first.weights, second.weights]))
    at = np.full(len(items), np.iinfo(np.int64).max)
    np.minimum.at(at, inverse, np.concatenate([first.at, second.at]))
    order = np.lexsort((items, at))
    return _Row(items[order].astype(np.int32), weights[order], at[order])
