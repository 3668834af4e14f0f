"""Read a user's events: Parquet, CSV or JSON lines, under their own column names.

What is read has the columns of EVENTS, each nullable: a cell that cannot be understood is null
(NaN for numbers), and `avrec.clean` drops and counts its row.
"""

import codecs
import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv
from pyarrow import fs as pafs

from avrec.errors import InputError
from avrec.schema import DROPPED, EVENT_KINDS, EVENTS, TIME
from avrec.store import Place, place

IDS = ("event_id", "user_id", "item_id", "kind", "request_id")
NUMBERS = ("position_seconds", "value")
HEAD_BYTES = 65_536
UNIT_MICROS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (np.inf, 1e-3))
ISO_TIME = (
    r"^\s*(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<clock>\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?:Z|UTC|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))?\s*$"
)
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass(frozen=True, kw_only=True, slots=True)
class EventsConfig:
    """Where events are and what its columns are called."""

    uri: str = ""
    """A file or folder of `.parquet`, `.csv`, `.tsv` or `.jsonl`, the last three also `.gz`."""
    columns: dict[str, str] = field(default_factory=dict)
    """The file's name for a column of EVENTS, where it is another one: `user_id = "userId"`."""
    kind: str = ""
    """Kind of every event, for a file that has no such column: `rate` for a file of ratings."""

    def __post_init__(self) -> None:
        unknown = sorted(self.columns.keys() - set(EVENTS.names))
        if unknown:
            raise ValueError(f"columns must name columns of {EVENTS.names}, got {unknown[0]!r}")
        if self.kind and self.kind not in EVENT_KINDS:
            raise ValueError(f"kind must be one of {EVENT_KINDS}, got {self.kind!r}")


class Reading(NamedTuple):
    """Events as read, and the lines that are none, as DROPPED."""

    events: pa.Table
    dropped: pa.Table


def read_events(config: EventsConfig) -> Reading:
    """Read every file at `config.uri`.

    Raises:
        InputError: there is no such file, it is of no known format, or a column is missing.
    """
    tables, malformed = [], []
    for where in _files(config.uri):
        table, lines = _read(where, config)
        tables.append(_named(table, config, where))
        malformed.extend(lines)
    events = pa.concat_tables(tables)
    counted = [["malformed"], [len(malformed)], [malformed[0][:80]]] if malformed else [[], [], []]
    return Reading(_with_ids(events), pa.table(counted, schema=DROPPED))


def fingerprint(config: EventsConfig) -> str:
    """Tell the files by their names, sizes and times, in a few characters.

    Raises:
        InputError: as for `read_events`.
    """
    found = [file.filesystem.get_file_info(file.path) for file in _files(config.uri)]
    text = json.dumps([[f.path, f.size, f.mtime_ns] for f in found])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _files(uri: str) -> list[Place]:
    if not uri:
        raise InputError('no events: say where they are, [events] uri = "..."')
    where = place(uri)
    found = where.filesystem.get_file_info(where.path)
    if found.is_file:
        return [where]
    if found.type != pafs.FileType.Directory:
        raise InputError(f"no file or folder {uri!r}")
    inside = where.filesystem.get_file_info(pafs.FileSelector(where.path, recursive=True))
    paths = sorted(f.path for f in inside if f.is_file and _reader(f.path) is not None)
    if not paths:
        raise InputError(f"{uri!r} holds no {', '.join(READERS)}")
    return [Place(where.filesystem, path) for path in paths]


def _reader(path: str) -> "Reader | None":
    name = posixpath.basename(path).lower().removesuffix(".gz")
    return READERS.get(posixpath.splitext(name)[1])


def _read(where: Place, config: EventsConfig) -> tuple[pa.Table, list[str]]:
    reader = _reader(where.path)
    if reader is None:
        raise InputError(f"{where.path} is none of {', '.join(READERS)}")
    wanted = {name: config.columns.get(name, name) for name in EVENTS.names}
    try:
        return reader(where, wanted)
    except (pa.ArrowInvalid, pa.ArrowKeyError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"cannot read {where.path}: {str(error).splitlines()[0]}") from error


def _read_parquet(where: Place, wanted: Mapping[str, str]) -> tuple[pa.Table, list[str]]:
    with where.filesystem.open_input_file(where.path) as source:
        file = pq.ParquetFile(source)
        names = [name for name in wanted.values() if name in file.schema_arrow.names]
        return file.read(names) if names else file.schema_arrow.empty_table(), []


def _require_text(head: bytes, where: Place) -> None:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        raise InputError(f"{where.path} is not UTF-8 text; save it as UTF-8 CSV") from error


def _read_csv(where: Place, wanted: Mapping[str, str]) -> tuple[pa.Table, list[str]]:
    malformed: list[str] = []

    def skip(row: csv.InvalidRow) -> str:
        malformed.append(row.text or f"{row.actual_columns} columns")
        return "skip"

    with where.filesystem.open_input_stream(where.path) as source:
        _require_text(source.read(HEAD_BYTES), where)
    with where.filesystem.open_input_stream(where.path) as source:
        table = csv.read_csv(
            source,
            parse_options=csv.ParseOptions(
                delimiter="\t" if ".tsv" in where.path.lower() else ",",
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            convert_options=csv.ConvertOptions(
                column_types={wanted[name]: pa.string() for name in (*IDS, *NUMBERS)},
                null_values=["", "null", "NULL"],
                strings_can_be_null=True,
            ),
        )
    return table, malformed


def _read_json_lines(where: Place, wanted: Mapping[str, str]) -> tuple[pa.Table, list[str]]:
    with where.filesystem.open_input_stream(where.path) as source:
        lines = source.read().decode("utf-8", "replace").splitlines()
    rows, malformed = [], []
    for line in filter(str.strip, lines):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            malformed.append(line)
    names = sorted({name for row in rows for name in row})
    kept = [name for name in names if name in wanted.values()]
    columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in kept}
    columns |= {name: pa.nulls(len(rows)) for name in names if name not in columns}
    return pa.table(columns), malformed


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


Reader = Callable[[Place, Mapping[str, str]], tuple[pa.Table, list[str]]]
READERS: Mapping[str, Reader] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def _named(table: pa.Table, config: EventsConfig, where: Place) -> pa.Table:
    """Give the columns their names in EVENTS and their types."""
    required = ["user_id", "item_id", "at"] + ([] if config.kind else ["kind"])
    wanted = {name: config.columns.get(name, name) for name in EVENTS.names}
    for name, column in wanted.items():
        if column not in table.column_names and (name in required or name in config.columns):
            raise InputError(
                f"{where.path} has no column {column!r} for {name}; it has {table.column_names}: "
                f'write [events.columns] {name} = "one of them"'
                + (" or [events] kind" if name == "kind" else "")
            )
    columns = {}
    for name, column in wanted.items():
        if column in table.column_names:
            columns[name] = _typed(name, table[column])
        elif name == "kind":
            columns[name] = pa.chunked_array([pa.repeat(config.kind, len(table))])
        else:
            columns[name] = pa.chunked_array([pa.nulls(len(table), EVENTS.field(name).type)])
    return pa.table(columns)


def _typed(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if name == "at":
        return times(column)
    if name in NUMBERS:
        return _numbers(column)
    return _strings(column)


def _strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):  # integers that a null made floating
        whole = pc.equal(pc.floor(column), column)
        text = pc.cast(column, pa.string())
        return pc.if_else(whole, pc.replace_substring_regex(text, r"\.0$", ""), text)
    return _cast(column, pa.string())


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read as float64; text that is no number gives NaN."""
    if not _is_text(column.type):
        return _cast(column, pa.float64())
    text = pc.cast(column, pa.string())
    good = pc.match_substring_regex(text, NUMBER)
    return pc.cast(pc.utf8_trim_whitespace(pc.if_else(good, text, "nan")), pa.float64())


def times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read instants: timestamps, ISO 8601 text, or Unix seconds, ms, us or ns by their size.

    What names no zone is UTC; what is no time is null.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        unit = pa.timestamp("us", tz=getattr(column.type, "tz", None))
        return pc.cast(pc.cast(column, unit, safe=False), TIME, safe=False)
    if _is_text(column.type):
        text = pc.cast(column, pa.string())
        return pc.coalesce(_iso(text), _unix(_numbers(text)))
    return _unix(_numbers(column))


def _unix(column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    size = np.abs(values[np.isfinite(values)])
    typical = float(np.median(size)) if len(size) else 0.0
    scale = next(scale for limit, scale in UNIT_MICROS if typical < limit)
    micros = values * scale
    good = np.abs(micros) < 2**62
    whole = np.where(good, micros, 0).round().astype(np.int64)
    return pa.chunked_array([pc.cast(pa.array(whole, mask=~good), TIME)])


def _iso(column: pa.ChunkedArray) -> pa.ChunkedArray:
    parts = pc.extract_regex(column, ISO_TIME)
    date, clock, fraction, sign, hours, minutes = (
        pc.struct_field(parts, name)
        for name in ("date", "clock", "fraction", "sign", "hours", "minutes")
    )
    clock = pc.if_else(pc.equal(clock, ""), "00:00:00", clock)
    joined = pc.binary_join_element_wise(date, clock, "T")
    seconds = pc.strptime(joined, format="%Y-%m-%dT%H:%M:%S", unit="us", error_is_null=True)
    micros = _whole(pc.utf8_slice_codeunits(pc.utf8_rpad(fraction, 6, "0"), 0, 6))
    away = pc.add(pc.multiply(_whole(hours), 60), _whole(minutes))
    away = pc.if_else(pc.equal(sign, "-"), pc.negate(away), away)
    shift = pc.subtract(micros, pc.multiply(away, 60_000_000))
    return pc.cast(pc.add(pc.cast(seconds, pa.int64()), shift), TIME)


def _whole(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.if_else(pc.equal(text, ""), "0", text), pa.int64())


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return pc.cast(column, kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([pa.nulls(len(column), kind)])


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _with_ids(events: pa.Table) -> pa.Table:
    """Name the events that have no id by what is in them."""
    ids = events["event_id"]
    if not ids.null_count:
        return events
    told = events.drop_columns("event_id")
    told = told.set_column(told.column_names.index("at"), "at", told["at"].cast(pa.int64()))
    rows = zip(*(told[name].to_pylist() for name in told.column_names), strict=True)
    named = pa.chunked_array([[_digest(row) for row in rows]], pa.string())
    at = events.column_names.index("event_id")
    return events.set_column(at, "event_id", pc.coalesce(ids, named))


def _digest(row: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(row).encode(), digest_size=12).hexdigest()
