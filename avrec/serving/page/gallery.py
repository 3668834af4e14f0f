"""Media and small pictures of the catalogue, as the page shows them.

Only files that a probe has read as media are given out, by the item they belong to: no path comes
from a client, and a catalogue entry that names some other file of this machine opens nothing. Of
an item that was put the file is played as soon as it is embedded; its picture comes with a bundle.
"""

import logging
import posixpath
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from avrec.errors import ArtifactError
from avrec.schema import MEDIA, THUMBNAILS
from avrec.serving.catalogue import Catalogue, Entry
from avrec.store import Place, Workspace, place

logger = logging.getLogger(__name__)
PIECE_BYTES = 1 << 18
MAX_PICTURES_BYTES = 1 << 28
"""Of pictures in memory; a workspace with more of them shows none."""
KINDS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".ogv": "video/ogg",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
}
UNTOLD = "application/octet-stream"


class Medium(NamedTuple):
    """A file of an item: `kind` is audio or video."""

    place: Place
    kind: str
    seconds: float | None

    @property
    def content_type(self) -> str:
        """By the file's name."""
        return KINDS.get(posixpath.splitext(self.place.path)[1].lower(), UNTOLD)

    def pieces(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of the file."""
        with self.place.filesystem.open_input_file(self.place.path) as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(PIECE_BYTES, stop - start))):
                start += len(piece)
                yield piece


class Gallery:
    """Looks media and pictures up by item.

    Args:
        media: MEDIA; of an item's files the first without an error is played.
        pictures: THUMBNAILS.
        catalogue: says which items have other files since.
    """

    def __init__(
        self, media: pa.Table, pictures: pa.Table, catalogue: Catalogue | None = None
    ) -> None:
        rows = media.select(["item_id", "uri", "kind", "duration_seconds", "error"]).to_pylist()
        self._media = {
            row["item_id"]: Medium(where, row["kind"] or "video", row["duration_seconds"])
            for row in reversed(rows)
            if row["error"] is None and (where := _on_a_file_system(row["uri"])) is not None
        }
        ids = pictures["item_id"].to_pylist()
        self._rows = {item_id: row for row, item_id in enumerate(ids)}
        self._images = pictures["image"]
        self._catalogue = catalogue

    @classmethod
    def of(cls, workspace: Workspace, catalogue: Catalogue | None = None) -> "Gallery":
        """Read what a workspace holds of it, which may be nothing."""
        has_media = workspace.has("media")
        media = workspace.read_table("media", MEDIA) if has_media else MEDIA.empty_table()
        return cls(media, _pictures(workspace), catalogue)

    def medium(self, item_id: str) -> Medium | None:
        """What can be played of an item."""
        catalogue, found = self._catalogue, self._media.get(item_id)
        entry = None if catalogue is None else catalogue.heard(item_id)
        if catalogue is None or entry is None or (entry.status != "deleted" and entry.uri is None):
            return found
        return _put(entry) if catalogue.reaches(entry.good_uri or "") else None

    def picture(self, item_id: str) -> bytes | None:
        """A small JPEG of an item."""
        row = self._rows.get(item_id)
        return None if row is None else self._images[row].as_py()

    def pictured(self, item_id: str) -> bool:
        """Tell whether there is a picture of an item."""
        return item_id in self._rows


EMPTY = Gallery(MEDIA.empty_table(), THUMBNAILS.empty_table())


class Galleries:
    """The gallery of now: read again whenever another bundle is active.

    Args:
        read: reads it; raises ArtifactError where the workspace cannot be used.
    """

    def __init__(self, read: Callable[[], Gallery]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._gallery, self._version = EMPTY, ""

    def is_of(self, version: str) -> bool:
        """Tell whether `of` need not read."""
        return version == self._version

    def of(self, version: str) -> Gallery:
        """Give the gallery while a version is active; the one before where it cannot be read."""
        with self._lock:
            if version != self._version:
                try:
                    self._gallery = self._read()
                except ArtifactError as error:
                    logger.warning("media and pictures are those of before: %s", error)
                self._version = version
            return self._gallery


def _pictures(workspace: Workspace) -> pa.Table:
    if not workspace.has("thumbnails"):
        return THUMBNAILS.empty_table()
    size = sum(part["size_bytes"] for part in workspace.open("thumbnails").manifest["files"])
    if size > MAX_PICTURES_BYTES:
        return THUMBNAILS.empty_table()
    return workspace.read_table("thumbnails", THUMBNAILS)


def _put(entry: Entry) -> Medium | None:
    """What can be played of an item that was put with a file."""
    where = _on_a_file_system(entry.good_uri or "")
    if where is None or entry.kind is None or not entry.listable:
        return None
    return Medium(where, entry.kind, entry.duration_seconds)


def _on_a_file_system(uri: str) -> Place | None:
    if uri.startswith(("http://", "https://")):
        return None
    try:
        return place(uri)
    except ArtifactError:
        return None
