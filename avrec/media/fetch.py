"""How the bytes of a file come here, from a local path or any URI that `pyarrow.fs` knows."""

import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as pafs

from avrec.errors import ArtifactError, MediaError
from avrec.media.limits import Limits
from avrec.store import Place, place

COPY_BYTES = 1 << 20


@contextmanager
def local_copy(uri: str, limits: Limits) -> Iterator[Path]:
    """Give a local path to a file's bytes, for as long as the block lasts.

    Raises:
        MediaError: of kind fetch_failed or too_large.
    """
    try:
        where = place(uri)
        found = where.filesystem.get_file_info(where.path)
    except (OSError, ArtifactError, pa.ArrowException) as error:
        raise MediaError("fetch_failed", f"cannot reach {uri}: {error}") from error
    if not found.is_file:
        raise MediaError("fetch_failed", f"no file {uri}")
    if found.size is not None and found.size > limits.max_file_mb << 20:
        raise MediaError("too_large", f"{uri} has more than {limits.max_file_mb} MiB")
    if isinstance(where.filesystem, pafs.LocalFileSystem):
        yield Path(where.path)
        return
    with tempfile.TemporaryDirectory(prefix="avrec-") as folder:
        path = Path(folder) / (posixpath.basename(where.path) or "file")
        _copy(where, path, uri)
        yield path


def _copy(where: Place, path: Path, uri: str) -> None:
    try:
        with where.filesystem.open_input_stream(where.path) as source, path.open("wb") as sink:
            while piece := source.read(COPY_BYTES):
                sink.write(piece)
    except (OSError, pa.ArrowException) as error:
        raise MediaError("fetch_failed", f"cannot read {uri}: {error}") from error
