"""Which state and board a service uses: SQLite by its file, Redis by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avrec.errors import ConfigError
from avrec.serving.board import Board
from avrec.serving.board_sqlite import SQLiteBoard
from avrec.serving.state import UserState
from avrec.serving.state_sqlite import SQLiteState

SCHEMES = ("redis://", "rediss://")
HEAD_NODE = "node:__internal_head__"
"""Resource of the node that a file of the state lies on."""


def on_redis(where: str) -> bool:
    """Tell a URL of Redis from a path."""
    return where.startswith(SCHEMES)


def open_state(
    where: str, *, password_file: str | None = None, max_events: int = 200, keep_days: int = 90
) -> UserState:
    """Open the state at a path or URL.

    Args:
        where: path of an SQLite file, or a `redis://` or `rediss://` URL.
        password_file: holds the password of the Redis server, where it asks for one.
        max_events: latest events of a user that `live` gives.
        keep_days: for how long an event is at hand, and its id known.

    Raises:
        StateError: it cannot be opened, or is no place where events are safe.
        ConfigError: the package `redis` is missing.
    """
    if not on_redis(where):
        return SQLiteState(Path(where), max_events, keep_days)
    with _needing_redis():
        from avrec.serving.state_redis import RedisState  # noqa: PLC0415
    password = _password(password_file)
    return RedisState(where, password=password, max_events=max_events, keep_days=keep_days)


def open_board(where: str, *, password_file: str | None = None) -> Board:
    """Open the board beside the state at a path or URL; see `open_state`."""
    if not on_redis(where):
        return SQLiteBoard(Path(where))
    with _needing_redis():
        from avrec.serving.board_redis import RedisBoard  # noqa: PLC0415
    return RedisBoard(where, password=_password(password_file))


def _password(file: str | None) -> str | None:
    return Path(file).read_text().strip() if file else None


@contextmanager
def _needing_redis() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError("state in Redis needs its client: pip install 'avrec[redis]'") from error
