"""The states under test, and a Redis server of our own for them."""

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
import redis

from avrec.schema import EVENTS
from avrec.serving.board_redis import RedisBoard
from avrec.serving.state import UserState
from avrec.serving.state_redis import RedisState
from avrec.serving.state_sqlite import SQLiteState

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A server in a folder of its own, on a free port of loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self, *options: str) -> None:
        given = options or DURABLE
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command = ["redis-server", *where, "--save", "", *given]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        waiting = redis.Redis.from_url(
            self.url, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 400)
        )
        waiting.ping()
        waiting.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server, which is not here: apt-get install redis-server")
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()


def sqlite_state(folder: Path, **options: int) -> SQLiteState:
    return SQLiteState(folder / "state" / "live.sqlite", **options)


def redis_state(server: RedisServer, **options: int) -> RedisState:
    """Open a state that nobody else uses."""
    return RedisState(server.url, prefix=f"{{{secrets.token_hex(6)}}}", **options)


def redis_board(server: RedisServer) -> RedisBoard:
    """Open a board that nobody else uses."""
    return RedisBoard(server.url, prefix=f"{{{secrets.token_hex(6)}}}")


def take(state: UserState) -> pa.Table:
    """Drain all that is in a state, and give its EVENTS."""
    batches = []
    while sealed := state.seal(1000):
        batches.append(sealed.events)
        state.drained(sealed.number)
    return pa.concat_tables([EVENTS.empty_table(), *batches]).combine_chunks()
