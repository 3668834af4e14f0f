"""A replica is killed under load: how many requests fail, and whether an accepted event is lost.

Two replicas behind HAProxy take events and lists in an open loop; a third of the way one of them is
killed. A request that fails is sent again until it is answered, as a client would; each such
failure is counted. In the end every event that was ever accepted must be in the state.
"""

import argparse
import itertools
import json
import os
import signal
import tempfile
import threading
from pathlib import Path

from avrec.serving.auth import create_key
from avrec.serving.state_sqlite import SQLiteState
from jobs.benchmark_serve_client import OK, Connection, Target, closed, opened
from jobs.benchmark_serve_figures import Figure, at_least, at_most
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_side import replicas_of, started
from jobs.benchmark_serve_world import make, person

PER_SECOND, SECONDS, REPLICAS, TRIES = 100, 15.0, 2, 50
ALL_ROWS = 10**9


class Sender:
    """Sends an event and asks for a list, again and again until both are answered."""

    def __init__(self, target: Target) -> None:
        self._target, self._numbers = target, itertools.count()
        self.accepted: set[str] = set()
        self.failures: list[int] = []

    async def send(self, connection: Connection) -> int:
        """Send one pair."""
        number = next(self._numbers)
        event_id, user_id = f"event-{number}", person(number % 1000)
        event = {"event_id": event_id, "user_id": user_id, "item_id": "item-000001", "kind": "like"}
        bodies = {
            "/v1/events": json.dumps({"events": [event]}).encode(),
            "/v1/recommendations": json.dumps({"user_id": user_id}).encode(),
        }
        for path, body in bodies.items():
            if not await self._until_answered(connection, self._target.post(path, body)):
                return 0
            if path == "/v1/events":
                self.accepted.add(event_id)
        return OK

    async def _until_answered(self, connection: Connection, request: bytes) -> bool:
        for _ in range(TRIES):
            reply = await connection.ask(request)
            if reply.status == OK:
                return True
            self.failures.append(reply.status)
        return False


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Load, kill, count."""
    del arguments
    with tempfile.TemporaryDirectory(prefix="avb") as folder:
        root = Path(folder)
        args = arguments_of(root / "haproxy", make(root / "workspace").uri, REPLICAS)
        key = create_key(Path(args.keys))
        with started("haproxy", args, key, root / "haproxy") as side:
            sender = Sender(side.target)
            closed(side.target, sender.send, connections=8, seconds=3)
            before, victim = len(sender.failures), replicas_of(side.pid)[0]
            killer = threading.Timer(SECONDS / 3, os.kill, [victim, signal.SIGKILL])
            killer.start()
            load = opened(side.target, sender.send, per_second=PER_SECOND, seconds=SECONDS)
            killer.join()
        sealed = SQLiteState(Path(args.state)).seal(ALL_ROWS)
        kept = set(sealed.events["event_id"].to_pylist()) if sealed else set()
    failed = len(sender.failures) - before
    return [
        at_least("killed replica, requests", 2 * len(load.milliseconds), ""),
        at_most("killed replica, failed and sent again", failed, "", PER_SECOND / 10),
        at_most("killed replica, never answered", len(load.errors), "", 0),
        at_most("killed replica, p99 of event and list", load.at(99), "ms"),
        at_least("killed replica, events accepted", len(sender.accepted), ""),
        at_most("killed replica, accepted events lost", len(sender.accepted - kept), "", 0),
    ]
