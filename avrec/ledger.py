"""What was computed of which content, so that nothing is computed twice and nothing gets lost.

    ledger/<producer>/<plan>/part-<digest>.parquet

A content is named by the SHA-256 of its bytes, a producer by name@revision, a plan by what the
producer was shown. A part has every row of the contents that it names, and is itself named by the
digest of its bytes, so a task that runs twice writes the same file. Parts are only ever added, by
any worker, also by one that outlived its driver. Where several parts name one content, the order
of writing does not matter: a result comes before a failure, a final failure before one that is
worth another try, and then the first part by name. So any order, repetition and partition of the
work gives the same tables.

Ray Data's own checkpointing (`ray.data.checkpoint`, as of Ray 2.60) would not do. It notes the id
of a row when the row has passed from a Read through the whole plan to a Write, and drops rows with
such an id from the next run's Read. Here a content may be finished for one producer and not for
the next, so that a new encoder sees all files and the others none; what a slow pool has not seen
yet is kept of the pools before it; a content gives many rows, or none, or a failure that is tried
again; and two runs may work at once, whereas Ray's recovery deletes what is pending of any.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from avrec.errors import ArtifactError
from avrec.log import pairs
from avrec.schema import conform
from avrec.store import Place

logger = logging.getLogger(__name__)
FOLDER = "ledger"
ROW, EMPTY = "row", "empty"
"""Outcomes beside the kinds of failure: a row of the result; a result of no rows."""
RETRIED = ("timeout", "crashed", "fetch_failed")
"""Kinds of failure that may pass; a content with any other is finished."""
PART_BYTES = 1 << 27
MIN_MERGED = 16
NUM_READERS = 16

_HEAD = pa.schema(
    [pa.field("sha256", pa.string(), nullable=False), pa.field("outcome", pa.string())]
    + [pa.field(name, pa.string()) for name in ("stage", "message")]
)
FAILURES = pa.schema(
    [pa.field(n, pa.string(), nullable=False) for n in ("sha256", "stage", "kind", "message")]
)
"""One row per content that gave no result."""


class Failure(NamedTuple):
    """Why a content gave no result; `kind` as of MediaError, `stage` says where."""

    sha256: str
    stage: str
    kind: str
    message: str


class Held(NamedTuple):
    """What the ledger holds of one producer under one plan."""

    producer: str
    plan_key: str
    num_parts: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The parts of one producer under one plan, below the root of a workspace.

    `schema` is of the producer's rows, without their content.
    """

    root: Place
    producer: str
    plan_key: str
    schema: pa.Schema

    @property
    def home(self) -> Place:
        """Folder of the parts."""
        return self.root / FOLDER / _quoted(self.producer) / _quoted(self.plan_key)

    def write(
        self, rows: pa.Table, contents: Iterable[str], failures: Sequence[Failure] = ()
    ) -> None:
        """Write what came of some contents, as one part.

        Args:
            rows: `sha256` and the columns of `schema`; all rows of every content in it.
            contents: those with a result; one without a row is finished all the same.
            failures: those without.
        """
        whole = pa.schema([_HEAD.field("sha256"), *self.schema])
        seen = conform(rows, whole)
        empty = sorted(set(contents) - set(seen["sha256"].unique().to_pylist()))
        heads = [_heads([(key, EMPTY, None, None) for key in empty])]
        heads += [_heads([(f.sha256, f.kind, f.stage, f.message) for f in failures])]
        told = seen.append_column("outcome", pa.array([ROW] * len(seen), pa.string()))
        table = pa.concat_tables([told, *heads], promote_options="default")
        if len(table):
            self._write(table)

    def finished(self) -> set[str]:
        """Contents that need no more work: they have a result, or a failure that will not pass."""
        keys = self._keys()
        return set(keys.filter(pc.invert(_in(keys["outcome"], RETRIED)))["sha256"].to_pylist())

    def tried(self) -> set[str]:
        """Contents with a result or any failure."""
        return set(self._keys()["sha256"].to_pylist())

    def outcomes(self) -> pa.Table:
        """One row a content, sorted: `sha256` and `outcome`, ROW, EMPTY or a kind of failure."""
        return self._keys().select(["sha256", "outcome"])

    def tables(self) -> Iterator[pa.Table]:
        """Give the rows of every content once, part by part: `sha256` and the columns of `schema`.

        Raises:
            ArtifactError: a part is gone or damaged.
        """
        for name, chosen in self._chosen():
            table = self._read(name)
            rows = table.filter(pc.equal(table["outcome"], ROW))
            rows = rows.filter(_in(rows["sha256"], chosen))
            if len(rows):
                yield rows.select(["sha256", *self.schema.names])

    def failures(self) -> pa.Table:
        """Give FAILURES of the contents that have no result."""
        found = [FAILURES.empty_table()]
        for name, chosen in self._chosen():
            table = self._read(name, _HEAD.names)
            failed = table.filter(pc.invert(_in(table["outcome"], (ROW, EMPTY))))
            failed = failed.filter(_in(failed["sha256"], chosen)).rename_columns(
                ["sha256", "kind", "stage", "message"]
            )
            found.append(failed.select(FAILURES.names).cast(FAILURES))
        return pa.concat_tables(found).sort_by("sha256")

    def compact(self, part_bytes: int = PART_BYTES, min_merged: int = MIN_MERGED) -> int:
        """Merge small parts so that reading keys stays cheap; returns how many parts went.

        For one process at a time, beside any number of writers. A part goes when what it said is
        in another, so a kill in between costs nothing.
        """
        small = [info for info in self._infos() if info.size < part_bytes // 2]
        gone = 0
        for group in _groups(small, part_bytes):
            if len(group) >= min_merged:
                kept = self._write(self._merged([info.base_name for info in group]))
                gone += sum(
                    self._remove(info.base_name) for info in group if info.base_name != kept
                )
        return gone

    def _write(self, table: pa.Table) -> str:
        names = [*_HEAD.names, *self.schema.names]
        order = np.argsort(np.asarray(table["sha256"].to_pylist(), object), kind="stable")
        sink = pa.BufferOutputStream()
        pq.write_table(table.select(names).take(pa.array(order)), sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        name = f"part-{hashlib.sha256(content).hexdigest()[:32]}.parquet"
        self.home.write_part(name, content)
        return name

    def _infos(self) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.home.path, allow_not_found=True)
        infos = self.root.filesystem.get_file_info(selector)
        parts = [i for i in infos if i.is_file and i.base_name.startswith("part-")]
        return sorted(parts, key=lambda info: info.base_name)

    def _keys(self, names: Sequence[str] | None = None) -> pa.Table:
        """One row a content: which outcome counts, and the part that has it.

        Args:
            names: parts to look at; all where not given.
        """
        parts = [info.base_name for info in self._infos()] if names is None else sorted(names)
        with ThreadPoolExecutor(NUM_READERS) as readers:
            read = [one for one in readers.map(self._outcomes, parts) if one is not None]
        keys = pa.concat_tables([_KEYS.empty_table(), *read])
        best = keys.append_column("rank", _rank(keys["outcome"])).sort_by(
            [("sha256", "ascending"), ("rank", "ascending"), ("part", "ascending")]
        )
        return best.filter(_first(best["sha256"])).select(_KEYS.names)

    def _chosen(self, names: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Array]]:
        """Parts by name, with the contents that are to be read there."""
        keys = self._keys(names)
        for name in sorted(keys["part"].unique().to_pylist()):
            yield name, keys.filter(pc.equal(keys["part"], name))["sha256"].combine_chunks()

    def _outcomes(self, name: str) -> pa.Table | None:
        """Contents of one part, or None for a file cut short, whose work is done again."""
        try:
            table = self._read(name, ["sha256", "outcome"])
        except ArtifactError as error:
            logger.warning("left out of the ledger %s", pairs(part=name, why=str(error)))
            return None
        unique = table.group_by(["sha256", "outcome"]).aggregate([])
        return unique.append_column("part", pa.array([name] * len(unique), pa.string())).cast(_KEYS)

    def _read(self, name: str, columns: list[str] | None = None) -> pa.Table:
        where = self.home / name
        try:
            with self.root.filesystem.open_input_file(where.path) as source:
                return pq.read_table(source, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"cannot read {where.path}, delete it: {error}") from error

    def _merged(self, names: list[str]) -> pa.Table:
        read = [
            table.filter(_in(table["sha256"], chosen))
            for table, chosen in ((self._read(name), keys) for name, keys in self._chosen(names))
        ]
        return pa.concat_tables(read)

    def _remove(self, name: str) -> int:
        with suppress(FileNotFoundError):  # another run was faster
            self.root.filesystem.delete_file((self.home / name).path)
        return 1


def held(root: Place) -> list[Held]:
    """List what the ledger of a workspace holds, so that one may `forget` what is not needed."""
    selector = pafs.FileSelector((root / FOLDER).path, recursive=True, allow_not_found=True)
    sizes: dict[tuple[str, str], list[int]] = {}
    for info in root.filesystem.get_file_info(selector):
        if info.is_file and info.base_name.startswith("part-"):
            producer, plan_key = info.path.split("/")[-3:-1]
            sizes.setdefault((unquote(producer), unquote(plan_key)), []).append(info.size)
    return [Held(*key, len(found), sum(found)) for key, found in sorted(sizes.items())]


def forget(root: Place, producer: str) -> None:
    """Delete all that was kept of a producer; nothing happens where there is nothing."""
    home = root / FOLDER / _quoted(producer)
    if home.filesystem.get_file_info(home.path).type == pafs.FileType.Directory:
        home.filesystem.delete_dir(home.path)


_KEYS = pa.schema([pa.field(name, pa.string()) for name in ("sha256", "outcome", "part")])


def _heads(rows: list[tuple[str, str, str | None, str | None]]) -> pa.Table:
    records = [dict(zip(_HEAD.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(records, schema=_HEAD)


def _rank(outcomes: pa.ChunkedArray) -> pa.ChunkedArray:
    """0 of a result, 1 of a failure that will not pass, 2 of one that may."""
    failed = pc.invert(_in(outcomes, (ROW, EMPTY)))
    return pc.add(pc.cast(failed, pa.int8()), pc.cast(_in(outcomes, RETRIED), pa.int8()))


def _in(values: pa.ChunkedArray, among: Sequence[str] | pa.Array) -> pa.ChunkedArray:
    return pc.is_in(values, value_set=pa.array(among, pa.string()))


def _first(values: pa.ChunkedArray) -> pa.Array:
    """Mask of the first of each run of equal values."""
    flat = np.asarray(values.to_pylist(), object)
    return pa.array(np.append(np.ones(min(len(flat), 1), bool), flat[1:] != flat[:-1]))


def _groups(infos: list[pafs.FileInfo], part_bytes: int) -> Iterator[list[pafs.FileInfo]]:
    group: list[pafs.FileInfo] = []
    for info in infos:
        if sum(one.size for one in group) + info.size > part_bytes:
            yield group
            group = []
        group.append(info)
    yield group


def _quoted(name: str) -> str:
    return quote(name, safe="@")
