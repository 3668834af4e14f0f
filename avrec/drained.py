"""What the service took in, as training finds it: Parquet below `live` in the workspace.

    live/events-00000001.parquet   EVENTS of one batch
    live/served-00000001.parquet   RECOMMENDATIONS of one batch
    live/forgotten.parquet         FORGOTTEN: whose past may not be used
    live/items.parquet             ITEMS that were put
    live/gone.parquet              GONE: items that were deleted

A batch is named by its number, so writing it twice leaves it there once.
"""

import hashlib
import logging
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from avrec.schema import EVENTS, FORGOTTEN, ITEMS, RECOMMENDATIONS, conform
from avrec.store import Place

logger = logging.getLogger(__name__)
FOLDER, NOTES = "live", "forgotten.parquet"
PUT, DELETED = "items.parquet", "gone.parquet"
GONE = pa.schema([pa.field("item_id", pa.string(), nullable=False)])
"""One row an item that is in no catalogue any more."""


class Told(NamedTuple):
    """What a service was told of the catalogue: ITEMS put, and GONE."""

    put: pa.Table
    gone: pa.Table


def write_batch(root: Place, number: int, events: pa.Table, served: pa.Table) -> None:
    """Put EVENTS and RECOMMENDATIONS of a batch, each where there are any."""
    for name, table, schema in (("events", events, EVENTS), ("served", served, RECOMMENDATIONS)):
        if len(table):
            (root / FOLDER).write_table(f"{name}-{number:08d}.parquet", conform(table, schema))


def write_forgotten(root: Place, forgotten: pa.Table) -> None:
    """Put FORGOTTEN, and take the rows of those who are new in it out of every batch."""
    known = read_forgotten(root)
    if not len(forgotten) or forgotten.equals(known):
        return
    for name in _names(root, ("events-", "served-")):
        table = _read(root, name)
        left = without_forgotten(table, forgotten)
        if len(left) < len(table):
            (root / FOLDER).write_table(name, left)
    (root / FOLDER).write_table(NOTES, forgotten)


def write_items(root: Place, told: Told) -> None:
    """Put all that became of the catalogue, over what was there."""
    (root / FOLDER).write_table(PUT, conform(told.put, ITEMS))
    (root / FOLDER).write_table(DELETED, conform(told.gone, GONE))


def read_items(root: Place) -> Told:
    """What became of the catalogue; nothing where no service was told."""
    if not _names(root, (PUT,)):
        return Told(ITEMS.empty_table(), GONE.empty_table())
    return Told(conform(_read(root, PUT), ITEMS), conform(_read(root, DELETED), GONE))


def read_events(root: Place) -> pa.Table:
    """Every EVENTS that was drained, in the order in which it came in."""
    tables = [_read(root, name) for name in _names(root, ("events-",))]
    return pa.concat_tables([EVENTS.empty_table(), *tables])


def read_forgotten(root: Place) -> pa.Table:
    """FORGOTTEN, empty where nobody is."""
    found = _names(root, (NOTES,))
    return conform(_read(root, NOTES), FORGOTTEN) if found else FORGOTTEN.empty_table()


def told(events: pa.Table, root: Place) -> pa.Table:
    """Join what was drained to other events, and leave out what is to be forgotten."""
    every = pa.concat_tables([events, read_events(root).cast(events.schema)])
    left = without_forgotten(every, read_forgotten(root))
    if len(left) < len(every):
        logger.info("events of forgotten users left out: %d", len(every) - len(left))
    return left


def without_forgotten(table: pa.Table, forgotten: pa.Table) -> pa.Table:
    """Leave out rows of users, by `user_id` and `at`, that are not after they were forgotten."""
    place = pc.index_in(table["user_id"], value_set=forgotten["user_id"])
    until = pc.take(forgotten["at"], place).cast(pa.int64())
    at = table["at"].cast(pa.int64())
    return table.filter(pc.fill_null(pc.greater(at, until), fill_value=True))


def fingerprint(root: Place, prefixes: tuple[str, ...] = ("events-", "served-", NOTES)) -> str:
    """Tell the files whose names begin so by these, sizes and times, in a few characters."""
    found = [one for one in _infos(root) if one.base_name.startswith(prefixes)]
    text = repr([(one.base_name, one.size, one.mtime_ns) for one in found])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _infos(root: Place) -> list[pafs.FileInfo]:
    folder = root / FOLDER
    inside = pafs.FileSelector(folder.path, allow_not_found=True)
    found = folder.filesystem.get_file_info(inside)
    kept = [one for one in found if one.is_file and one.base_name.endswith(".parquet")]
    return sorted(kept, key=lambda one: one.base_name)


def _names(root: Place, prefixes: tuple[str, ...]) -> list[str]:
    names = [one.base_name for one in _infos(root)]
    return [name for name in names if name.startswith(prefixes) and not name.startswith(".")]


def _read(root: Place, name: str) -> pa.Table:
    return pq.read_table(pa.BufferReader((root / FOLDER / name).read()))
