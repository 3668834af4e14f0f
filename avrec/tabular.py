"""Tables that users bring: Parquet, CSV and JSON lines, with their own column names."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from avrec.errors import ArtifactError, InputError
from avrec.store import place

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "tsv"}
SUFFIXES |= {".jsonl": "json", ".ndjson": "json"}
COMPRESSED = (".gz", ".zst", ".bz2")


def form_of(uri: str) -> str | None:
    """Tell from a name whether it is a table: parquet, csv, tsv, json, or None."""
    name = urlsplit(uri).path if "://" in uri else uri
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return next((form for suffix, form in SUFFIXES.items() if name.lower().endswith(suffix)), None)


def fingerprint(uri: str) -> str:
    """Tell a table by its size and time; empty where there is none."""
    if not uri:
        return ""
    where = place(uri)
    found = where.filesystem.get_file_info(where.path)
    return f"{found.size} {found.mtime_ns}"


def read(uri: str, columns: Mapping[str, str] | None = None) -> pa.Table:
    """Read a user's table; `columns` maps our column names to theirs.

    Columns that are not mapped keep their names; those of CSV are all text, so that an id "007"
    stays one.

    Raises:
        InputError: the file is absent or no table, or a mapped column is not there.
    """
    form = form_of(uri)
    if form is None:
        raise InputError(f"{uri} must end in one of {sorted(SUFFIXES)}, or those with .gz")
    try:
        where = place(uri)
        with where.filesystem.open_input_stream(where.path, compression="detect") as stream:
            content = pa.BufferReader(stream.read())
        table = _parse(content, form)
    except FileNotFoundError as error:
        raise InputError(f"{uri} does not exist") from error
    except (pa.ArrowException, OSError, ArtifactError) as error:
        raise InputError(f"cannot read {uri} as {form}: {error}") from error
    return renamed(table, columns or {}, uri)


def renamed(table: pa.Table, columns: Mapping[str, str], uri: str) -> pa.Table:
    """Give columns our names; a column of theirs may serve for several of ours.

    Raises:
        InputError: a mapped column is not in the table.
    """
    missing = sorted(theirs for theirs in columns.values() if theirs not in table.column_names)
    if missing:
        raise InputError(
            f"{uri} has no column {missing[0]!r}; its columns are {table.column_names}"
        )
    kept = [name for name in table.column_names if name not in {*columns, *columns.values()}]
    chosen = {**{name: name for name in kept}, **columns}
    return pa.table({ours: table[theirs] for ours, theirs in chosen.items()})


def _parse(content: pa.BufferReader, form: str) -> pa.Table:
    if form == "parquet":
        return pq.read_table(content)
    if form == "json":
        return pa.json.read_json(content) if content.size() else pa.table({})
    delimiter = "\t" if form == "tsv" else ","
    parsing = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    names = pa.csv.open_csv(content, parse_options=parsing).schema.names
    content.seek(0)
    as_text = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    return pa.csv.read_csv(content, parse_options=parsing, convert_options=as_text)
