"""How the bytes of a file come here.

They come from a local path, over http or https, or from any other URI that `pyarrow.fs` knows,
such as `s3://`. FFmpeg is given local files only. Messages hold no credentials.
"""

import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from avrec.errors import ArtifactError, MediaError
from avrec.media.http import LARGE, fetch, is_http, shown
from avrec.media.limits import Limits
from avrec.store import Place, place

COPY_BYTES = 1 << 20
MAX_NAME = 100


@contextmanager
def local_copy(uri: str, limits: Limits) -> Iterator[Path]:
    """Give a local path to a file's bytes, for as long as the block lasts.

    Raises:
        MediaError: of kind fetch_failed or too_large.
    """
    if is_http(uri):
        with _scratch(urlsplit(uri).path) as path:
            fetch(uri, path, limits)
            yield path
        return
    where, found = _found(uri)
    if not found.is_file:
        raise MediaError("fetch_failed", f"no file {shown(uri)}; check its name")
    if found.size is not None and found.size > limits.max_file_mb << 20:
        raise MediaError("too_large", f"{shown(uri)} {LARGE.format(limits.max_file_mb)}")
    if isinstance(where.filesystem, pafs.LocalFileSystem):
        yield Path(where.path)
        return
    with _scratch(where.path) as path:
        _copy(where, path, uri)
        yield path


@contextmanager
def _scratch(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="avrec-") as folder:
        yield Path(folder) / (posixpath.basename(name)[-MAX_NAME:] or "file")


def _found(uri: str) -> tuple[Place, pafs.FileInfo]:
    try:
        where = place(uri)
        return where, where.filesystem.get_file_info(where.path)
    except (OSError, ArtifactError, pa.ArrowException) as error:
        raise MediaError("fetch_failed", f"cannot reach {told(error, uri)}") from error


def told(error: Exception, uri: str) -> str:
    """Tell an error about a URI, without what is secret in that."""
    secret = urlsplit(uri).password if "://" in uri else None
    text = str(error).replace(uri, shown(uri))
    return f"{shown(uri)}: {text.replace(secret, '...') if secret else text}"


def _copy(where: Place, path: Path, uri: str) -> None:
    try:
        with where.filesystem.open_input_stream(where.path) as source, path.open("wb") as sink:
            while piece := source.read(COPY_BYTES):
                sink.write(piece)
    except (OSError, pa.ArrowException) as error:
        raise MediaError("fetch_failed", f"cannot read {told(error, uri)}") from error
