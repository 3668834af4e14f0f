"""What users did since the bundle was made, and what they were shown; durable, read per request.

`SQLiteState` keeps both in one file on one machine's disk. A commit of events is synced to disk
(`synchronous=FULL` on a write-ahead log), so an event that was answered "accepted" outlives a
killed process and a power cut. Served lists are written without that sync: a power cut may lose
the last ones, which costs a little evaluation and nothing that anybody was promised.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from avrec.errors import AvrecError
from avrec.schema import EVENTS, RECOMMENDATIONS, TIME, conform

VERSION = 1
BUSY_SECONDS = 10.0


class StateError(AvrecError):
    """Events could not be stored or read: a full disk, a locked or foreign file."""


class UserState(Protocol):
    """Live events by user, and served lists.

    Any replica sees what any other has appended, at once.
    """

    def append(self, events: pa.Table) -> list[bool]:
        """Store EVENTS; on return they are durable.

        Returns one flag a row: False for an `event_id` that was there already, or earlier in the
        same table; the first one is kept.
        """
        ...

    def events_of(self, user_id: str) -> pa.Table:
        """Latest EVENTS of a user in the order of `at`, at most as many as the state keeps hot."""
        ...

    def all_events(self) -> pa.Table:
        """All EVENTS ever accepted, in the order of acceptance."""
        ...

    def delete(self, user_id: str) -> int:
        """Forget a user: events and served lists. Returns the number of events."""
        ...

    def log_served(self, shown: pa.Table) -> None:
        """Store RECOMMENDATIONS."""
        ...

    def all_served(self) -> pa.Table:
        """All RECOMMENDATIONS logged, in the order of serving."""
        ...

    def check(self) -> None:
        """Raise StateError unless the state answers."""
        ...


def _columns(schema: pa.Schema) -> str:
    def kind(field: pa.Field) -> str:
        text = pa.types.is_string(field.type)
        real = pa.types.is_floating(field.type)
        return "TEXT" if text else "REAL" if real else "INTEGER"

    return ", ".join(f"{f.name} {kind(f)}{'' if f.nullable else ' NOT NULL'}" for f in schema)


TABLES = f"""
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, {_columns(EVENTS)}, UNIQUE (event_id));
CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id, at);
CREATE TABLE IF NOT EXISTS served (seq INTEGER PRIMARY KEY, {_columns(RECOMMENDATIONS)});
CREATE INDEX IF NOT EXISTS served_to_user ON served (user_id);
PRAGMA user_version = {VERSION};
"""


class SQLiteState:
    """A `UserState` in one SQLite file; several processes of one machine may share it.

    Args:
        path: the file, made if absent. Not on a network file system: its locks are not reliable.
        max_events: latest events of a user that `events_of` gives; all are stored.
    """

    def __init__(self, path: Path, max_events: int = 200) -> None:
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        self._path, self._max_events = path, max_events
        self._thread = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)  # what people watch is nobody else's to read
        with self._connection() as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, VERSION):
                raise StateError(f"{path} has state version {found}, expected {VERSION}")
            connection.executescript(TABLES)

    def append(self, events: pa.Table) -> list[bool]:
        """See `UserState`."""
        insert = _insert("events", EVENTS, "ON CONFLICT (event_id) DO NOTHING")
        with self._connection() as connection, _transaction(connection, "FULL"):
            return [connection.execute(insert, row).rowcount == 1 for row in _rows(events, EVENTS)]

    def events_of(self, user_id: str) -> pa.Table:
        """See `UserState`."""
        rows = self._select(
            f"SELECT * FROM (SELECT {_names(EVENTS)}, seq FROM events WHERE user_id = ?"  # noqa: S608
            " ORDER BY at DESC, seq DESC LIMIT ?) ORDER BY at, seq",
            (user_id, self._max_events),
        )
        return _table([row[:-1] for row in rows], EVENTS)

    def all_events(self) -> pa.Table:
        """See `UserState`."""
        query = f"SELECT {_names(EVENTS)} FROM events ORDER BY seq"  # noqa: S608
        return _table(self._select(query), EVENTS)

    def delete(self, user_id: str) -> int:
        """See `UserState`."""
        with self._connection() as connection, _transaction(connection, "FULL"):
            connection.execute("DELETE FROM served WHERE user_id = ?", (user_id,))
            return connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount

    def log_served(self, shown: pa.Table) -> None:
        """See `UserState`."""
        with self._connection() as connection, _transaction(connection, "NORMAL"):
            connection.executemany(
                _insert("served", RECOMMENDATIONS), _rows(shown, RECOMMENDATIONS)
            )

    def all_served(self) -> pa.Table:
        """See `UserState`."""
        query = f"SELECT {_names(RECOMMENDATIONS)} FROM served ORDER BY seq"  # noqa: S608
        return _table(self._select(query), RECOMMENDATIONS)

    def check(self) -> None:
        """See `UserState`."""
        self._select("SELECT 1 FROM events LIMIT 1")

    def _select(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend this thread's connection, and turn what goes wrong into a StateError."""
        try:
            if not hasattr(self._thread, "connection"):
                self._thread.connection = _connect(self._path)
            yield self._thread.connection
        except sqlite3.Error as error:
            raise StateError(f"{self._path} cannot be used: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection, synchronous: str) -> Iterator[None]:
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _names(schema: pa.Schema) -> str:
    return ", ".join(schema.names)


def _insert(table: str, schema: pa.Schema, conflict: str = "") -> str:
    marks = ", ".join("?" * len(schema))
    return f"INSERT INTO {table} ({_names(schema)}) VALUES ({marks}) {conflict}"  # noqa: S608


def _rows(table: pa.Table, schema: pa.Schema) -> list[tuple[Any, ...]]:
    plain = conform(table, schema)
    columns = [c.cast(pa.int64()) if c.type == TIME else c for c in plain.columns]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)
