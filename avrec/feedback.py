"""From events to what is learned from: interactions, labels, and what is not shown again.

The share watched of an item is the furthest position over its duration, in [0, 1]; it is 1 for
an item completed, and null where neither a position nor the duration is known. All functions
are pure and take EVENTS that are clean; a `durations` table has `item_id` and
`duration_seconds`, null where unknown.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Micros, Values
from avrec.schema import EVENT_KINDS, EVENTS, INTERACTIONS, LABELS, conform

REJECTIONS = ("dislike", "hide")
IMPRESSION = "impression"
KINDS = ("like", "share", "rate", "complete", "progress", "play")
"""Kinds of event that tell of liking, what tells the most first; see `to_interactions`."""
PAIR = ["user_id", "item_id"]
SECOND = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class FeedbackConfig:
    """How much each kind of event counts."""

    complete: float = 1.0
    """Weight of an item completed."""
    watched: float = 1.0
    """Weight of an item watched in part, times the share watched."""
    min_share: float = 0.2
    """Share watched below which watching is no sign of liking."""
    played: float = 0.5
    """Weight of an item played when the share watched is not known."""
    like: float = 2.0
    """Weight that a like adds."""
    share: float = 2.0
    """Weight that sharing adds."""
    rate: float = 2.0
    """Weight of a rating of at least `min_rating`."""
    min_rating: float = 4.0
    """Rating from which an item counts as liked."""
    finished_share: float = 0.9
    """Share watched from which an item is not recommended again."""
    label_window_seconds: float = 21_600.0
    """How long after an impression what a user does still belongs to it."""

    def __post_init__(self) -> None:
        for name in ("complete", "watched", "played", "like", "share", "rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("min_share", "finished_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.label_window_seconds <= 0:
            raise ValueError(
                f"label_window_seconds must be above 0, got {self.label_window_seconds}"
            )


@dataclass(frozen=True, slots=True)
class _Signs:
    """What each event says, one entry an event; `share` is NaN where it says nothing."""

    share: Values
    played: Mask
    like: Mask
    shared: Mask
    rated: Mask
    rejected: Mask
    at: Micros

    @property
    def approved(self) -> Mask:
        """Liked, shared or rated well."""
        return self.like | self.shared | self.rated


def to_interactions(events: pa.Table, durations: pa.Table, config: FeedbackConfig) -> pa.Table:
    """Weigh how much each user took to each item, as INTERACTIONS sorted by user and item.

        weight = max(complete, watched * share, played) + like + share + rate

    over the events of a pair, each term where there is such an event; `at` is the first of them,
    `kind` the first of KINDS that is among them, and `share` the most watched.
    A pair whose last verdict is a dislike or a hide is left out, and so is one of no weight.
    """
    events = conform(events, EVENTS)
    signs = _signs(events, durations, config)
    viewing = np.where(signs.share >= config.min_share, config.watched * signs.share, 0.0)
    viewing = np.where(_is(events, "complete"), config.complete, viewing)
    never = np.iinfo(np.int64).max
    signed = {
        "viewing": viewing,
        "played": signs.played * config.played,
        "known": ~np.isnan(signs.share),
        "like": signs.like * config.like,
        "share": signs.shared * config.share,
        "rate": signs.rated * config.rate,
        "approved": np.where(signs.approved, signs.at, -1),
        "rejected": np.where(signs.rejected, signs.at, -1),
        "kind": _ranks(events, signs),
        "most": np.nan_to_num(signs.share, nan=-1.0),
        "sign_at": np.where((viewing > 0) | signs.approved, signs.at, never),
        "play_at": np.where(signs.played, signs.at, never),
    }
    first = ("sign_at", "play_at")
    grouped = pa.table({name: events[name] for name in PAIR} | signed).group_by(
        PAIR, use_threads=False
    )
    pairs = grouped.aggregate([(name, "min" if name in first else "max") for name in signed])
    weight, at = _weigh(pairs)
    kept = (weight > 0) & (_array(pairs["approved_max"]) >= _array(pairs["rejected_max"]))
    kind = np.array(KINDS[::-1])[_array(pairs["kind_max"])]
    most = _array(pairs["most_max"])
    share = pa.array(most, mask=most < 0)
    columns = [pairs["user_id"], pairs["item_id"], weight, at, kind, share]
    kept_rows = conform(pa.table(columns, INTERACTIONS.names).filter(pa.array(kept)), INTERACTIONS)
    return kept_rows.sort_by([(name, "ascending") for name in PAIR])


def labels(events: pa.Table, durations: pa.Table, config: FeedbackConfig) -> pa.Table:
    """Say what became of each impression, as LABELS in the order of the impressions.

    What a user does with an item within `label_window_seconds` belongs to the impression of the
    same request, or, where one of the two names no request, to the latest one before it. The
    label is 1 after a like, a share or a good rating, 0 after a dislike or a hide, else the share
    watched; `played` where that is not known; 0 where nothing followed.
    """
    events = conform(events, EVENTS)
    signs = _signs(events, durations, config)
    owner = _owners(events, signs.at, int(config.label_window_seconds * SECOND))
    told = owner >= 0
    shown = np.flatnonzero(_is(events, IMPRESSION))
    share = np.full(len(events), np.nan)
    np.fmax.at(share, owner[told], signs.share[told])
    label = np.where(np.isnan(share), _any(owner, signs.played) * min(config.played, 1.0), share)
    label = np.where(_any(owner, signs.approved), 1.0, label)
    label = np.where(_any(owner, signs.rejected), 0.0, label)
    return conform(events.take(shown).append_column("label", pa.array(label[shown])), LABELS)


def finished(events: pa.Table, durations: pa.Table, config: FeedbackConfig) -> pa.Table:
    """Name the pairs (`user_id`, `item_id`) that must not be recommended again, sorted.

    These are items completed, watched for `finished_share`, disliked or hidden.
    """
    events = conform(events, EVENTS)
    signs = _signs(events, durations, config)
    done = (signs.share >= config.finished_share) | signs.rejected
    pairs = events.select(PAIR).filter(pa.array(done))
    if not len(pairs):
        return pairs
    return pairs.group_by(PAIR).aggregate([]).sort_by([(name, "ascending") for name in PAIR])


def _signs(events: pa.Table, durations: pa.Table, config: FeedbackConfig) -> _Signs:
    kinds = _kinds(events)
    row = pc.index_in(events["item_id"], value_set=durations["item_id"])
    seconds = _array(durations["duration_seconds"].take(row)).astype(np.float64)
    position = _array(events["position_seconds"]).astype(np.float64)
    known = np.isfinite(seconds) & (seconds > 0) & np.isfinite(position)
    share = np.full(len(events), np.nan)
    np.divide(position, seconds, out=share, where=known)
    share = np.clip(share, 0, 1)
    share[~_of(kinds, "progress", "skip")] = np.nan
    share[_of(kinds, "skip") & np.isnan(share)] = 0.0
    share[_of(kinds, "complete")] = 1.0
    good = _array(events["value"]) >= config.min_rating
    return _Signs(
        share=share,
        played=_of(kinds, "play", "progress") & np.isnan(share),
        like=_of(kinds, "like"),
        shared=_of(kinds, "share"),
        rated=_of(kinds, "rate") & good,
        rejected=_of(kinds, *REJECTIONS),
        at=_array(events["at"].cast(pa.int64())),
    )


def _ranks(events: pa.Table, signs: _Signs) -> Idx:
    """How much the kind of each event tells, as its place in KINDS from behind."""
    told = {
        "like": signs.like,
        "share": signs.shared,
        "rate": signs.rated,
        "complete": _is(events, "complete"),
        "progress": ~np.isnan(signs.share),
    }
    order = range(len(KINDS) - 1, -1, -1)
    return np.select(list(told.values()), list(order)[: len(told)], 0).astype(np.int32)


def _weigh(pairs: pa.Table) -> tuple[Values, Micros]:
    """Weight of each pair and its first moment; play counts where no share is known."""
    played = np.where(_array(pairs["known_max"]), 0.0, _array(pairs["played_max"]))
    weight = np.maximum(_array(pairs["viewing_max"]), played)
    for name in ("like", "share", "rate"):
        weight = weight + _array(pairs[f"{name}_max"])
    sign_at, play_at = _array(pairs["sign_at_min"]), _array(pairs["play_at_min"])
    return weight, np.where(played > 0, np.minimum(sign_at, play_at), sign_at)


def _owners(events: pa.Table, at: Micros, window: int) -> Idx:
    """For each event the row of the impression it belongs to; -1 where there is none."""
    shown = _is(events, IMPRESSION)
    user, item, request = (_codes(events[name]) for name in (*PAIR, "request_id"))
    named = request >= 0
    same_request = _latest(np.stack([user, item, request]), at, shown, window)
    owner = np.where(named & (same_request >= 0), same_request, -1)
    latest = _latest(np.stack([user, item]), at, shown, window)
    loose = (latest >= 0) & (~named | ~named[latest])
    owner = np.where((owner < 0) & loose, latest, owner)
    owner[shown] = -1
    return owner


def _latest(keys: Array, at: Micros, shown: Mask, window: int) -> Idx:
    """For each event the latest impression of the same keys, at most `window` before it."""
    order = np.lexsort((~shown, at, *keys))
    places = np.maximum.accumulate(np.where(shown[order], np.arange(len(order)), -1))
    owner = np.empty(len(order), np.int64)
    owner[order] = np.where(places >= 0, order[places], -1)
    fits = (owner >= 0) & (at - at[owner] <= window) & (keys == keys[:, owner]).all(axis=0)
    return np.where(fits, owner, -1)


def _any(owner: Idx, signs: Mask) -> Mask:
    """Which rows own an event with that sign."""
    found = np.zeros(len(owner), bool)
    found[owner[signs & (owner >= 0)]] = True
    return found


def _codes(column: pa.ChunkedArray) -> Idx:
    """A number for each distinct value, -1 for null."""
    codes = column.combine_chunks().dictionary_encode().indices
    return np.asarray(pc.fill_null(codes, -1).to_numpy())


def _kinds(events: pa.Table) -> Idx:
    """Place of each event's kind in EVENT_KINDS, beyond them for another one."""
    places = pc.index_in(events["kind"], value_set=pa.array(EVENT_KINDS))
    return _array(pc.fill_null(places, len(EVENT_KINDS)))


def _of(kinds: Idx, *names: str) -> Mask:
    """Which of `_kinds` are among some."""
    among = np.array([name in names for name in (*EVENT_KINDS, "")])
    return among[kinds]


def _is(events: pa.Table, *names: str) -> Mask:
    return _of(_kinds(events), *names)


def _array(column: pa.ChunkedArray) -> Array:
    return column.to_numpy()
