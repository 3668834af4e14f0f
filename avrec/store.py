"""Named artifacts under one root: tables, models and bundles, each with a manifest.

    root/<name>/current.json             which version is the current one
    root/<name>/<version>/manifest.json  what it holds and what it was made from
    root/<name>/<version>/...            Parquet, safetensors and JSON files

A version is written beside the others. Its manifest comes last, and `current.json` is replaced
after that in one step, so a reader sees the old version or the whole new one. The root is a
local path or any URI that `pyarrow.fs` knows (`s3://bucket/prefix?endpoint_override=...`).
"""

import hashlib
import json
import os
import posixpath
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from pyarrow import fs as pafs

from avrec import __version__
from avrec.arrays import Array
from avrec.errors import ArtifactError
from avrec.schema import conform
from avrec.tensors import streamed

FORMAT = 1
CURRENT, MANIFEST = "current.json", "manifest.json"
CREDENTIALS = re.compile(rb"://[^/@\s\"]+@")


class Part(NamedTuple):
    """One file of an artifact, as its manifest names it."""

    name: str
    size_bytes: int
    sha256: str
    num_rows: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an artifact is made from: equal recipes need not be cooked twice."""

    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    code_version: str = __version__

    @property
    def key(self) -> str:
        """Digest of the whole recipe."""
        return hashlib.sha256(_to_json(asdict(self))).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Place:
    """A directory on some file system; small enough to send to any worker."""

    filesystem: pafs.FileSystem
    path: str

    def __truediv__(self, name: str) -> "Place":
        return Place(self.filesystem, posixpath.join(self.path, name))

    def read(self) -> bytes:
        """Contents of the file at this place."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return stream.read()

    def write(self, content: bytes) -> None:
        """Put a file here, whole or not at all."""
        self.write_pieces([content])

    def write_pieces(self, pieces: Iterable[bytes]) -> None:
        """Put a file here that comes in pieces, whole or not at all."""
        if isinstance(self.filesystem, pafs.LocalFileSystem):
            _write_and_rename(Path(self.path), pieces)
        else:
            with self.filesystem.open_output_stream(self.path) as stream:
                for piece in pieces:
                    stream.write(piece)

    def exists(self) -> bool:
        """Tell whether a file is here."""
        return self.size_bytes() is not None

    def size_bytes(self) -> int | None:
        """Length of the file here, or None."""
        found = self.filesystem.get_file_info(self.path)
        return found.size if found.is_file else None

    def write_table(self, name: str, table: pa.Table) -> Part:
        """Write one Parquet file below this place; any worker may call it."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return self.write_part(name, sink.getvalue().to_pybytes(), len(table))

    def write_part(self, name: str, content: bytes, num_rows: int = 0) -> Part:
        """Write one file below this place and say what it is."""
        return self.write_stream(name, [content], num_rows)

    def write_stream(self, name: str, pieces: Iterable[bytes], num_rows: int = 0) -> Part:
        """Write one file below this place piece by piece, and say what it is."""
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield piece

        (self / name).write_pieces(counted())
        return Part(name, size, digest.hexdigest(), num_rows)


def place(uri: str) -> Place:
    """Resolve a local path or a `pyarrow.fs` URI.

    Raises:
        ArtifactError: the URI names no file system that pyarrow knows.
    """
    try:
        if "://" in uri:
            filesystem, path = pafs.FileSystem.from_uri(uri)
            return Place(filesystem, path.rstrip("/"))
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"cannot use {uri!r} as a workspace: {error}") from error
    return Place(pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute()))


def join(uri: str, name: str) -> str:
    """Name a file below a root: a local path is made absolute, a URI keeps its query.

    >>> join("s3://bucket/run?region=us-east-1", "sample/items.parquet")
    's3://bucket/run/sample/items.parquet?region=us-east-1'
    """
    if "://" not in uri:
        return str(Path(uri).expanduser().absolute() / name)
    root, mark, query = uri.partition("?")
    return f"{root.rstrip('/')}/{name}{mark}{query}"


class Draft:
    """A version being written; `with` commits it when the block ends well, else removes it."""

    def __init__(self, home: Place, recipe: Recipe) -> None:
        self.home, self.recipe = home, recipe
        self.version = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self.place = home / self.version
        self.metrics: dict[str, float] = {}
        self.notes: dict[str, Any] = {}
        self._parts: list[Part] = []
        self._schema: pa.Schema | None = None
        self.place.filesystem.create_dir(self.place.path, recursive=True)

    def add(self, part: Part) -> None:
        """Count in a file that a worker has written below `place`."""
        self._parts.append(part)

    def add_table(self, name: str, table: pa.Table, schema: pa.Schema | None = None) -> None:
        """Write a Parquet file, checked against `schema`."""
        checked = conform(table, schema) if schema is not None else table
        self.add(self.place.write_table(name, checked))

    def add_tensors(self, name: str, tensors: Mapping[str, Array]) -> None:
        """Write a safetensors file, piece by piece."""
        self.add(self.place.write_stream(name, streamed(tensors)))

    def add_json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.add(self.place.write_part(name, _to_json(value)))

    def set_schema(self, schema: pa.Schema) -> None:
        """Name the schema that every `part-*.parquet` of this version has."""
        self._schema = schema

    def commit(self) -> None:
        """Write the manifest, then make this version the current one."""
        manifest = {
            "format": FORMAT,
            "version": self.version,
            "created_at": datetime.now(UTC).isoformat(),
            "recipe": self.recipe.key,
            "config": self.recipe.config,
            "inputs": self.recipe.inputs,
            "code_version": self.recipe.code_version,
            "schema": {f.name: str(f.type) for f in self._schema} if self._schema else None,
            "metrics": self.metrics,
            "notes": self.notes,
            "files": [part._asdict() for part in sorted(self._parts)],
        }
        (self.place / MANIFEST).write(_to_json(manifest))
        (self.home / CURRENT).write(_to_json({"version": self.version}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            with suppress(OSError):
                self.place.filesystem.delete_dir(self.place.path)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One committed version, checked against its manifest whenever a file is read."""

    place: Place
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def version(self) -> str:
        """Name of this version."""
        return self.manifest["version"]

    def names(self, prefix: str = "") -> list[str]:
        """Files whose name starts with `prefix`."""
        return [f["name"] for f in self.manifest["files"] if f["name"].startswith(prefix)]

    def num_rows(self) -> int:
        """Rows over all Parquet files."""
        return sum(f["num_rows"] for f in self.manifest["files"])

    def table(self, name: str, schema: pa.Schema | None = None) -> pa.Table:
        """Read one Parquet file."""
        table = pq.read_table(pa.BufferReader(self.bytes(name)))
        return conform(table, schema) if schema is not None else table

    def tensors(self, name: str) -> dict[str, Array]:
        """Read one safetensors file."""
        return safetensors.numpy.load(self.bytes(name))

    def json(self, name: str) -> Any:
        """Read one JSON file."""
        return json.loads(self.bytes(name))

    def bytes(self, name: str) -> bytes:
        """Read one file.

        Raises:
            ArtifactError: the file is absent, or not the one that the manifest names.
        """
        known = {f["name"]: f for f in self.manifest["files"]}
        if name not in known:
            raise ArtifactError(f"{self.place.path} holds no {name!r}, only {sorted(known)}")
        try:
            content = (self.place / name).read()
        except FileNotFoundError as error:
            raise ArtifactError(f"{self.place.path}/{name} is gone; make it again") from error
        if hashlib.sha256(content).hexdigest() != known[name]["sha256"]:
            raise ArtifactError(f"{self.place.path}/{name} was altered; make it again")
        return content

    def check(self) -> None:
        """Read every file against its hash.

        Raises:
            ArtifactError: a file is absent or altered.
        """
        for name in self.names():
            self.bytes(name)


class Workspace:
    """The named artifacts under one root."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.root = place(uri)

    def recipe(
        self, config: object, *names: str, outside: Mapping[str, str] | None = None
    ) -> Recipe:
        """State a recipe: a config dataclass, artifacts by name, fingerprints of outside files.

        Credentials in URIs are left out, for a manifest holds the recipe.
        """
        inputs = {name: self.open(name).version for name in names}
        values = asdict(config) if is_dataclass(config) and not isinstance(config, type) else config
        plain = json.loads(CREDENTIALS.sub(b"://", _to_json(values)))
        return Recipe({"value": plain}, inputs | dict(outside or {}))

    def create(self, name: str, recipe: Recipe) -> Draft:
        """Begin a version of `name`."""
        return Draft(self.root / name, recipe)

    def has(self, name: str, recipe: Recipe | None = None) -> bool:
        """Tell whether a current version is there, and was made by `recipe` if one is given."""
        try:
            found = self.open(name)
        except ArtifactError:
            return False
        return recipe is None or found.manifest["recipe"] == recipe.key

    def remove(self, name: str) -> None:
        """Delete every version of `name`; nothing happens where there is none."""
        home = self.root / name
        if home.filesystem.get_file_info(home.path).type == pafs.FileType.Directory:
            home.filesystem.delete_dir(home.path)

    def open(self, name: str, version: str | None = None) -> Artifact:
        """Open a version, by default the current one.

        Raises:
            ArtifactError: it is absent, half-written, or of another format.
        """
        home = self.root / name
        try:
            version = version or _parse(home / CURRENT, ("version",))["version"]
            manifest = _parse(home / str(version) / MANIFEST, ("format", "files", "version"))
        except FileNotFoundError as error:
            raise ArtifactError(
                f"no finished {name!r} in {self.root.path}; run the job that makes it"
            ) from error
        if manifest["format"] != FORMAT:
            raise ArtifactError(f"{name!r} has format {manifest['format']}, expected {FORMAT}")
        found = Artifact(home / str(version), manifest)
        for part in manifest["files"]:
            if (found.place / part["name"]).size_bytes() != part["size_bytes"]:
                raise ArtifactError(f"{found.place.path}/{part['name']} is absent or cut short")
        return found

    def write_table(self, name: str, table: pa.Table, schema: pa.Schema, recipe: Recipe) -> None:
        """Write a table of one part."""
        with self.create(name, recipe) as draft:
            draft.set_schema(schema)
            draft.add_table("part-00000.parquet", table, schema)

    def read_table(self, name: str, schema: pa.Schema) -> pa.Table:
        """Read every part of a table."""
        found = self.open(name)
        parts = [found.table(part, schema) for part in found.names("part-")]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def part_paths(self, name: str) -> tuple[list[str], pafs.FileSystem]:
        """Paths of a table's parts and their file system, for readers that stream."""
        found = self.open(name)
        return [(found.place / part).path for part in found.names("part-")], self.root.filesystem


def _parse(where: Place, keys: tuple[str, ...]) -> Any:
    content = where.read()
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ArtifactError(f"{where.path} is not JSON; make the artifact again") from error
    if not isinstance(value, dict) or any(key not in value for key in keys):
        raise ArtifactError(f"{where.path} lacks one of {keys}; make the artifact again")
    return value


def _to_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, default=str).encode()


def _write_and_rename(path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("wb") as out:
            out.writelines(pieces)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(path)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)
