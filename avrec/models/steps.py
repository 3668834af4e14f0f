"""Histories as the causal user towers read them: rectangles of steps, oldest first.

A window is some consecutive items of one history. Windows are padded behind, where a causal tower
does not see the padding, and those of like length are read together, so that little is padded.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from avrec.arrays import Array, Codes, Idx, Mask, Micros, Values, Weights
from avrec.interactions import Histories
from avrec.models.askers import Known, known_of

COLUMNS = ("items", "at", "marks", "kinds", "shares")
"""What a window has of each step."""
BUCKETS = 32
SHARES = 12
"""Buckets of the share watched, in tenths; 0 is unknown."""
SECOND = 1_000_000
LIKE = 0.75
MIN_GROUP = 8


class Steps(NamedTuple):
    """Windows of one group; every field is of shape (n, length), and one of items in front.

    `items` are places among the vectors that come along, 0 for padding; `places` are counted from
    the end of what is read or from its start, see `steps`; `at` are seconds; `gaps`, `marks`
    and `shares` are buckets of the time since the step before, of the interaction's weight and of
    the share watched; `kinds` are codes of kinds of event, 0 for unknown.
    `noise`, (n, length, any) bytes, says what dropout drops; None drops nothing. `known` is of who
    asks, and when.
    """

    items: Tensor
    present: Tensor
    places: Tensor
    at: Tensor
    gaps: Tensor
    marks: Tensor
    kinds: Tensor
    shares: Tensor
    noise: Tensor | None
    known: Known | None = None

    def to(self, device: torch.device) -> "Steps":
        """The same on a device."""
        return Steps(*(None if one is None else one.to(device) for one in self))  # type: ignore[arg-type]


def windows_of(histories: Histories, width: int, most: int) -> Mapping[str, Array]:
    """Cut each row into at most `most` latest windows of `width` items, overlapping by one.

    Returns:
        Columns query (int32), items (n, width; int32, -1 behind), at (n, width; int64), marks
        (n, width; float32, 0 behind), kinds and shares (n, width; int8, 0 behind and where
        unknown), opens (int8, 1 where nothing is before the window) and weight (float32, 1).
        Windows of one item are left out.
    """
    step = max(width - 1, 1)
    counts = np.clip(-(-(histories.lengths() - 1) // step), 0, most)
    query = np.repeat(np.arange(len(histories)), counts)
    nth = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    stop = histories.offsets[query + 1] - nth * step
    start = np.maximum(stop - width, histories.offsets[query])
    opens = (start == histories.offsets[query]).astype(np.int8)
    laid_out = _laid_out(histories, start, stop, width)
    return {"query": query.astype(np.int32), "opens": opens, **laid_out}


def latest_windows(histories: Histories, width: int) -> Mapping[str, Array]:
    """The latest `width` items of each row, as columns of `windows_of`; empty rows too."""
    stop = histories.offsets[1:]
    return _laid_out(histories, np.maximum(stop - width, histories.offsets[:-1]), stop, width)


def _laid_out(histories: Histories, start: Array, stop: Array, width: int) -> dict[str, Array]:
    entries = start[:, None] + np.arange(width)
    inside = entries < stop[:, None]
    entries = np.minimum(entries, max(len(histories.items) - 1, 0))

    def of(values: Array | None, padding: int) -> Array:
        if values is None:
            return np.zeros(entries.shape, np.int8)
        if not len(values):
            return np.full(entries.shape, padding, values.dtype)
        return np.where(inside, values[entries], values.dtype.type(padding))

    return {
        "items": of(histories.items, -1),
        "at": of(histories.at, 0),
        "marks": of(histories.weights, 0),
        "kinds": of(histories.kinds, 0),
        "shares": of(None if histories.shares is None else share_buckets(histories.shares), 0),
        "weight": np.ones(len(start), np.float32),
    }


def by_length(lengths: Array) -> Iterator[Idx]:
    """Group rows, longest first, so that within a group the shortest is nearly as long."""
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    start = 0
    for stop in range(1, len(order) + 1):
        enough = stop - start >= MIN_GROUP
        if stop == len(order) or (enough and lengths[order[stop]] < LIKE * lengths[order[start]]):
            yield order[start:stop]
            start = stop


def gaps(at: Micros, present: Mask) -> Array:
    """Bucket of the time since the step before, log2 of seconds; 0 for a first step."""
    since = np.zeros(at.shape)
    since[:, 1:] = np.maximum(np.diff(at, axis=1), 0) / SECOND
    buckets = 1 + np.log2(1 + since).astype(np.int64)
    buckets[:, 0] = 0
    return np.where(present, buckets.clip(max=BUCKETS - 1), 0)


def marks(weights: Values) -> Array:
    """Bucket of an interaction's weight, in quarters."""
    return np.round(4 * weights).clip(0, BUCKETS - 1).astype(np.int64)


def share_buckets(shares: Weights) -> Codes:
    """Bucket of a share watched in [0, 1], in tenths from 1; 0 for NaN."""
    tenths = np.round(10 * np.nan_to_num(shares, nan=-0.1)).clip(-1, SHARES - 2)
    return (1 + tenths).astype(np.int8)


def steps(
    columns: Mapping[str, Array],
    rows: Idx,
    lengths: Array,
    history_length: int,
    noise: Array | None = None,
    *,
    from_start: bool = False,
) -> Steps:
    """The first `lengths` items of some windows, as a tower reads them.

    `lengths` is one number a row of `columns`; `noise` has the rows of `columns`. Places are
    counted so that the last one is `history_length` - 1, or the first one 0. Where these have
    a `profile`, they have a `context` too.
    """
    longest = max(int(lengths[rows].max(initial=0)), 1)
    some = {name: columns[name][rows, :longest] for name in COLUMNS}
    own = lengths[rows][:, None]
    present = np.arange(longest) < own
    first = 0 * own if from_start else history_length - own
    places = (first + np.arange(longest)).clip(0, history_length - 1)
    return Steps(
        torch.from_numpy(np.where(present, some["items"], 0).astype(np.int64)),
        torch.from_numpy(present),
        torch.from_numpy(places),
        torch.from_numpy((some["at"] - some["at"][:, :1]) // SECOND),
        torch.from_numpy(gaps(some["at"], present)),
        torch.from_numpy(marks(some["marks"])),
        torch.from_numpy(some["kinds"].astype(np.int64)),
        torch.from_numpy(some["shares"].astype(np.int64)),
        None if noise is None else torch.from_numpy(noise[rows, :longest]),
        known_of(
            {"profile": columns["profile"][rows], "context": columns["context"][rows, :longest]}
        )
        if "profile" in columns
        else None,
    )
