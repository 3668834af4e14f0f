"""What is known of the catalogue when a candidate is ranked, as arrays of one row an item."""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx, Mask, Micros, Offsets, Scores, Values, Vectors
from avrec.copies import Copies
from avrec.embed.pool import Content
from avrec.interactions import Histories
from avrec.schema import INTERACTIONS, ITEMS, MEDIA, conform
from avrec.vocab import Vocabulary

NUM_HASHES = 1024


class Held(NamedTuple):
    """Values that some rows hold: `codes[n]` is held by the `owner[n]`-th of the rows asked."""

    owner: Offsets
    codes: Idx


@dataclass(frozen=True, slots=True)
class Attribute:
    """The values, any number, that each item has of one attribute.

    Item `i` has `codes[offsets[i]:offsets[i + 1]]`; code `c` is the value `names.ids[c]`, and
    stands in every table of hashed fields in row `hashes[c]`; `first` is that row for each item's
    first value, 0 for none.
    """

    names: Vocabulary
    offsets: Offsets
    codes: Idx
    hashes: Idx
    first: Idx

    @property
    def num_codes(self) -> int:
        """Distinct values."""
        return len(self.hashes)

    def of(self, items: Idx) -> Held:
        """Values of the given items."""
        start = self.offsets[items]
        counts = self.offsets[items + 1] - start
        before = np.cumsum(counts) - counts
        entries = np.arange(counts.sum()) + np.repeat(start - before, counts)
        return Held(np.repeat(np.arange(len(items)), counts), self.codes[entries])


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Catalogue arrays, one row an item.

    `counts` are interactions of the training window, `log_popularity` the log of their smoothed
    share over an even share; `published_at` is -1 where unknown, `duration_seconds` NaN;
    `content` has unit rows, zeros where there is none; `playable` is false for an item whose
    every file failed; `copies` says which items are one work.
    """

    counts: Values
    log_popularity: Scores
    published_at: Micros
    duration_seconds: Values
    content: Vectors
    playable: Mask
    creators: Attribute
    languages: Attribute
    tags: Attribute
    copies: Copies


def knowledge(
    items: pa.Table,
    interactions: pa.Table,
    content: Content | None = None,
    media: pa.Table | None = None,
    *,
    num_hashes: int = NUM_HASHES,
) -> Knowledge:
    """Gather what is known of each item of the catalogue, in the order of its vocabulary.

    Every item is alone among its copies until told otherwise.

    Args:
        items: ITEMS, in any order.
        interactions: INTERACTIONS that popularity is counted on.
        content: pooled item vectors over the same vocabulary.
        media: MEDIA of the items that have files.
        num_hashes: rows of the tables that hashed fields look up.
    """
    table = conform(items, ITEMS)
    table = table.take(pc.sort_indices(table["item_id"]))
    vocabulary = Vocabulary.of(table["item_id"])
    num_items = len(vocabulary)
    row = vocabulary.idx(conform(interactions, INTERACTIONS)["item_id"])
    vectors = np.zeros((num_items, 1), np.float32) if content is None else content.joined()
    files = MEDIA.empty_table() if media is None else media
    counts = np.bincount(row[row >= 0], minlength=num_items).astype(np.float64)
    return Knowledge(
        counts=counts,
        log_popularity=log_popularity(counts),
        published_at=published_at(table),
        duration_seconds=durations(files, vocabulary),
        content=vectors,
        playable=playable(files, vocabulary),
        creators=attribute(table["creator_id"], num_hashes),
        languages=attribute(table["language"], num_hashes),
        tags=attribute(table["tags"], num_hashes),
        copies=Copies.none(num_items),
    )


def log_popularity(counts: Values) -> Scores:
    """Log of each item's smoothed share of interactions over an even share."""
    share = (counts + 1) / max(counts.sum() + len(counts), 1)
    return np.log(share * len(counts)).astype(np.float32)


def published_at(items: pa.Table) -> Micros:
    """When each of ITEMS came out, -1 where unknown."""
    known: Micros = pc.fill_null(items["published_at"].cast(pa.int64()), -1).to_numpy()
    return known


def attribute(column: pa.ChunkedArray, num_hashes: int = NUM_HASHES) -> Attribute:
    """Number the values of a column of strings or of lists of strings; nulls are no value."""
    num_items = len(column)
    if pa.types.is_list(column.type):
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        values, owner = pc.list_flatten(column), np.repeat(np.arange(num_items), counts)
    else:
        values, owner = column, np.arange(num_items)
    names = Vocabulary.of(values.drop_null())
    codes = names.idx(values)
    has = codes >= 0
    lengths = np.bincount(owner[has], minlength=num_items)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    hashes = np.array([_hash(name, num_hashes) for name in names.ids.to_pylist()], np.int32)
    first = np.zeros(num_items, np.int32)
    first[lengths > 0] = hashes[codes[has][offsets[:-1][lengths > 0]]]
    return Attribute(names, offsets, codes[has], hashes, first)


def durations(media: pa.Table, items: Vocabulary) -> Values:
    """Seconds of each item by MEDIA, NaN where unknown."""
    row = items.idx(media["item_id"])
    seconds = np.full(len(items), np.nan)
    found = media["duration_seconds"].to_numpy().astype(np.float64)
    seconds[row[row >= 0]] = found[row >= 0]
    return seconds


def playable(media: pa.Table, items: Vocabulary) -> Mask:
    """Which items have a file that could be read, or no file at all."""
    row = items.idx(media["item_id"])
    failed = media["error"].is_valid().to_numpy()
    has_file, has_good_file = np.zeros((2, len(items)), bool)
    has_file[row[row >= 0]] = True
    has_good_file[row[(row >= 0) & ~failed]] = True
    return has_good_file | ~has_file


def latest(histories: Histories) -> Idx:
    """Last item of each row, -1 for an empty one."""
    last = np.full(len(histories), -1, np.int32)
    full = histories.lengths() > 0
    last[full] = histories.items[histories.offsets[1:][full] - 1]
    return last


def _hash(text: str, num_hashes: int) -> int:
    """A row from 1; 0 stands for no value. It depends on the text alone, not on the catalogue."""
    return 1 + zlib.crc32(text.encode("utf-8", "surrogatepass")) % (num_hashes - 1)
