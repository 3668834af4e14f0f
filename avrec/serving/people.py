"""One person as of a request: what the bundle knows, what they did since, the session they are in.

An item counts once, with its greater weight and its earlier time, so events that a later bundle
was trained on change nothing when they are still in the state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx, Micros, Weights
from avrec.interactions import Histories
from avrec.models.newcomers import Stated
from avrec.serving.state import Live

if TYPE_CHECKING:
    from avrec.bundle import Bundle

UNWANTED = ("skip", "dislike", "hide")
"""Kinds of event after which an item is not shown to that person again."""
Barred = Literal["finished", "refused", "unplayable"]
"""Why a candidate may not be listed."""
NO_ROWS: Idx = np.empty(0, np.int32)


class Taken(NamedTuple):
    """What live events say: INTERACTIONS, and the item ids never to show again."""

    interactions: pa.Table
    finished: pa.ChunkedArray


class Person(NamedTuple):
    """A request's history, one row of it, and the rows to leave out: finished, refused, named."""

    history: Histories
    finished: Idx
    refused: Idx
    excluded: Idx

    @property
    def exclude(self) -> Histories:
        """All that is left out, as one row."""
        return Histories.of([np.unique(np.concatenate(self[1:]))])


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """One request for a list."""

    request_id: str
    k: int
    at: datetime
    user_id: str | None = None
    session: Sequence[str] = ()
    exclude: Sequence[str] = ()
    stated: Stated = field(default_factory=Stated)
    language: str | None = None


class People:
    """Tells who asks.

    Args:
        bundle: histories, and what is finished.
        rows: catalogue row of each item id.
        interpret: says what the live EVENTS of one user mean.
    """

    def __init__(
        self, bundle: "Bundle", rows: Mapping[str, int], interpret: Callable[[pa.Table], Taken]
    ) -> None:
        self._bundle, self._rows, self._interpret = bundle, rows, interpret

    def person(self, wish: Wish, live: Live | None) -> Person:
        """Join what is known, as of this request; `live` is None where nobody could tell."""
        history, finished = self._past(wish.user_id)
        refused = NO_ROWS
        if live is not None and live.forgotten_at is not None:
            history, finished = _since(history, finished, live.forgotten_at)
        if live is not None and len(live.events):
            taken = self._interpret(live.events)
            refused = self._unwanted(live.events)
            finished = np.concatenate([finished, self._known(taken.finished.to_pylist())])
            history = _merge(history, self._row_of(taken.interactions))
        session = _Row.now(self._known(wish.session), wish.at)
        history = _merge(history, session).without(refused)
        return Person(history.histories(), finished, refused, self._known(wish.exclude))

    def _past(self, user_id: str | None) -> tuple["_Row", Idx]:
        users = self._bundle.users
        user = -1 if user_id is None else int(users.users.idx([user_id])[0])
        if user < 0:
            return _Row.now(NO_ROWS, datetime.now(UTC)), NO_ROWS
        past = users.histories
        span = slice(past.offsets[user], past.offsets[user + 1])
        row = _Row(past.items[span], past.weights[span], past.at[span])
        return row, self._bundle.seen.row(user)

    def _unwanted(self, events: pa.Table) -> Idx:
        """Items whose last telling event was a refusal."""
        telling = events.filter(pc.not_equal(events["kind"], "impression"))
        last = dict(zip(telling["item_id"].to_pylist(), telling["kind"].to_pylist(), strict=True))
        return self._known([item_id for item_id, kind in last.items() if kind in UNWANTED])

    def _known(self, item_ids: Sequence[str]) -> Idx:
        rows = [self._rows.get(item_id, -1) for item_id in item_ids]
        return np.array([row for row in rows if row >= 0], np.int32)

    def _row_of(self, interactions: pa.Table) -> "_Row":
        rows = [self._rows.get(item_id, -1) for item_id in interactions["item_id"].to_pylist()]
        items = np.array(rows, np.int32)
        at = interactions["at"].cast(pa.int64()).to_numpy()
        known = items >= 0
        return _Row(items[known], interactions["weight"].to_numpy()[known], at[known])


class _Row(NamedTuple):
    """One person's history, oldest first, each item once."""

    items: Idx
    weights: Weights
    at: Micros

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


def _since(history: _Row, finished: Idx, forgotten_at: datetime) -> tuple[_Row, Idx]:
    """Leave out what a bundle may not say any more of a forgotten user.

    What is finished has no times, so it goes too, unless the bundle was made without their past.
    """
    later = history.at > int(forgotten_at.timestamp() * 1_000_000)
    left = _Row(history.items[later], history.weights[later], history.at[later])
    return left, finished if later.any() and later.all() else NO_ROWS


def _merge(first: _Row, second: _Row) -> _Row:
    """Join two histories; an item of both keeps its greater weight and its earlier time."""
    items, inverse = np.unique(np.concatenate([first.items, second.items]), return_inverse=True)
    weights = np.zeros(len(items), np.float32)
    np.maximum.at(weights, inverse, np.concatenate([first.weights, second.weights]))
    at = np.full(len(items), np.iinfo(np.int64).max)
    np.minimum.at(at, inverse, np.concatenate([first.at, second.at]))
    order = np.lexsort((items, at))
    return _Row(items[order].astype(np.int32), weights[order], at[order])
