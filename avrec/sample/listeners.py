"""Simulated listeners over any catalogue whose items fall into kinds.

A listener's taste is a mixture over kinds that drifts from one mixture to another, with a
liking for some creators. An item has a quality that all perceive alike. What a listener is
shown depends on quality and age, a little on taste; what they do with it depends on

    appeal = log taste of its kind now + liking of its creator + quality

All that comes out is events; nobody behind them is real.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx, Mask, Micros, Values
from avrec.schema import EVENTS, ITEMS, TIME, conform

SECOND, DAY = 1_000_000, 86_400_000_000
UNKNOWN_DURATION_SECONDS = 30.0
QUARTERS = (0.25, 0.5, 0.75)
COMPLETE_FROM, LIKE_FROM, SHARE_FROM = 0.92, 0.6, 0.8
SKIP_BELOW, DISLIKE_BELOW = 0.5, 0.15
DISLIKE_CHANCE, SHARE_CHANCE = 0.1, 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenersConfig:
    """Who listens, how much, and how sharp their tastes are."""

    num_listeners: int = 400
    """How many."""
    days: int = 60
    """Length of the simulation."""
    until: str = "2025-12-31"
    """Its last day (UTC), so that the same seed gives the same events on any day."""
    sessions: float = 8.0
    """Mean number of sessions a listener has; a few have many times more than others."""
    shown: int = 6
    """Items shown in a session."""
    sharpness: float = 2.5
    """Spread of the log tastes; 0 is no taste at all."""
    drift: float = 0.3
    """Share of the taste that is another one at the end."""

    def __post_init__(self) -> None:
        for name in ("num_listeners", "days", "shown"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.sessions <= 0:
            raise ValueError(f"sessions must be above 0, got {self.sessions}")
        if self.sharpness < 0:
            raise ValueError(f"sharpness must be at least 0, got {self.sharpness}")
        if not 0 <= self.drift <= 1:
            raise ValueError(f"drift must be in [0, 1], got {self.drift}")
        datetime.strptime(self.until, "%Y-%m-%d").replace(tzinfo=UTC)

    def span(self) -> tuple[int, int]:
        """First and last moment, UTC microseconds."""
        last = datetime.strptime(self.until, "%Y-%m-%d").replace(tzinfo=UTC)
        stop = int(last.timestamp()) * SECOND + DAY
        return stop - self.days * DAY, stop


@dataclass(frozen=True, slots=True)
class World:
    """What is true and nobody sees; arrays have a row a listener and a column an item."""

    taste_first: Values
    taste_last: Values
    creator_liking: Values
    quality: Values
    published: Micros
    duration_seconds: Values

    def appeal(self, listeners: Idx, through: Values) -> Values:
        """How much the listeners would like each item at `through` of the span, in [0, 1]."""
        share = through[:, None]
        taste = (1 - share) * self.taste_first[listeners] + share * self.taste_last[listeners]
        return taste + self.creator_liking[listeners] + self.quality


def simulate(
    items: pa.Table,
    kinds: Sequence[str],
    durations_seconds: Values,
    config: ListenersConfig,
    rng: np.random.Generator,
) -> pa.Table:
    """Simulate EVENTS over a catalogue.

    Args:
        items: ITEMS. An item is shown from `published_at` on, always where that is null.
        kinds: each item's kind, in the order of `items`.
        durations_seconds: each item's length; where NaN, listeners take it for 30 seconds.
        config: who listens and for how long.
        rng: the same generator gives the same events.
    """
    items = conform(items, ITEMS)
    if not len(items) == len(kinds) == len(durations_seconds):
        raise ValueError(
            f"items, kinds and durations must be of one length, got {len(items)}, "
            f"{len(kinds)} and {len(durations_seconds)}"
        )
    if not len(items):
        return EVENTS.empty_table()
    world = _world(items, kinds, durations_seconds, config, rng)
    visits = _sessions(config, rng)
    finished = np.zeros((config.num_listeners, len(items)), bool)
    rounds = []
    for ordinal in range(visits.ordinal.max(initial=-1) + 1):
        now = visits.ordinal == ordinal
        these = _Sessions(visits.listener[now], visits.at[now], visits.ordinal[now])
        rounds.append(_round(world, these, finished, config, rng))
    return _table(rounds, items["item_id"])


@dataclass(frozen=True, slots=True)
class _Sessions:
    """Entry points in time; `ordinal` counts the sessions of one listener."""

    listener: Idx
    at: Micros
    ordinal: Idx


@dataclass(frozen=True, slots=True)
class _Shown:
    """What one session a listener showed, each array (num_sessions, shown)."""

    listener: Idx
    item: Idx
    at: Micros
    seconds: Values
    played: Mask
    share: Values
    appeal: Values
    real: Mask


def _world(
    items: pa.Table,
    kinds: Sequence[str],
    durations_seconds: Values,
    config: ListenersConfig,
    rng: np.random.Generator,
) -> World:
    _, kind = np.unique(np.asarray(kinds, dtype=str), return_inverse=True)
    creators = pc.fill_null(items["creator_id"], "").to_numpy(zero_copy_only=False).astype(str)
    _, creator = np.unique(creators, return_inverse=True)
    size = (config.num_listeners, int(kind.max()) + 1)
    first = config.sharpness * rng.normal(size=size)
    other = config.sharpness * rng.normal(size=size)
    last = (1 - config.drift) * first + config.drift * other
    liking = rng.normal(0, 0.6, (config.num_listeners, int(creator.max()) + 1))
    published = items["published_at"].cast(pa.int64()).fill_null(np.iinfo(np.int64).min)
    return World(
        first[:, kind],
        last[:, kind],
        liking[:, creator],
        rng.normal(0, 0.4, len(items)),
        published.to_numpy(),
        np.where(np.isnan(durations_seconds), UNKNOWN_DURATION_SECONDS, durations_seconds),
    )


def _sessions(config: ListenersConfig, rng: np.random.Generator) -> _Sessions:
    activity = rng.lognormal(0, 0.5, config.num_listeners)
    counts = np.maximum(1, rng.poisson(config.sessions * activity / activity.mean()))
    listener = np.repeat(np.arange(config.num_listeners, dtype=np.int32), counts)
    start, _ = config.span()
    hour = np.mod(rng.normal(20, 3, len(listener)), 23)
    at = start + rng.integers(config.days, size=len(listener)) * DAY + (hour * DAY / 24).astype(int)
    order = np.lexsort((at, listener))
    ordinal = np.arange(len(listener)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Sessions(listener, at[order], ordinal.astype(np.int32))


def _round(
    world: World,
    visits: _Sessions,
    finished: Mask,
    config: ListenersConfig,
    rng: np.random.Generator,
) -> pa.Table:
    """Play one session of each listener that has one, and mark what they are done with."""
    start, stop = config.span()
    appeal = world.appeal(visits.listener, (visits.at - start) / (stop - start))
    item, real = _show(world, appeal, visits, finished, config.shown, rng)
    liked = np.take_along_axis(appeal, item, axis=1)
    wish = _sigmoid(1.6 * liked - 2.0)
    played = real & (rng.uniform(size=item.shape) < 0.1 + 0.8 * wish)
    share = np.where(played, rng.beta(0.05 + 4 * wish, 0.05 + 4 * (1 - wish)), 0.0)
    seconds = world.duration_seconds[item]
    spent = np.where(played, 2 + share * seconds, 0) + 3
    at = visits.at[:, None] + ((np.cumsum(spent, axis=1) - spent) * SECOND).astype(np.int64)
    listener = np.broadcast_to(visits.listener[:, None], item.shape)
    shown = _Shown(listener, item, at, seconds, played, share, liked, real)
    done, table = _events(shown, rng)
    finished[listener[done], item[done]] = True
    requests = visits.ordinal[np.searchsorted(visits.listener, table["listener"].to_numpy())]
    return table.append_column("ordinal", pa.array(requests))


def _show(
    world: World,
    appeal: Values,
    visits: _Sessions,
    finished: Mask,
    shown: int,
    rng: np.random.Generator,
) -> tuple[Idx, Mask]:
    """Draw items without repeats: the good, the recent and, a little, the fitting come first."""
    age_days = np.maximum(visits.at[:, None] - world.published.astype(float), 0) / DAY
    score = 0.5 * world.quality + 0.15 * appeal + np.exp(-age_days / 7)
    score += rng.gumbel(size=score.shape)
    hidden = finished[visits.listener] | (world.published > visits.at[:, None])
    score[hidden] = -np.inf
    item = np.argsort(-score, axis=1)[:, :shown].astype(np.int32)
    return item, np.isfinite(np.take_along_axis(score, item, axis=1))


def _events(shown: _Shown, rng: np.random.Generator) -> tuple[Mask, pa.Table]:
    """Say what happened: which entries their listener is done with, and the events."""
    chance = rng.uniform(size=(3, *shown.item.shape))
    position = shown.share * shown.seconds
    end = shown.at + ((2 + position) * SECOND).astype(np.int64)
    complete = shown.played & (shown.share >= COMPLETE_FROM)
    skip = shown.played & (shown.share < SKIP_BELOW)
    like = (shown.share > LIKE_FROM) & (chance[0] < _sigmoid(shown.appeal - 2))
    dislike = (shown.played & (shown.share < DISLIKE_BELOW)) & (chance[1] < DISLIKE_CHANCE)
    told = (shown.share > SHARE_FROM) & (chance[2] < SHARE_CHANCE)
    nowhere = np.full_like(position, np.nan)
    begin = shown.at + 2 * SECOND
    marks = [
        _rows(shown, "impression", shown.real, shown.at, nowhere),
        _rows(shown, "play", shown.played, begin, np.zeros_like(position)),
        *(
            _rows(
                shown,
                "progress",
                shown.share > quarter,
                begin + (quarter * shown.seconds * SECOND).astype(np.int64),
                quarter * shown.seconds,
            )
            for quarter in QUARTERS
        ),
        _rows(shown, "skip", skip, end, position),
        _rows(shown, "progress", shown.played & ~skip & ~complete, end, position),
        _rows(shown, "complete", complete, end, shown.seconds),
        _rows(shown, "like", like, end + SECOND, nowhere),
        _rows(shown, "dislike", dislike, end + SECOND, nowhere),
        _rows(shown, "share", told, end + SECOND, nowhere),
    ]
    return complete | dislike, pa.concat_tables(marks)


def _rows(shown: _Shown, kind: str, where: Mask, at: Micros, position: Values) -> pa.Table:
    count = int(where.sum())
    return pa.table(
        {
            "listener": shown.listener[where],
            "item": shown.item[where],
            "kind": pa.repeat(kind, count),
            "at": at[where],
            "position_seconds": pa.array(np.round(position[where], 3), from_pandas=True),
        }
    )


def _table(rounds: list[pa.Table], item_ids: pa.ChunkedArray) -> pa.Table:
    """Name the rows of all rounds and sort them in time."""
    table = pa.concat_tables(rounds)
    order = np.lexsort(
        (table["item"].to_numpy(), table["listener"].to_numpy(), table["at"].to_numpy())
    )
    table = table.take(order)
    listener = [f"listener-{n:04d}" for n in table["listener"].to_numpy()]
    columns = {
        "event_id": [f"simulated-{n:06d}" for n in range(len(table))],
        "user_id": listener,
        "item_id": item_ids.take(table["item"]),
        "kind": table["kind"],
        "at": table["at"].cast(TIME),
        "position_seconds": table["position_seconds"],
        "request_id": [
            f"{who}-{n}" for who, n in zip(listener, table["ordinal"].to_numpy(), strict=True)
        ],
    }
    return conform(pa.table(columns), EVENTS)


def _sigmoid(x: Values) -> Values:
    return 1 / (1 + np.exp(-x))
