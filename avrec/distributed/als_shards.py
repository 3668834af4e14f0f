"""Interactions, read by shard: every worker reads some row groups and sends rows to their owners.

No worker holds more of the weights than the rows of its part of either side, and what it reads
before they are sent. Each knows the ids of all users, which take less room than their factors.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSystem
from scipy.sparse import csr_array

from avrec.arrays import Array, Idx, Micros, Offsets, Weights
from avrec.errors import InputError
from avrec.models.als_fit import Parts
from avrec.models.als_objective import ALSConfig
from avrec.models.als_parts import Collective, Part, cut_blocks, worker_bounds
from avrec.schema import INTERACTIONS
from avrec.splits import SplitConfig, moments
from avrec.store import Workspace
from avrec.vocab import Vocabulary


@dataclass(frozen=True, slots=True)
class Shards:
    """Where INTERACTIONS lie, and which of them train: those before a moment, UTC microseconds."""

    filesystem: FileSystem
    paths: tuple[str, ...]
    items: Vocabulary
    before: int

    def files(self) -> list[pq.ParquetFile]:
        """Open the parts; ids are read as numbers beside the list of the distinct ones."""
        return [
            pq.ParquetFile(path, filesystem=self.filesystem, read_dictionary=["user_id", "item_id"])
            for path in self.paths
        ]


def shards(workspace: Workspace, items: Vocabulary, config: SplitConfig) -> Shards:
    """Find the interactions that train, one row group in memory at a time.

    Raises:
        InputError: a weight is negative or not finite; the message names user and item.
    """
    paths, filesystem = workspace.part_paths("interactions")
    found = Shards(filesystem, tuple(paths), items, 0)
    at = [np.empty(0, np.int64)]
    for file in found.files():
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["weight", "at"])
            _check(file, group, table["weight"].to_numpy())
            at.append(_micros(table["at"]))
    before, _ = moments(np.concatenate(at), config)
    return Shards(filesystem, tuple(paths), items, before)


def load(shards: Shards, config: ALSConfig, group: Collective) -> Parts:
    """Read this worker's share and trade it for the rows of its part of both sides."""
    read = _read_share(shards, group)
    users = _everyone(read.users, group)
    user: Idx = users.idx(read.users)[read.user] if len(read.user) else read.user
    sides = (user, read.item, len(users)), (read.item, user, len(shards.items))
    made = []
    for (row, column, num_rows), num_columns in zip(
        sides, [len(shards.items), len(users)], strict=True
    ):
        degrees = group.total(np.bincount(row, minlength=num_rows).astype(np.int64))
        entries = _Entries(row, column, read.weight)
        made.append(_part(entries, cut_blocks(degrees, config), num_columns, group))
    for part in made:
        part.pull.data *= np.float32(config.alpha)
    return Parts(*made)


class _Share(NamedTuple):
    """What one worker has read: distinct users, and an entry each of the rest an interaction."""

    users: pa.StringArray
    user: Idx
    item: Idx
    weight: Weights


class _Entries(NamedTuple):
    row: Idx
    column: Idx
    weight: Weights


def _read_share(shards: Shards, group: Collective) -> _Share:
    files = shards.files()
    places = [(file, n) for file in files for n in range(file.num_row_groups)]
    sizes = np.array([file.metadata.row_group(n).num_rows for file, n in places], np.int64)
    middle = np.cumsum(sizes) - sizes / 2
    owner = (middle * group.size // max(int(sizes.sum()), 1)).astype(int)
    read = [_read(shards, *places[n]) for n in np.flatnonzero(owner == group.rank)]
    read.append(_Share(pa.array([], pa.string()), *_NOTHING))
    local = Vocabulary.of(pa.chunked_array([one.users for one in read]))
    return _Share(
        local.ids,
        np.concatenate([local.idx(one.users)[one.user] for one in read]),
        np.concatenate([one.item for one in read]),
        np.concatenate([one.weight for one in read]),
    )


_NOTHING = np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)


def _read(shards: Shards, file: pq.ParquetFile, row_group: int) -> _Share:
    """Read one row group: what trains, of items in the catalogue, and of some weight."""
    table = file.read_row_group(row_group, columns=["user_id", "item_id", "weight", "at"])
    ids, user = _coded(table["user_id"])
    item_ids, item = _coded(table["item_id"])
    item = shards.items.idx(item_ids)[item] if len(item) else item
    weight = table["weight"].to_numpy().astype(np.float32)
    kept = (item >= 0) & (weight > 0) & (_micros(table["at"]) < shards.before)
    there, place = np.unique(user[kept], return_inverse=True)
    return _Share(ids.take(pa.array(there)), place.astype(np.int32), item[kept], weight[kept])


def _coded(column: pa.ChunkedArray) -> tuple[pa.StringArray, Idx]:
    """Distinct ids of a column, and for each row the place of its id among them."""
    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = (
            pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([]).dictionary_encode()
        )
    if not isinstance(whole, pa.DictionaryArray):
        whole = whole.dictionary_encode()
    return whole.dictionary.cast(pa.string()), whole.indices.to_numpy().astype(np.int32)


def _everyone(mine: pa.StringArray, group: Collective) -> Vocabulary:
    """Number the users that any worker has read."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _IDS) as out:
        out.write_table(pa.table([mine], schema=_IDS))
    bits = np.frombuffer(sink.getvalue(), np.uint8)
    pieces = group.exchange([bits] * group.size)
    tables = [pa.ipc.open_stream(pa.py_buffer(piece)).read_all() for piece in pieces]
    return Vocabulary.of(pa.concat_tables(tables)["user_id"])


_IDS = pa.schema([INTERACTIONS.field("user_id")])


def _part(entries: _Entries, blocks: Offsets, num_columns: int, group: Collective) -> Part:
    """Send entries to the workers that own their rows, and keep what comes in."""
    bounds = worker_bounds(blocks, group.size)
    owner = np.searchsorted(bounds[1:-1], entries.row, side="right")
    order = np.argsort(owner, kind="stable")
    cuts = np.searchsorted(owner[order], np.arange(1, group.size))

    def trade(values: Array) -> Array:
        return np.concatenate(group.exchange(np.split(values[order], cuts)))

    row, column, weight = (trade(values) for values in entries)
    start, stop = bounds[group.rank : group.rank + 2]
    shape = (int(stop - start), num_columns)
    pull = csr_array((weight, (row - np.int32(start), column)), shape=shape, dtype=np.float32)
    pull.sum_duplicates()
    return Part.of(pull, blocks, group)


def _check(file: pq.ParquetFile, row_group: int, weight: Weights) -> None:
    wrong = np.flatnonzero(~((weight >= 0) & (weight < np.inf)))
    if len(wrong):
        table = file.read_row_group(row_group, columns=["user_id", "item_id"])
        row = table.slice(int(wrong[0]), 1).to_pylist()[0]
        raise InputError(
            f"interactions must have weights of at least 0 and finite; that of user "
            f"{row['user_id']!r} and item {row['item_id']!r} is {weight[wrong[0]]}"
        )


def _micros(column: pa.ChunkedArray) -> Micros:
    return column.cast(pa.int64()).to_numpy()
