"""One SQLite file that several processes of one machine write to, and threads of each."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avrec.serving.state import StateError

BUSY_SECONDS = 10.0
PRIVATE = 0o600
CACHE_KIB = 512
"""Pages that a connection keeps; every thread has one, and the system keeps the file too."""


class Database:
    """Connections to a file, one a thread; the file is made if absent, for its owner alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.local()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(PRIVATE)  # what people watch is nobody else's to read

    @contextmanager
    def change(self, synchronous: str) -> Iterator[sqlite3.Connection]:
        """Lend this thread's connection for one transaction.

        Args:
            synchronous: FULL, on disk when the block has ended; NORMAL, soon.
        """
        with self.connection() as connection, _transaction(connection, synchronous):
            yield connection

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend this thread's connection, and turn what goes wrong into a StateError."""
        try:
            if not hasattr(self._thread, "connection"):
                self._thread.connection = _connect(self.path)
            yield self._thread.connection
        except sqlite3.Error as error:
            raise StateError(f"{self.path} cannot be used: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
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
