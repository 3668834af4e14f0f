"""One person as of a request: what the bundle knows, what they did since, the session they are in.

An item counts once, with its greater weight and what kind that is of, its greater share watched
and its earlier time, so events that a later bundle was trained on change nothing when they are
still in the state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from avrec.arrays import Array, Codes, Idx, Micros, Weights
from avrec.interactions import Histories, Profile, kind_codes, shares
from avrec.models.newcomers import Stated
from avrec.serving.state import Live

if TYPE_CHECKING:
    from avrec.bundle import Bundle

UNWANTED = ("skip", "dislike", "hide")
"""Kinds of event after which an item is not shown to that person again."""
Barred = Literal["finished_or_refused", "unplayable"]
"""Why a candidate may not be listed."""
NO_ROWS: Idx = np.empty(0, np.int32)
LATELY = 100_000
"""People whose place in the bundle is kept at hand."""
OFTEN = 10_000
"""People whose past is kept at hand, a kilobyte or two each."""


class Taken(NamedTuple):
    """What live events say: INTERACTIONS, and `user_id` and `item_id` never to show again.

    Both are sorted by user.
    """

    interactions: pa.Table
    finished: pa.Table


class Person(NamedTuple):
    """A request's history, one row of it, and the rows to leave out: finished, refused, named."""

    history: Histories
    finished: Idx
    refused: Idx
    excluded: Idx

    @property
    def exclude(self) -> Idx:
        """All that is left out."""
        return np.concatenate(self[1:])


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
    profile: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def micros(self) -> int:
        """The moment of the request, UTC microseconds."""
        return int(self.at.timestamp() * 1_000_000)


class People:
    """Tells who asks.

    Args:
        bundle: histories, and what is finished.
        rows: catalogue row of each item id.
        interpret: says what the live EVENTS of some users mean.
    """

    def __init__(
        self, bundle: "Bundle", rows: Mapping[str, int], interpret: Callable[[pa.Table], Taken]
    ) -> None:
        self._bundle, self._rows, self._interpret = bundle, rows, interpret
        # Bound to the bundle, not to this: a bundle that is let go does not wait for the collector.
        self._user = lru_cache(LATELY)(partial(_find, bundle))
        self._past = lru_cache(OFTEN)(partial(_read, bundle, self._user))

    def persons(self, asking: Sequence[tuple[Wish, Live | None]]) -> list[Person]:
        """Join what is known of each, as of their request; None for nobody in particular."""
        events = {wish.user_id or "": live.events for wish, live in asking if live is not None}
        lately = self._lately({user: done for user, done in events.items() if len(done)})
        return [self._person(wish, live, lately.get(wish.user_id or "")) for wish, live in asking]

    def _person(self, wish: Wish, live: Live | None, lately: "_Lately | None") -> Person:
        history, finished = self._past(wish.user_id)
        refused = NO_ROWS
        if live is not None and live.forgotten_at is not None:
            history, finished = _since(history, finished, live.forgotten_at)
        if lately is not None:
            refused = lately.refused
            finished = np.concatenate([finished, lately.finished])
            history = _merge(history, lately.row)
        if wish.session:
            history = _merge(history, _Row.now(self._known(wish.session), wish.micros))
        history = history.without(refused)
        asking = history.asking(self._profile(wish, live), wish.micros)
        return Person(asking, finished, refused, self._known(wish.exclude))

    def unknown(self, wish: Wish) -> list[str]:
        """Name the fields of a wish that are known of nobody."""
        return [name for name in wish.profile if name not in (self._profiles or {})]

    @property
    def _profiles(self) -> Profile | None:
        return self._bundle.users.histories.profile

    def _profile(self, wish: Wish, live: Live | None) -> Profile | None:
        """What is known of who asks, but for who was forgotten, and over it what they state."""
        if self._profiles is None:
            return None
        user = self._user(None if live is not None and live.forgotten_at else wish.user_id)
        return {
            name: _field(known, user, wish.profile.get(name))
            for name, known in self._profiles.items()
        }

    def _lately(self, events: Mapping[str, pa.Table]) -> dict[str, "_Lately"]:
        """What each of some users did; to interpret the events of all is no more than of one."""
        if not events:
            return {}
        taken = self._interpret(pa.concat_tables(events.values()))
        row, items = self._row_of(taken.interactions), taken.finished["item_id"].to_pylist()
        took, over = _spans(taken.interactions["user_id"]), _spans(taken.finished["user_id"])
        nothing = slice(0)
        return {
            user: _Lately(
                row.only(took.get(user, nothing)).known(),
                self._known(items[over.get(user, nothing)]),
                self._unwanted(done),
            )
            for user, done in events.items()
        }

    def _unwanted(self, events: pa.Table) -> Idx:
        """Items whose last telling event was a refusal."""
        both = zip(events["item_id"].to_pylist(), events["kind"].to_pylist(), strict=True)
        last = {item_id: kind for item_id, kind in both if kind != "impression"}
        return self._known([item_id for item_id, kind in last.items() if kind in UNWANTED])

    def _known(self, item_ids: Sequence[str]) -> Idx:
        if not item_ids:
            return NO_ROWS
        rows = [self._rows.get(item_id, -1) for item_id in item_ids]
        return np.array([row for row in rows if row >= 0], np.int32)

    def _row_of(self, interactions: pa.Table) -> "_Row":
        rows = [self._rows.get(item_id, -1) for item_id in interactions["item_id"].to_pylist()]
        return _Row(
            np.array(rows, np.int32),
            interactions["weight"].to_numpy(),
            interactions["at"].cast(pa.int64()).to_numpy(),
            kind_codes(interactions["kind"]),
            shares(interactions["share"]),
        )


class _Row(NamedTuple):
    """One person's history, oldest first, each item once."""

    items: Idx
    weights: Weights
    at: Micros
    kinds: Codes
    shares: Weights

    @classmethod
    def cut(cls, past: Histories, span: slice) -> "_Row":
        items, (kinds, watched) = past.items[span], _unknown(span.stop - span.start)
        kinds = kinds if past.kinds is None else past.kinds[span]
        watched = watched if past.shares is None else past.shares[span]
        return cls(items, past.weights[span], past.at[span], kinds, watched)

    @classmethod
    def now(cls, items: Idx, micros: int) -> "_Row":
        count = len(items)
        times = np.arange(micros, micros + count, dtype=np.int64)
        return cls(items, np.ones(count, np.float32), times, *_unknown(count))

    def known(self) -> "_Row":
        return self.only(self.items >= 0)

    def only(self, entries: Array | slice) -> "_Row":
        return _Row(
            self.items[entries],
            self.weights[entries],
            self.at[entries],
            self.kinds[entries],
            self.shares[entries],
        )

    def without(self, unwanted: Idx) -> "_Row":
        return self.only(~np.isin(self.items, unwanted)) if len(unwanted) else self

    @property
    def is_distinct(self) -> bool:
        return len(set(self.items.tolist())) == len(self.items)

    def asking(self, profile: Profile | None, micros: int) -> Histories:
        offsets, moment = np.array([0, len(self.items)]), np.array([micros])
        weights = self.weights.astype(np.float32, copy=False)
        return Histories(
            offsets, self.items, weights, self.at, self.kinds, self.shares, profile, moment
        )


class _Lately(NamedTuple):
    """What one person did since the bundle was made."""

    row: _Row
    finished: Idx
    refused: Idx


def _spans(users: pa.ChunkedArray) -> dict[str, slice]:
    """Where each of some sorted users stands."""
    ids = users.to_pylist()
    bounds = [n for n, user in enumerate(ids) if n == 0 or user != ids[n - 1]]
    return {ids[a]: slice(a, b) for a, b in pairwise([*bounds, len(ids)])}


def _field(known: Array, user: int, stated: str | float | None) -> Array:
    """One entry of a field: what is stated, if it is of the field's kind, else what is known."""
    is_number = known.dtype.kind == "f"
    if stated is not None and isinstance(stated, str) != is_number:
        return np.array([stated], float if is_number else str)
    return known[user : user + 1] if user >= 0 else np.array([np.nan if is_number else ""])


def _unknown(count: int) -> tuple[Codes, Weights]:
    """Kinds and shares of which nothing is known."""
    return np.zeros(count, np.int8), np.full(count, np.nan, np.float32)


def _find(bundle: "Bundle", user_id: str | None) -> int:
    return -1 if user_id is None else int(bundle.users.users.idx([user_id])[0])


def _read(
    bundle: "Bundle", find: Callable[[str | None], int], user_id: str | None
) -> tuple[_Row, Idx]:
    """What a bundle knows of somebody; nobody may write into it."""
    nothing, user = _Row.now(NO_ROWS, 0), find(user_id)
    if user < 0:
        return nothing, NO_ROWS
    past = bundle.users.histories
    row = _Row.cut(past, slice(past.offsets[user], past.offsets[user + 1]))
    return row if row.is_distinct else _merge(row, nothing), bundle.seen.row(user)


def _since(history: _Row, finished: Idx, forgotten_at: datetime) -> tuple[_Row, Idx]:
    """Leave out what a bundle may not say any more of a forgotten user.

    What is finished has no times, so it goes too, unless the bundle was made without their past.
    """
    later = history.at > int(forgotten_at.timestamp() * 1_000_000)
    return history.only(later), finished if later.any() and later.all() else NO_ROWS


def _merge(first: _Row, second: _Row) -> _Row:
    """Join two histories as said above."""
    both = _Row(
        np.concatenate([first.items, second.items]),
        np.concatenate([first.weights, second.weights]),
        np.concatenate([first.at, second.at]),
        np.concatenate([first.kinds, second.kinds]),
        np.concatenate([first.shares, second.shares]),
    )
    heaviest = np.lexsort((both.weights, both.items))
    kept = both.only(heaviest[np.flatnonzero(np.diff(both.items[heaviest], append=-1))])
    place = np.searchsorted(kept.items, both.items)
    np.minimum.at(kept.at, place, both.at)
    np.fmax.at(kept.shares, place, both.shares)
    return kept.only(np.lexsort((kept.items, kept.at)))
