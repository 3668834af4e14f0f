"""A replica is killed under load: how many requests fail, and whether an accepted event is lost.

Two replicas behind HAProxy take events and lists in an open loop; a third of the way one of them is
killed. A request that fails is sent again until it is answered, as a client would; each such
failure is counted, and so is what HAProxy by itself sent to the other replica. In flight on the
killed replica can only have been what was sent before its process had ended. At the end every event
that was ever accepted must be in the state.
"""

import argparse
import csv
import itertools
import json
import os
import select
import signal
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from avrec.serving.auth import create_key
from avrec.serving.state_sqlite import SQLiteState
from jobs.benchmark_serve_client import OK, Connection, Target, closed, opened
from jobs.benchmark_serve_figures import Figure, at_least, at_most
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_side import replicas_of, started
from jobs.benchmark_serve_world import make, person

PER_SECOND, SECONDS, REPLICAS, TRIES, SETTLE_SECONDS = 100, 15.0, 2, 50, 0.3
ALL_ROWS = 10**9


class Failure(NamedTuple):
    """A request without a good answer: when it was sent, and its status."""

    sent: float
    status: int


class Sender:
    """Sends an event and asks for a list, again and again until both are answered."""

    def __init__(self, target: Target) -> None:
        self._target, self._numbers = target, itertools.count()
        self.accepted: set[str] = set()
        self.failures: list[Failure] = []

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
            sent = time.perf_counter()
            reply = await connection.ask(request)
            if reply.status == OK:
                return True
            self.failures.append(Failure(sent, reply.status))
        return False


class Killer(threading.Thread):
    """Kills a replica after some seconds.

    Args:
        pid: its process.
        stats_port: of HAProxy before it.
        seconds: from the start of this thread.
    """

    def __init__(self, pid: int, stats_port: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self._pid, self._stats_port, self._seconds = pid, stats_port, seconds
        self.gone = 0.0
        self.repeated = 0

    def run(self) -> None:
        """Kill it; note when it was gone, and what HAProxy has sent again a little later."""
        time.sleep(self._seconds)
        before = repeats(self._stats_port)
        self.gone = end(self._pid)
        time.sleep(SETTLE_SECONDS)
        self.repeated = repeats(self._stats_port) - before


def end(pid: int) -> float:
    """Kill a process, and tell when its connections were closed."""
    ended = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    select.select([ended], [], [])
    os.close(ended)
    return time.perf_counter()


def repeats(stats_port: int) -> int:
    """How many requests HAProxy sent again, to all servers, since it was configured."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stats_port}/stats;csv") as answer:
        rows = csv.DictReader(answer.read().decode().removeprefix("# ").splitlines())
    return sum(int(row["wretr"]) for row in rows if row["svname"] == "BACKEND")


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
            sender.failures.clear()
            killer = Killer(replicas_of(side.pid)[0], side.stats_port, SECONDS / 3)
            killer.start()
            load = opened(side.target, sender.send, per_second=PER_SECOND, seconds=SECONDS)
            killer.join()
        sealed = SQLiteState(Path(args.state)).seal(ALL_ROWS)
        kept = set(sealed.events["event_id"].to_pylist()) if sealed else set()
    under_way = sum(failure.sent <= killer.gone for failure in sender.failures)
    statuses = dict(Counter(failure.status for failure in sender.failures))
    beyond = at_most("killed replica, failed beyond these", len(sender.failures) - under_way, "", 0)
    return [
        at_least("killed replica, requests", 2 * len(load.milliseconds), ""),
        at_most("killed replica, sent again by HAProxy", killer.repeated, ""),
        at_most("killed replica, failed and sent again, in flight on it", under_way, ""),
        beyond | {"statuses": statuses},
        at_most("killed replica, never answered", len(load.errors), "", 0),
        at_most("killed replica, p99 of event and list", load.at(99), "ms"),
        at_least("killed replica, events accepted", len(sender.accepted), ""),
        at_most("killed replica, accepted events lost", len(sender.accepted - kept), "", 0),
    ]
