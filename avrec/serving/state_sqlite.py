"""The state in one SQLite file on one machine's disk.

A commit of events is synced to disk (`synchronous=FULL` on a write-ahead log), so an event that
was answered "accepted" outlives a killed process and a power cut. Served lists are written without
that sync: a power cut may lose the last ones, which costs a little evaluation and nothing that
anybody was promised.
"""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic_core import to_json

from avrec.schema import EVENTS, FORGOTTEN, RECOMMENDATIONS
from avrec.serving.sqlite import Database
from avrec.serving.state import Live, Sealed, StateError, from_rows, to_rows
from avrec.serving.together import Together

VERSION = 3
NEVER = -(2**63)
DAY = 86_400_000_000
TOGETHER = 64
"""Writes in one transaction, at most."""
DRAINED = "UPDATE batches SET drained_at = ? WHERE number = ? AND drained_at IS NULL"
OLD = (
    "SELECT number FROM batches"
    " WHERE drained_at <= ? AND number < (SELECT max(number) FROM batches)"
)
"""Batches drained at most at a moment; the last one stays, for numbers go on from it."""


def _columns(schema: pa.Schema) -> str:
    def kind(field: pa.Field) -> str:
        text = pa.types.is_string(field.type)
        real = pa.types.is_floating(field.type)
        return "TEXT" if text else "REAL" if real else "INTEGER"

    return ", ".join(f"{f.name} {kind(f)}{'' if f.nullable else ' NOT NULL'}" for f in schema)


NO_EVENTS = EVENTS.empty_table()
TABLES = f"""
CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, {_columns(EVENTS)}, batch INTEGER,
    UNIQUE (event_id));
CREATE INDEX IF NOT EXISTS events_of_user ON events (user_id, at);
CREATE INDEX IF NOT EXISTS events_of_batch ON events (batch);
CREATE TABLE IF NOT EXISTS lists (seq INTEGER PRIMARY KEY, user_id TEXT NOT NULL,
    rows TEXT NOT NULL, batch INTEGER);
CREATE INDEX IF NOT EXISTS lists_of_user ON lists (user_id);
CREATE INDEX IF NOT EXISTS lists_of_batch ON lists (batch);
CREATE TABLE IF NOT EXISTS batches (number INTEGER PRIMARY KEY, drained_at INTEGER);
CREATE TABLE IF NOT EXISTS forgotten (user_id TEXT PRIMARY KEY, at INTEGER NOT NULL);
"""
"""`batch` is the number of the batch that a row is drained in, null while it is in none; `rows` are
those of one served list, as JSON."""
FROM_1 = """
ALTER TABLE events ADD COLUMN batch INTEGER;
ALTER TABLE served ADD COLUMN batch INTEGER;
"""
FROM_2 = f"""
INSERT INTO lists (user_id, rows, batch)
    SELECT user_id, json_group_array(json_array({", ".join(RECOMMENDATIONS.names)})), batch
    FROM (SELECT * FROM served ORDER BY seq) GROUP BY request_id, user_id, batch ORDER BY min(seq);
DROP TABLE served;
"""  # noqa: S608


class _Rows(NamedTuple):
    """Rows to be inserted; `durable` ones are on disk before anybody is told."""

    insert: str
    rows: Sequence[tuple[Any, ...]]
    durable: bool


class SQLiteState:
    """A `UserState` in one SQLite file; several processes of one machine may share it.

    Args:
        path: the file, made if absent. Not on a network file system: its locks are not reliable.
        max_events: latest events of a user that `live` gives.
        keep_days: for how long an event is at hand, and its id known, after it was drained.
    """

    def __init__(self, path: Path, max_events: int = 200, keep_days: int = 90) -> None:
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        self._max_events, self._keep_days = max_events, keep_days
        database = Database(path)
        self._connection, self._change = database.connection, database.change
        self._write = Together(self._write_all, TOGETHER, (StateError,))
        with self._change("FULL") as connection:
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found not in range(VERSION + 1):
                raise StateError(f"{path} has state version {found}, expected {VERSION}")
            older = FROM_1 if found == 1 else ""
            newer = FROM_2 if found in (1, 2) else ""
            for statement in (older + TABLES + newer).split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    def append(self, events: pa.Table) -> list[bool]:
        """See `UserState`."""
        return self._write(_Rows(ADD_EVENT, to_rows(events, EVENTS), durable=True))

    def live(self, user_id: str) -> Live:
        """See `UserState`."""
        with self._connection() as connection:
            at = connection.execute("SELECT at FROM forgotten WHERE user_id = ?", (user_id,))
            moment = (at.fetchone() or (None,))[0]
            after = NEVER if moment is None else moment
            rows = connection.execute(LATEST, (user_id, after, self._max_events)).fetchall()
        events = from_rows([row[:-1] for row in rows], EVENTS) if rows else NO_EVENTS
        return Live(events, None if moment is None else _time(moment))

    def forget(self, user_id: str, at: datetime) -> int:
        """See `UserState`."""
        with self._change("FULL") as connection:
            connection.execute(FORGET, {"user": user_id, "at": _micros(at), "never": NEVER})
            connection.execute("DELETE FROM lists WHERE user_id = ?", (user_id,))
            return connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount

    def forgotten(self) -> pa.Table:
        """See `UserState`."""
        query = f"SELECT {_names(FORGOTTEN)} FROM forgotten ORDER BY user_id"  # noqa: S608
        with self._connection() as connection:
            return from_rows(connection.execute(query).fetchall(), FORGOTTEN)

    def log_served(self, shown: pa.Table) -> None:
        """See `UserState`."""
        each = groupby(to_rows(shown, RECOMMENDATIONS), key=itemgetter(*WHOSE))
        lists = [(user_id, to_json(list(rows)).decode()) for (_, user_id), rows in each]
        self._write(_Rows(ADD_LIST, lists, durable=False))

    def _write_all(self, several: Sequence[_Rows]) -> list[list[bool]]:
        """Write in one transaction, so that one sync of the disk is for all who wait for it."""
        durable = any(one.durable for one in several)
        with self._change("FULL" if durable else "NORMAL") as connection:
            return [
                [connection.execute(one.insert, row).rowcount == 1 for row in one.rows]
                for one in several
            ]

    def seal(self, max_rows: int) -> Sealed | None:
        """See `UserState`."""
        with self._change("FULL") as connection:
            found = connection.execute(
                "SELECT number FROM batches WHERE drained_at IS NULL"
            ).fetchone()
            number = found[0] if found else _begin(connection, max_rows)
            if number is None:
                return None
            # Read before anybody else can drain it, else a second drainer would see half of it.
            query = f"SELECT {_names(EVENTS)} FROM events WHERE batch = ? ORDER BY seq"  # noqa: S608
            events = connection.execute(query, (number,)).fetchall()
            query = "SELECT rows FROM lists WHERE batch = ? ORDER BY seq"
            lists = connection.execute(query, (number,)).fetchall()
        served = [row for (rows,) in lists for row in json.loads(rows)]
        return Sealed(number, from_rows(events, EVENTS), from_rows(served, RECOMMENDATIONS))

    def drained(self, number: int) -> None:
        """See `UserState`."""
        now = _micros(datetime.now(UTC))
        oldest = now - self._keep_days * DAY
        with self._change("FULL") as connection:
            connection.execute(DRAINED, (now, number))
            connection.execute("DELETE FROM lists WHERE batch = ?", (number,))
            connection.execute(f"DELETE FROM events WHERE batch IN ({OLD})", (oldest,))  # noqa: S608
            connection.execute(f"DELETE FROM batches WHERE number IN ({OLD})", (oldest,))  # noqa: S608

    def check(self) -> None:
        """See `UserState`."""
        with self._connection() as connection:
            connection.execute("SELECT 1 FROM events LIMIT 1").fetchone()


def _begin(connection: sqlite3.Connection, max_rows: int) -> int | None:
    """Put what is in no batch yet into the next one."""
    number = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM batches").fetchone()[0]
    put = (
        "UPDATE {0} SET batch = ? WHERE seq IN"
        " (SELECT seq FROM {0} WHERE batch IS NULL ORDER BY seq LIMIT ?)"
    )
    moved = [
        connection.execute(put.format(table), (number, max_rows)).rowcount
        for table in ("events", "lists")
    ]
    if not any(moved):
        return None
    connection.execute("INSERT INTO batches VALUES (?, NULL)", (number,))
    return int(number)


def _names(schema: pa.Schema) -> str:
    return ", ".join(schema.names)


def _insert(table: str, schema: pa.Schema, conflict: str = "") -> str:
    marks = ", ".join("?" * len(schema))
    return f"INSERT INTO {table} ({_names(schema)}) VALUES ({marks}) {conflict}"  # noqa: S608


def _micros(at: datetime) -> int:
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _time(micros: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros)


ADD_EVENT = _insert("events", EVENTS, "ON CONFLICT (event_id) DO NOTHING")
ADD_LIST = "INSERT INTO lists (user_id, rows) VALUES (?, ?)"
WHOSE = [RECOMMENDATIONS.get_field_index(name) for name in ("request_id", "user_id")]
LATEST = (
    f"SELECT * FROM (SELECT {_names(EVENTS)}, seq FROM events"  # noqa: S608
    " WHERE user_id = ? AND at > ? ORDER BY at DESC, seq DESC LIMIT ?) ORDER BY at, seq"
)
FORGET = """
INSERT INTO forgotten VALUES (:user, max(:at,
    (SELECT coalesce(max(at), :never) FROM events WHERE user_id = :user)))
ON CONFLICT (user_id) DO UPDATE SET at = max(at, excluded.at)
"""
