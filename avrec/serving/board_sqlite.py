"""The board in the SQLite file of the state."""

from pathlib import Path

from avrec.serving.board import MAX_NOTES, Note
from avrec.serving.sqlite import Database

TABLE = """
CREATE TABLE IF NOT EXISTS notes
    (name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, text TEXT NOT NULL)
"""
WRITE = """
INSERT INTO notes VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM notes), ?)
ON CONFLICT (name) DO UPDATE SET number = excluded.number, text = excluded.text RETURNING number
"""


class SQLiteBoard:
    """A `Board` in one SQLite file; several processes of one machine may share it."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        with self._database.change("FULL") as connection:
            connection.execute(TABLE)

    def write(self, name: str, text: str, instead_of: int | None = None) -> int:
        """See `Board`."""
        with self._database.change("FULL") as connection:
            query = "SELECT number, text FROM notes WHERE name = ?"
            number, found = connection.execute(query, (name,)).fetchone() or (0, None)
            if found == text:
                return int(number)
            if instead_of is not None and instead_of != number:
                return 0
            return int(connection.execute(WRITE, (name, text)).fetchone()[0])

    def read(self, name: str) -> Note | None:
        """See `Board`."""
        with self._database.connection() as connection:
            query = "SELECT name, number, text FROM notes WHERE name = ?"
            found = connection.execute(query, (name,)).fetchone()
        return Note(*found) if found else None

    def since(self, number: int, most: int = MAX_NOTES) -> list[Note]:
        """See `Board`."""
        with self._database.connection() as connection:
            query = "SELECT name, number, text FROM notes WHERE number > ? ORDER BY number LIMIT ?"
            return [Note(*row) for row in connection.execute(query, (number, most)).fetchall()]
