"""Items put and deleted while the service runs: notes on the board, and what they make of a bundle.

A note tells all of one item: what was said of it, whether its file could be used, and the vectors
that it got. So a replica that starts has the catalogue when it has read the notes, and the next
training takes the items from there (`avrec.serving.drain`).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from avrec.arrays import Vector, Vectors
from avrec.growth import Changes
from avrec.schema import ITEMS
from avrec.serving.board import Board, Note

if TYPE_CHECKING:
    from avrec.bundle import Bundle

PREFIX = "item/"
WEB = ("http://", "https://")
Status = Literal["waiting", "ready", "failed", "deleted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What became of one item."""

    item_id: str
    status: Status
    put_at: str
    """When it was put or deleted, ISO 8601."""
    item: Mapping[str, Any] = field(default_factory=dict)
    """Its columns of ITEMS, times as ISO 8601; empty for one that is deleted."""
    done_at: str | None = None
    """When it was embedded, or found to be of no use."""
    error: str | None = None
    """`kind: message`, as of MediaError."""
    good_uri: str | None = None
    """The file that could be used last."""
    duration_seconds: float | None = None
    kind: Literal["audio", "video"] | None = None
    """What that file is."""
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    """By encoder (name@revision) the mean over its segments; empty where it saw nothing."""

    @property
    def uri(self) -> str | None:
        """Where its file lies."""
        return self.item.get("uri")

    @property
    def listable(self) -> bool:
        """Whether it may be listed, as far as its file goes."""
        usable = self.uri in (None, self.good_uri)
        return self.status == "ready" or (self.status == "waiting" and usable)


def name_of(item_id: str) -> str:
    """Name of an item's note."""
    return PREFIX + item_id


def text_of(entry: Entry) -> str:
    """Write a note."""
    coded = {n: base64.b64encode(v.tobytes()).decode() for n, v in entry.vectors.items()}
    return json.dumps({**asdict(replace(entry, vectors={})), "vectors": coded})


def parse(text: str) -> Entry:
    """Read a note."""
    told = json.loads(text)
    coded = {n: np.frombuffer(base64.b64decode(v), np.float32) for n, v in told["vectors"].items()}
    return Entry(**{**told, "vectors": coded})


def table(entries: Sequence[Entry]) -> pa.Table:
    """ITEMS of the entries, in their order."""
    rows = [{**one.item, "item_id": one.item_id} for one in entries]
    for row in rows:
        at = row.get("published_at")
        row["published_at"] = None if at is None else datetime.fromisoformat(at)
    return pa.Table.from_pylist(rows, schema=ITEMS)


class Catalogue:
    """What one replica knows of the items that changed.

    Args:
        board: where that is written.
        roots: folders or URIs below which files of items may lie, beside http and https.
    """

    def __init__(self, board: Board, roots: Sequence[str] = ()) -> None:
        self._board, self._roots = board, tuple(roots)
        self._entries: dict[str, Entry] = {}
        self._fresh: set[str] = set()
        self._shown: dict[str, tuple[str, datetime]] = {}
        self.number = 0

    def read(self, item_id: str) -> Entry | None:
        """What became of an item, as of now; None for one that was left as it is.

        Raises:
            StateError: the board cannot be used.
        """
        note = self._board.read(name_of(item_id))
        return None if note is None else parse(note.text)

    def heard(self, item_id: str) -> Entry | None:
        """What became of an item, as far as this replica has read; None for one left as it is."""
        return self._entries.get(item_id)

    def shown_at(self, entry: Entry) -> datetime | None:
        """When this replica began to list an item as it was put; None before."""
        put_at, at = self._shown.get(entry.item_id, ("", None))
        return at if put_at == entry.put_at else None

    def reaches(self, uri: str) -> bool:
        """Tell whether a file may lie there."""
        return uri.startswith(WEB) or any(_below(uri, root) for root in self._roots)

    def put(self, item_id: str, item: Mapping[str, Any], at: datetime) -> Entry:
        """Write what is said of an item; what was found in its file stays until it is looked at.

        Raises:
            StateError: it cannot be stored.
        """
        before = self.read(item_id)
        entry = Entry(item_id=item_id, item=item, status="waiting", put_at=at.isoformat())
        if before is not None and before.uri == entry.uri:
            entry = replace(
                entry,
                good_uri=before.good_uri,
                duration_seconds=before.duration_seconds,
                kind=before.kind,
                vectors=before.vectors,
            )
        self._board.write(name_of(item_id), text_of(entry))
        return entry

    def delete(self, item_id: str, at: datetime) -> Entry:
        """Write that an item is gone.

        Raises:
            StateError: it cannot be stored.
        """
        entry = Entry(item_id=item_id, status="deleted", put_at=at.isoformat())
        self._board.write(name_of(item_id), text_of(entry))
        return entry

    def take(self, note: Note) -> None:
        """Read a note, if it is of an item."""
        if note.name.startswith(PREFIX):
            entry = parse(note.text)
            self._entries[entry.item_id] = entry
            self._fresh.add(entry.item_id)
            self.number = note.number

    def listed(self) -> None:
        """Note that lists are now made with all that was read."""
        now = datetime.now(UTC)
        for item_id in self._fresh:
            entry = self._entries[item_id]
            if entry.listable and self.shown_at(entry) is None:
                self._shown[item_id] = (entry.put_at, now)
        self._fresh.clear()

    def changes(self, bundle: "Bundle") -> Changes | None:
        """What is to be changed of a bundle; None where nothing is."""
        if not self._entries:
            return None
        every = [self._entries[item_id] for item_id in sorted(self._entries)]
        put = [one for one in every if one.status != "deleted"]
        gone = [one.item_id for one in every if one.status == "deleted"]
        seconds = [np.nan if e.duration_seconds is None else e.duration_seconds for e in put]
        known = {} if bundle.content is None else bundle.content.modalities
        return Changes(
            items=table(put),
            vectors={name: _matrix(put, name, rows.shape[1]) for name, rows in known.items()},
            duration_seconds=np.array(seconds, np.float64),
            playable=np.array([_playable(one, bundle) for one in put], np.int32),
            gone=gone,
        )


def _matrix(entries: Sequence[Entry], encoder: str, dim: int) -> Vectors:
    rows = np.zeros((len(entries), dim), np.float32)
    for row, entry in enumerate(entries):
        vector = entry.vectors.get(encoder)
        if vector is not None and len(vector) == dim:
            rows[row] = vector
    return rows


def _playable(entry: Entry, bundle: "Bundle") -> int:
    """1 or 0, or -1 for as it was: where nothing is said of a file but what the bundle knows."""
    if entry.listable and entry.uri is not None:
        return 1
    row = int(bundle.vocabulary.idx([entry.item_id])[0])
    before = None if row < 0 else bundle.items["uri"][row].as_py()
    known = entry.uri is None or (row >= 0 and before == entry.uri)
    return -1 if entry.status != "failed" and known else 0


def _below(uri: str, root: str) -> bool:
    if "://" in root or "://" in uri:
        return uri.startswith(f"{root.rstrip('/')}/") and ".." not in uri.split("/")
    return uri.startswith("/") and Path(uri).resolve().is_relative_to(Path(root).resolve())
