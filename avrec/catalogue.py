"""The catalogue: what a user says of the items, joined to the media that was found."""

import logging
import posixpath
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from avrec import tabular
from avrec.errors import InputError, SchemaError
from avrec.log import pairs
from avrec.schema import ITEMS, MEDIA, TIME, conform

logger = logging.getLogger(__name__)
LISTS = ("tags", "regions")
SEPARATORS = r"[|;,]"


class Catalogue(NamedTuple):
    """ITEMS, and MEDIA with the item_ids of their catalogue entries."""

    items: pa.Table
    media: pa.Table


def read_items(uri: str, columns: Mapping[str, str]) -> pa.Table:
    """Read a user's table as ITEMS; a row without title gets its item_id as one.

    Tags and regions may be lists, or text separated by `|`, `;` or `,`. Of rows with one item_id
    the first is kept.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    unknown = sorted(columns.keys() - set(ITEMS.names))
    if unknown:
        raise InputError(f"media.columns names {unknown[0]!r}; an item has {ITEMS.names}")
    table = tabular.read(uri, columns)
    if "item_id" not in table.column_names:
        raise InputError(
            f"{uri} has no column 'item_id'; its columns are {table.column_names}. "
            'Name the right one: [media.columns] item_id = "..."'
        )
    table = table.filter(pc.is_valid(table["item_id"]))
    table = _first_of_each(_with_titles(_with_lists(table)), uri)
    try:
        return conform(_with_times(table), ITEMS)
    except (SchemaError, ValueError) as error:
        raise InputError(f"{uri}: {error}") from error


def merge(items: pa.Table | None, media: pa.Table) -> Catalogue:
    """Join ITEMS of a user with MEDIA of the files found.

    A file belongs to the item that names its uri, its item_id (the path below the input folder),
    its file name or its file name without ending, where only one item and one file do. A file of
    no item becomes one, titled by its name; an item of no file keeps no uri.

    Raises:
        InputError: there are neither items nor files, or no file can be read.
    """
    if items is None:
        items = ITEMS.empty_table()
    if not len(items) and not len(media):
        raise InputError("no items: set media.inputs to clips, or media.items to a catalogue")
    if not len(items) and not media["error"].null_count:
        raise InputError(
            f"none of the {len(media)} files could be read, such as {media['uri'][0]} "
            f"({media['error'][0]}); give a folder of audio or video"
        )
    owner = _owners(items, media)
    listed = set(items["item_id"].to_pylist())
    files = list(zip(media["item_id"].to_pylist(), media["uri"].to_pylist(), strict=True))
    entry = {
        file_id: owner.get(file_id, uri if file_id in listed else file_id) for file_id, uri in files
    }
    uri_of = {entry[file_id]: uri for file_id, uri in files}
    logger.info("catalogue %s", pairs(items=len(items), files=len(files), matched=len(owner)))
    unlisted = [entry[file_id] for file_id, _ in files if file_id not in owner]
    found = pa.table(
        {
            "item_id": pa.array(unlisted, pa.string()),
            "title": pa.array([readable(item_id) for item_id in unlisted], pa.string()),
        }
    )
    joined = pa.concat_tables([items, conform(found, ITEMS)])
    uris = [uri_of.get(item_id) for item_id in joined["item_id"].to_pylist()]
    joined = _replaced(joined, "uri", pa.array(uris, pa.string()))
    keys = pa.array([entry[file_id] for file_id, _ in files], pa.string())
    return Catalogue(
        joined.take(pc.sort_indices(joined["item_id"])),
        conform(_replaced(media, "item_id", keys), MEDIA),
    )


def put(items: pa.Table | None, more: pa.Table) -> pa.Table | None:
    """Put ITEMS over those of their ids, or beside them."""
    if items is None or not len(more):
        return more if len(more) else items
    kept = pc.invert(pc.is_in(items["item_id"], value_set=more["item_id"].combine_chunks()))
    return pa.concat_tables([items.filter(kept), more])


def without(joined: Catalogue, gone: pa.Table) -> Catalogue:
    """Leave out items by `item_id`, and their files."""
    ids = gone["item_id"].combine_chunks()
    tables = (
        table.filter(pc.invert(pc.is_in(table["item_id"], value_set=ids))) for table in joined
    )
    return Catalogue(*tables)


def readable(item_id: str) -> str:
    """Make a title of a file's path.

    >>> readable("animals/Snow_goose-02.ogg")
    'Snow goose 02'
    """
    stem = _stem(item_id)
    return " ".join(re.split(r"[\s_\-.+]+", stem)).strip() or item_id


def _owners(items: pa.Table, media: pa.Table) -> dict[str, str]:
    """For each file's item_id, the item that it belongs to."""
    entries = list(zip(items["item_id"].to_pylist(), items["uri"].to_pylist(), strict=True))
    files = list(zip(media["item_id"].to_pylist(), media["uri"].to_pylist(), strict=True))
    owner: dict[str, str] = {}
    taken: set[str] = set()
    for item_key, file_key in _KEYS:
        wanted = _unique(
            {item_id: item_key(item_id, uri) for item_id, uri in entries if item_id not in taken}
        )
        there = _unique(
            {file_id: file_key(file_id, uri) for file_id, uri in files if file_id not in owner}
        )
        for key in wanted.keys() & there.keys():
            owner[there[key]] = wanted[key]
            taken.add(wanted[key])
    return owner


def _unique(key_of: Mapping[str, str | None]) -> dict[str, str]:
    """Invert a mapping, without the keys that several have."""
    counts = Counter(key_of.values())
    return {key: one for one, key in key_of.items() if key and counts[key] == 1}


def _name(path: str) -> str:
    return posixpath.basename(path.partition("?")[0])


def _stem(path: str) -> str:
    return posixpath.splitext(_name(path))[0]


_KEYS = (
    (lambda _, uri: uri, lambda _, uri: uri),
    (lambda _, uri: uri, lambda file_id, _: file_id),
    (lambda item_id, _: item_id, lambda file_id, _: file_id),
    (lambda _, uri: uri and _name(uri), lambda _, uri: _name(uri)),
    (lambda item_id, _: _name(item_id), lambda _, uri: _name(uri)),
    (lambda _, uri: uri and _stem(uri), lambda _, uri: _stem(uri)),
    (lambda item_id, _: item_id, lambda _, uri: _stem(uri)),
)
"""What an item and a file may agree in, the surest first: functions of (item_id, uri)."""


def _with_lists(table: pa.Table) -> pa.Table:
    for name in LISTS:
        if name in table.column_names and pa.types.is_string(table[name].type):
            parts = pc.split_pattern_regex(table[name], SEPARATORS)
            table = _replaced(table, name, _stripped(parts))
    return table


def _stripped(lists: pa.ChunkedArray) -> pa.Array:
    rows = lists.to_pylist()
    clean = [row and [word.strip() for word in row if word.strip()] for row in rows]
    return pa.array(clean, pa.list_(pa.string()))


def _with_titles(table: pa.Table) -> pa.Table:
    ids = table["item_id"].cast(pa.string())
    if "title" not in table.column_names:
        return table.append_column("title", ids)
    return _replaced(table, "title", pc.coalesce(table["title"].cast(pa.string()), ids))


def _with_times(table: pa.Table) -> pa.Table:
    """Read ISO times, which are UTC where they name no zone."""
    name = "published_at"
    if name not in table.column_names or not pa.types.is_string(table[name].type):
        return table
    times = [text and datetime.fromisoformat(text) for text in table[name].to_pylist()]
    utc = [at and (at if at.tzinfo else at.replace(tzinfo=UTC)) for at in times]
    return _replaced(table, name, pa.array(utc, TIME))


def _replaced(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _first_of_each(table: pa.Table, uri: str) -> pa.Table:
    ids = table["item_id"].to_pylist()
    first = {item_id: row for row, item_id in reversed(list(enumerate(ids)))}
    if len(first) < len(ids):
        logger.warning("duplicates %s", pairs(table=uri, rows_dropped=len(ids) - len(first)))
    return table.take(pa.array(sorted(first.values()), pa.int64()))
