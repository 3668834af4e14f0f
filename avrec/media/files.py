"""Which files the inputs of a run name.

An input is a file, a folder (with all below it), or a table with a column `uri`; local or any URI
that `pyarrow.fs` knows, and a file also by http or https. In a folder, hidden files, tables, texts
and the still picture that goes with a clip of the same name are passed over and counted; whatever
else lies there is listed, so that a broken file ends as an error and not in silence.
"""

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from avrec import tabular
from avrec.errors import ArtifactError, InputError
from avrec.media.fetch import told
from avrec.media.http import is_http, shown
from avrec.media.limits import Limits
from avrec.store import Place, join, place

TEXTS = (
    *(".ass", ".cfg", ".css", ".cue", ".htm", ".html", ".ini", ".json", ".log", ".m3u", ".m3u8"),
    *(".md", ".nfo", ".pdf", ".pls", ".py", ".rst", ".rtf", ".srt", ".sub", ".toml", ".txt"),
    *(".url", ".vtt", ".xml", ".yaml", ".yml"),
)
PICTURES = (".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".svg", ".tif", ".webp")


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaConfig:
    """Where the catalogue comes from, and what reading one file may cost."""

    inputs: tuple[str, ...] = ()
    """Files, folders, or tables with a column `uri`: local paths or `pyarrow.fs` URIs;
    files also by http or https."""
    items: str = ""
    """Table of titles, tags and so on (Parquet, CSV or JSON lines); empty where there is none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our column names to those of `items`, such as `item_id = "movieId"`."""
    limits: Limits = field(default_factory=Limits)
    """Section `[media.limits]`."""
    num_actors: int = 2
    """Ray actors that probe; each takes one CPU."""

    def __post_init__(self) -> None:
        if self.num_actors < 1:
            raise ValueError(f"num_actors must be at least 1, got {self.num_actors}")


class Listed(NamedTuple):
    """A file to read; size and time are None where they are not known yet."""

    item_id: str
    uri: str
    size_bytes: int | None
    mtime_ns: int | None


class Listing(NamedTuple):
    """The files of a run, sorted by item_id, and how many were passed over."""

    files: list[Listed]
    num_skipped: int

    @property
    def fingerprint(self) -> str:
        """Changes when a file is added, removed, or altered in size or time."""
        text = "\0".join(map(repr, self.files))
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def expand(inputs: Iterable[str]) -> Listing:
    """List the files that inputs name; a file named twice is listed once.

    Raises:
        InputError: an input is absent or holds no media, or two files claim one item_id.
    """
    files: dict[str, Listed] = {}
    num_skipped = 0
    for uri in inputs:
        found = _expand(uri)
        num_skipped += found.num_skipped
        for file in found.files:
            known = files.setdefault(file.item_id, file)
            if known.uri != file.uri:
                raise InputError(
                    f"{known.uri} and {file.uri} would both be item {file.item_id!r}; "
                    "name a folder above both, or give a table with item_id and uri"
                )
    return Listing(sorted(files.values()), num_skipped)


def with_files(listing: Listing, more: Mapping[str, str]) -> Listing:
    """Add files by item_id and uri; each takes the place of those of its item_id or its uri."""
    uris = set(more.values())
    kept = [one for one in listing.files if one.item_id not in more and one.uri not in uris]
    named = [_from_row(item_id, uri, "") for item_id, uri in more.items()]
    return Listing(sorted([*kept, *named]), listing.num_skipped)


def _expand(uri: str) -> Listing:
    if is_http(uri) and tabular.form_of(uri) is None:
        return Listing([Listed(_http_name(uri), uri, None, None)], 0)
    try:
        where = place(uri)
        found = where.filesystem.get_file_info(where.path)
    except (OSError, ArtifactError, pa.ArrowException) as error:
        raise InputError(f"cannot reach {told(error, uri)}") from error
    if found.type == pafs.FileType.Directory:
        return _in_folder(uri, where)
    if not found.is_file:
        raise InputError(f"no file or folder {shown(uri)}; check media.inputs")
    if tabular.form_of(uri) is not None:
        return Listing(_in_table(uri), 0)
    return Listing([_listed(posixpath.basename(where.path), uri, found)], 0)


def _http_name(uri: str) -> str:
    return posixpath.basename(unquote(urlsplit(uri).path)) or shown(uri)


def _in_folder(uri: str, where: Place) -> Listing:
    below = where.filesystem.get_file_info(pafs.FileSelector(where.path, recursive=True))
    names = {posixpath.relpath(info.path, where.path): info for info in below if info.is_file}
    stems = {posixpath.splitext(name)[0] for name in names if _suffix(name) not in PICTURES}
    kept = {name: info for name, info in names.items() if not _passed_over(name, stems)}
    if not kept:
        raise InputError(f"no media in {shown(uri)} ({len(names)} other files); put clips there")
    files = [_listed(name, join(uri, name), info) for name, info in kept.items()]
    return Listing(files, len(names) - len(kept))


def _passed_over(name: str, stems: set[str]) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    suffix = _suffix(name)
    cover = suffix in PICTURES and posixpath.splitext(name)[0] in stems
    return hidden or suffix in TEXTS or cover or tabular.form_of(name) is not None


def _in_table(uri: str) -> list[Listed]:
    table = tabular.read(uri)
    if "uri" not in table.column_names:
        raise InputError(f"{uri} has no column 'uri'; its columns are {table.column_names}")
    uris = [str(value) for value in table["uri"].to_pylist() if value]
    ids = table["item_id"].to_pylist() if "item_id" in table.column_names else uris
    if len(ids) != len(uris):
        raise InputError(f"{uri} has rows without a uri")
    folder = _parent(uri)
    return [_from_row(str(key), one, folder) for key, one in zip(ids, uris, strict=True)]


def _from_row(item_id: str, uri: str, folder: str) -> Listed:
    absolute = uri if "://" in uri or uri.startswith(("/", "~")) else join(folder, uri)
    if "://" in absolute:
        return Listed(item_id, absolute, None, None)
    return _listed(item_id, absolute, pafs.LocalFileSystem().get_file_info(absolute))


def _listed(item_id: str, uri: str, found: pafs.FileInfo) -> Listed:
    absolute = uri if "://" in uri else str(Path(uri).expanduser().absolute())
    return Listed(item_id, absolute, found.size, found.mtime_ns)


def _parent(uri: str) -> str:
    if "://" not in uri:
        return str(Path(uri).expanduser().absolute().parent)
    path, mark, query = uri.partition("?")
    return f"{posixpath.dirname(path)}{mark}{query}"


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
