"""A replica is killed under load, then the store: what was accepted is there, and lists go on.

Two replicas behind HAProxy keep their state in a real Redis server that syncs each write. Senders
post an event, under the same event_id until it is accepted, and ask for a list; as many ask for a
list alone. Meanwhile a replica is killed; then Redis, by SIGKILL; then Redis is started again on
the same files. At the end each event that was ever accepted must be in the store, once.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from avrec.serving.auth import create_key
from avrec.serving.state import Sealed
from avrec.serving.state_redis import REQUIRED, RedisState
from jobs.benchmark_serve_client import OK, Connection, Load, Reply, Target, closed, opened
from jobs.benchmark_serve_figures import Figure, at_least, at_most
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_killed import ALL_ROWS, end
from jobs.benchmark_serve_side import Running, free_ports, replicas_of, started
from jobs.benchmark_serve_world import make, person

PER_SECOND, SECONDS, REPLICAS, TRIES, AGAIN_SECONDS = 30, 24.0, 2, 200, 0.1
BEFORE_SECONDS, BETWEEN_SECONDS, AWAY_SECONDS, PROBE_SECONDS = 5.0, 5.0, 3.0, 0.2
UNAVAILABLE = 503


class Store:
    """A Redis server on the files of a folder.

    Raises:
        SystemExit: there is no redis-server here.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("redis-server") is None:
            raise SystemExit("the part `store` needs redis-server: apt-get install redis-server")
        folder.mkdir()
        [port] = free_ports(1)
        self.url = f"redis://127.0.0.1:{port}/0"
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        durable = [word for key, value in REQUIRED.items() for word in (f"--{key}", value)]
        self._command = ["redis-server", *where, *durable]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603
        with redis.Redis.from_url(self.url, retry=Retry(ConstantBackoff(0.02), 1000)) as waiting:
            waiting.ping()

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        end(self._process.pid)
        self._process.wait()


@contextmanager
def stored(folder: Path) -> Iterator[Store]:
    """Run a store until the block ends."""
    store = Store(folder)
    try:
        yield store
    finally:
        store.kill()


class Sender:
    """Posts an event until it is taken, and asks for a list until it is there."""

    def __init__(self, target: Target) -> None:
        self._target, self._numbers = target, itertools.count()
        self.statuses = {"events": Counter[int](), "recommendations": Counter[int]()}
        self.accepted: dict[str, float] = {}
        self.known = 0
        self.shown: set[str] = set()
        self.without = 0

    async def send(self, connection: Connection) -> int:
        """Send both, or every other time only ask."""
        number = next(self._numbers)
        if number % 2 and (status := await self._post(connection, f"event-{number}")) != OK:
            return status
        return await self._ask(connection, person(number % 1000))

    async def _post(self, connection: Connection, event_id: str) -> int:
        event = {"event_id": event_id, "user_id": person(len(self.accepted) % 1000)}
        event |= {"item_id": "item-000001", "kind": "like"}
        taken = await self._until_answered(connection, "events", {"events": [event]})
        if taken.status == OK:
            self.accepted[event_id] = time.perf_counter()
            self.known += json.loads(taken.body)["duplicate"]
        return taken.status

    async def _ask(self, connection: Connection, user_id: str) -> int:
        listed = await self._until_answered(connection, "recommendations", {"user_id": user_id})
        if listed.status == OK:
            answer = json.loads(listed.body)
            self.shown.add(answer["request_id"])
            self.without += bool(answer["degraded"])
        return listed.status

    async def _until_answered(self, connection: Connection, path: str, body: object) -> Reply:
        request = self._target.post(f"/v1/{path}", json.dumps(body).encode())
        for _ in range(TRIES):
            reply = await connection.ask(request)
            self.statuses[path][reply.status] += 1
            if reply.status == OK:
                break
            await asyncio.sleep(AGAIN_SECONDS)
        return reply


class Faults(threading.Thread):
    """Kills a replica, then the store, and starts the store again; all the while probes ask."""

    def __init__(self, side: Running, store: Store) -> None:
        super().__init__(daemon=True)
        self._store, self._victim = store, replicas_of(side.pid)[0]
        self._url = f"http://127.0.0.1:{side.target.port}/readyz"
        self.back = 0.0
        self.probes = Counter[int]()

    def run(self) -> None:
        """Do it, at its times."""
        self._probe(BEFORE_SECONDS)
        end(self._victim)
        self._probe(BETWEEN_SECONDS)
        self._store.kill()
        self._probe(AWAY_SECONDS)
        self._store.start()
        self.back = time.perf_counter()

    def _probe(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(self._url) as answer:  # noqa: S310
                    self.probes[answer.status] += 1
            except urllib.error.HTTPError as error:
                self.probes[error.code] += 1
            time.sleep(PROBE_SECONDS)


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Load, kill the one, kill the other, count."""
    del arguments
    with tempfile.TemporaryDirectory(prefix="avb") as folder, stored(Path(folder) / "r") as store:
        root = Path(folder)
        args = arguments_of(root / "haproxy", make(root / "workspace").uri, REPLICAS)
        args = args.model_copy(update={"state": store.url})
        key = create_key(Path(args.keys))
        with started("haproxy", args, key, root / "haproxy") as side:
            sender = Sender(side.target)
            closed(side.target, sender.send, connections=4, seconds=3)
            faults = Faults(side, store)
            faults.start()
            load = opened(side.target, sender.send, per_second=PER_SECOND, seconds=SECONDS)
            faults.join()
        kept = RedisState(store.url).seal(ALL_ROWS)
    assert kept is not None
    return figures(sender, faults, load, kept)


def figures(sender: Sender, faults: Faults, load: Load, kept: Sealed) -> list[Figure]:
    """What was refused meanwhile, and what is there in the end."""
    events = kept.events["event_id"].to_pylist()
    lists = set(kept.served["request_id"].to_pylist())
    posted, asked = sender.statuses["events"], sender.statuses["recommendations"]
    failed = posted.total() - posted[OK] - posted[UNAVAILABLE]
    wait = min((at for at in sender.accepted.values() if at > faults.back), default=0.0)
    name = "store killed"
    return [
        at_least(f"{name}, events accepted", len(sender.accepted), ""),
        at_most(f"{name}, accepted events lost", len(sender.accepted.keys() - set(events)), "", 0),
        at_most(f"{name}, events stored twice", len(events) - len(set(events)), "", 0),
        at_most(f"{name}, events sent again that were stored", sender.known, ""),
        at_most(f"{name}, events refused with 503 and sent again", posted[UNAVAILABLE], ""),
        at_most(f"{name}, events failed otherwise", failed, "", 0) | {"statuses": dict(posted)},
        at_most(f"{name}, never answered", len(load.errors), "", 0),
        at_least(f"{name}, lists", asked[OK], ""),
        at_most(f"{name}, lists failed", asked.total() - asked[OK], "", 0),
        at_least(f"{name}, lists that said they were made without it", sender.without, "", 1),
        at_most(f"{name}, lists shown and not stored", len(sender.shown - lists), ""),
        at_most(f"{name}, unready probes", faults.probes.total() - faults.probes[OK], "", 0),
        at_most(f"{name}, from its start to an accepted event", wait - faults.back, "s"),
    ]
