"""Drop events that cannot be what they say, and count them by reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Micros, Values
from avrec.errors import InputError
from avrec.schema import DROPPED, EVENT_KINDS, EVENTS, conform
from avrec.vocab import Vocabulary

MINUTE, DAY = 60_000_000, 86_400_000_000
EXAMPLE_LENGTH = 60
KINDS = Vocabulary.of(EVENT_KINDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanConfig:
    """What an event may look like."""

    max_id_bytes: int = 2048
    """Length from which an id is taken for an accident."""
    past_end_seconds: float = 5.0
    """By how much a position may lie beyond the item's end."""
    max_events_per_minute: int = 200
    """A user who ever does more is taken for a program, all their events are dropped."""
    max_events_per_day: int = 5000
    """The same, for 24 hours."""
    iqr_factor: float = 1.5
    """A user is an outlier above Q3 + factor * (Q3 - Q1) of the log number of events."""
    outlier_min_events: int = 1000
    """A user with no more events than these is never an outlier."""

    def __post_init__(self) -> None:
        for name in ("max_id_bytes", "max_events_per_minute", "max_events_per_day"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("past_end_seconds", "iqr_factor", "outlier_min_events"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


class Cleaned(NamedTuple):
    """Events that are left, and DROPPED: how many are not, by reason."""

    events: pa.Table
    dropped: pa.Table


@dataclass(frozen=True, slots=True)
class _Known:
    """What the rules judge by."""

    items: Vocabulary
    duration_seconds: Values
    config: CleanConfig
    now: int


def clean(
    events: pa.Table, items: Vocabulary, durations: pa.Table, config: CleanConfig, *, now: int
) -> Cleaned:
    """Keep the events that can be used; every other row is counted under its first reason.

    Reasons, in the order in which they are looked for, are those of `RULES`. The order of the
    rows stays.

    Args:
        events: the columns of EVENTS, any of them null.
        items: the catalogue.
        durations: `item_id` and `duration_seconds`, null where unknown.
        config: limits.
        now: UTC microseconds; what happened later has not happened.
    """
    known = _Known(items, _durations(durations, items), config, now)
    dropped = []
    for reason, is_bad in RULES:
        bad = is_bad(events, known)
        if bad.any():
            dropped.append((reason, int(bad.sum()), _example(events, int(np.argmax(bad)))))
            events = events.filter(pa.array(~bad))
    columns = [pa.array(column) for column in zip(*dropped, strict=True)]
    counts = pa.table(columns, DROPPED.names).cast(DROPPED) if dropped else DROPPED.empty_table()
    return Cleaned(conform(events, EVENTS), counts)


def require_some(cleaned: Cleaned, read: pa.Table, items: Vocabulary) -> None:
    """Check that something is left.

    Raises:
        InputError: nothing is; says why, and how the ids of events and catalogue look.
    """
    if len(cleaned.events):
        return
    if not len(read):
        raise InputError("the events file holds no events")
    rows = sorted((row["rows"], row["reason"]) for row in cleaned.dropped.to_pylist())
    reasons = ", ".join(f"{reason} {count}" for count, reason in rows[::-1][:3])
    raise InputError(
        f"none of the {len(read)} events can be used ({reasons}): they name items such as "
        f"{_some(read['item_id'])}, the catalogue holds {len(items)} such as {_some(items.ids)}"
    )


def _some(ids: pa.ChunkedArray | pa.StringArray) -> str:
    return ", ".join(_short(one) for one in ids.slice(0, 3).to_pylist())


def _short(text: object) -> str:
    return repr(text) if len(repr(text)) <= EXAMPLE_LENGTH else repr(text)[:EXAMPLE_LENGTH] + "..."


def _example(events: pa.Table, row: int) -> str:
    cells = events.slice(row, 1).to_pylist()[0]
    names = ("user_id", "item_id", "kind", "at", "position_seconds", "value")
    return ", ".join(f"{name} {_short(_plain(cells[name]))}" for name in names)


def _plain(value: object) -> object:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _null_id(events: pa.Table, _: _Known) -> Mask:
    bad = np.zeros(len(events), bool)
    for name in ("event_id", "user_id", "item_id"):
        bad |= _mask(pc.equal(events[name], ""), if_null=True)
    return bad


def _id_too_long(events: pa.Table, known: _Known) -> Mask:
    bad = np.zeros(len(events), bool)
    for name in ("event_id", "user_id", "item_id", "request_id"):
        bad |= _mask(pc.greater(pc.binary_length(events[name]), known.config.max_id_bytes))
    return bad


def _unknown_kind(events: pa.Table, _: _Known) -> Mask:
    return ~_mask(pc.is_in(events["kind"], value_set=KINDS.ids))


def _bad_time(events: pa.Table, known: _Known) -> Mask:
    at = events["at"].cast(pa.int64())
    return ~_mask(pc.and_(pc.greater_equal(at, 0), pc.less_equal(at, known.now)))


def _duplicate(events: pa.Table, _: _Known) -> Mask:
    cell = [_codes(events[name]) for name in ("user_id", "item_id", "kind")]
    return _repeats([_codes(events["event_id"])]) | _repeats([*cell, _at(events)])


def _unknown_item(events: pa.Table, known: _Known) -> Mask:
    return known.items.idx(events["item_id"]) < 0


def _nan_position(events: pa.Table, _: _Known) -> Mask:
    return ~_mask(pc.is_finite(events["position_seconds"]), if_null=True)


def _negative_position(events: pa.Table, _: _Known) -> Mask:
    return _mask(pc.less(events["position_seconds"], 0))


def _position_past_end(events: pa.Table, known: _Known) -> Mask:
    end = known.duration_seconds[known.items.idx(events["item_id"])]
    position = events["position_seconds"].to_numpy()
    return np.asarray(position > end + known.config.past_end_seconds)


def _bad_value(events: pa.Table, _: _Known) -> Mask:
    empty = _mask(pc.and_(pc.equal(events["kind"], "rate"), pc.is_null(events["value"])))
    return empty | ~_mask(pc.is_finite(events["value"]), if_null=True)


def _bot(events: pa.Table, known: _Known) -> Mask:
    user, at = _codes(events["user_id"]), _at(events)
    order = np.lexsort((at, user))
    user_sorted, at_sorted = user[order], at[order]
    limits = ((known.config.max_events_per_minute, MINUTE), (known.config.max_events_per_day, DAY))
    bots = np.zeros(user.max(initial=-1) + 1, bool)
    for limit, span in limits:
        close = at_sorted[limit:] - at_sorted[:-limit] < span
        bots[user_sorted[limit:][close & (user_sorted[limit:] == user_sorted[:-limit])]] = True
    return bots[user]


def _outlier(events: pa.Table, known: _Known) -> Mask:
    user = _codes(events["user_id"])
    if not len(user):
        return np.zeros(0, bool)
    counts = np.bincount(user)
    low, high = np.quantile(np.log(counts), (0.25, 0.75))
    fence = np.exp(high + known.config.iqr_factor * (high - low))
    return (counts > max(fence, known.config.outlier_min_events))[user]


RULES: tuple[tuple[str, Callable[[pa.Table, _Known], Mask]], ...] = (
    ("null_id", _null_id),
    ("id_too_long", _id_too_long),
    ("unknown_kind", _unknown_kind),
    ("bad_time", _bad_time),
    ("unknown_item", _unknown_item),
    ("nan_position", _nan_position),
    ("negative_position", _negative_position),
    ("position_past_end", _position_past_end),
    ("bad_value", _bad_value),
    ("duplicate", _duplicate),
    ("bot", _bot),
    ("outlier", _outlier),
)
"""Reasons for which a row is dropped, and how it is told; each sees what the former left."""


def _durations(durations: pa.Table, items: Vocabulary) -> Values:
    """Length of each catalogue row; NaN where unknown."""
    seconds = np.full(len(items) + 1, np.nan)
    seconds[items.idx(durations["item_id"])] = durations["duration_seconds"].to_numpy()
    seconds[-1] = np.nan
    return seconds


def _repeats(keys: list[Array]) -> Mask:
    """Which rows have all keys equal to those of an earlier row."""
    order = np.lexsort(keys)
    same = np.ones(max(len(order) - 1, 0), bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    repeats = np.zeros(len(order), bool)
    repeats[order[1:][same]] = True
    return repeats


def _codes(column: pa.ChunkedArray) -> Idx:
    """A number for each distinct value."""
    return np.asarray(column.combine_chunks().dictionary_encode().indices.to_numpy())


def _at(events: pa.Table) -> Micros:
    return events["at"].cast(pa.int64()).to_numpy()


def _mask(column: pa.ChunkedArray, *, if_null: bool = False) -> Mask:
    return np.asarray(pc.fill_null(column, if_null).to_numpy(), dtype=bool)
