"""Fingerprints of a whole catalogue, and which pairs of it are worth a comparison.

A frame is a 64-bit hash of which few bits change when a picture is coded anew, a sound a row of
32-bit words of which many stay as they are; 0 tells of nothing. Candidates share a key exactly:
half of a frame's hash, or a word of the sound. So time grows with the number of hashes, not of
pairs.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Array, Idx, Mask, Offsets

BLOCKS = tuple(combinations(range(4), 2))
"""Pairs of the four 16-bit blocks of a frame's hash; two wrong bits leave one pair whole."""
SCRAMBLE = np.uint64(0x9E3779B97F4A7C15)
KEYS_AT_ONCE = 1 << 24


@dataclass(frozen=True, slots=True)
class Prints:
    """Hashes of many contents: row `n` has `hashes[offsets[n]:offsets[n + 1]]`, in time order."""

    offsets: Offsets
    hashes: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(cls, lists: pa.Array | pa.ChunkedArray) -> Self:
        """Read a column of lists of unsigned numbers; a null is an empty row."""
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return cls(offsets, pc.list_flatten(lists).to_numpy())

    def row(self, content: int) -> Array:
        """Hashes of one content."""
        return self.hashes[self.offsets[content] : self.offsets[content + 1]]

    def blank(self) -> Mask:
        """Which rows have hashes, none of which tells of anything."""
        told = np.bincount(self.telling().rows, minlength=len(self))
        return (np.diff(self.offsets) > 0) & (told == 0)

    def telling(self) -> "Keyed":
        """Hashes that tell of something, each with the row it belongs to."""
        rows = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))
        told = self.hashes != 0
        return Keyed(rows[told], self.hashes[told].astype(np.uint64))


class Keyed(NamedTuple):
    """Keys that candidates share, each with the row that holds it."""

    rows: Idx
    keys: Array


class Pairs(NamedTuple):
    """Rows of a catalogue, two by two, `first < second`, each pair once."""

    first: Idx
    second: Idx


def frame_keys(frames: Prints) -> Keyed:
    """Six keys a frame, each of half its bits: up to two wrong bits leave one whole."""
    rows, hashes = frames.telling()
    blocks = [(hashes >> np.uint64(16 * n)) & np.uint64(0xFFFF) for n in range(4)]
    keys = [
        np.uint64(number << 32) | blocks[low] | (blocks[high] << np.uint64(16))
        for number, (low, high) in enumerate(BLOCKS)
    ]
    return Keyed(np.tile(rows, len(BLOCKS)), np.concatenate(keys))


def sound_keys(sound: Prints, per_content: int) -> Keyed:
    """Distinct words of each sound, at most `per_content`: those that a fixed shuffle puts first.

    So two sounds that share many words are likely to share some that are kept.
    """
    rows, words = _distinct(*sound.telling())
    order = np.lexsort((words * SCRAMBLE, rows))
    rows, words = rows[order], words[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = place < per_content
    return Keyed(rows[kept], words[kept])


def pairs_sharing(keyed: Keyed, needed: Idx, reach: int) -> Pairs:
    """Pair rows that hold enough keys in common: what the one needs that needs fewer.

    The holders of a key stand in the order of their rows, and each is paired with the next `reach`
    of them: a key that many hold costs no more than one that few do, and what is alike is still
    joined along the line.

    Args:
        keyed: keys and their rows; a key twice in a row counts once.
        needed: for each row, keys in common from which another may be the same work.
        reach: how far along the line.
    """
    found, num_rows = [np.empty(0, np.int64)], len(needed)
    parts = 1 + len(keyed.keys) // KEYS_AT_ONCE
    for part in range(parts):
        mine = (keyed.keys * SCRAMBLE >> np.uint64(40)) % np.uint64(parts) == part
        found.append(_shared(keyed.rows[mine], keyed.keys[mine], reach, num_rows))
    codes, shared = np.unique(np.concatenate(found), return_counts=True)
    first, second = codes // max(num_rows, 1), codes % max(num_rows, 1)
    enough = shared >= np.minimum(needed[first], needed[second])
    return paired(first[enough], second[enough])


def paired(first: Array, second: Array) -> Pairs:
    """Put the lower row of each pair first, drop repeats and rows paired with themselves."""
    both = np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)
    rows = np.unique(both[first != second], axis=0).astype(np.int32)
    return Pairs(rows[:, 0], rows[:, 1])


def _distinct(rows: Idx, keys: Array) -> Keyed:
    order = np.lexsort((keys, rows))
    rows, keys = rows[order], keys[order]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[1:] != rows[:-1]) | (keys[1:] != keys[:-1])
    return Keyed(rows[fresh], keys[fresh])


def _shared(rows: Idx, keys: Array, reach: int, num_rows: int) -> Array:
    """Codes (row * num_rows + later row) of pairs along the line of each key."""
    line, keys = _distinct(rows, keys)
    order = np.lexsort((line, keys))
    line, keys = line[order].astype(np.int64), keys[order]
    codes = [np.empty(0, np.int64)]
    for step in range(1, reach + 1):
        same = keys[step:] == keys[:-step]
        if not same.any():
            break
        codes.append(line[:-step][same] * num_rows + line[step:][same])
    return np.concatenate(codes)
