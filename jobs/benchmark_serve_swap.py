"""Bundles are swapped and items put under load: which requests fail, and how soon all follow.

Two replicas behind HAProxy answer an open loop. Meanwhile another bundle is activated, and the
first one again, and so on; then items are put. A replica follows when it answers with the new
bundle, so all do when the last answer by the old one has come.
"""

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from avrec.serving.auth import SCOPES, create_key
from jobs.benchmark_serve_client import OK, Connection, Load, Target, closed, opened
from jobs.benchmark_serve_figures import Figure, at_least, at_most
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_side import started
from jobs.benchmark_serve_world import asks, make

PER_SECOND, SECONDS, REPLICAS, SWAPS, PUTS, GOAL_SECONDS = 50, 45.0, 2, 4, 8, 2.0
MODEL = b'"model":"'


class Swap(NamedTuple):
    """When a version was asked for, and when the replica that was asked had it."""

    version: str
    asked: float
    answered: float


class Watcher:
    """Asks for lists, and notes when which version answered."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self.seen: list[tuple[float, str]] = []

    async def ask(self, connection: Connection) -> int:
        """Ask for one list."""
        reply = await connection.ask(next(self._requests))
        if reply.status == OK:
            version = reply.body.partition(MODEL)[2].partition(b'"')[0].decode()
            self.seen.append((time.perf_counter(), version))
        return reply.status

    def followed(self, swap: Swap, until: float) -> float:
        """Seconds from the answer to a swap until the last list by another version."""
        others = [at for at, one in self.seen if swap.asked < at < until and one != swap.version]
        return max(0.0, max(others, default=swap.answered) - swap.answered)


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Load, swap, put, count."""
    del arguments
    with tempfile.TemporaryDirectory(prefix="avb") as folder:
        root = Path(folder)
        workspace = make(root / "workspace")
        first = workspace.open("bundle").version
        second = make(root / "workspace").open("bundle").version
        args = arguments_of(root / "haproxy", workspace.uri, REPLICAS)
        key = create_key(Path(args.keys), SCOPES)
        with started("haproxy", args, key, root / "haproxy") as side:
            watcher, swaps, puts = Watcher(asks(side.target, 0)), list[Swap](), list[float]()
            closed(side.target, watcher.ask, connections=8, seconds=3)

            def change() -> None:
                swaps.extend(swapped(side.target, [first, second] * (SWAPS // 2)))
                puts.extend(put(side.target, number) for number in range(PUTS))

            changing = threading.Thread(target=change)
            changing.start()
            load = opened(side.target, watcher.ask, per_second=PER_SECOND, seconds=SECONDS)
            changing.join()
    return figures(load, watcher, swaps, puts)


def swapped(target: Target, versions: list[str]) -> list[Swap]:
    """Activate one version after the other."""
    done = []
    for version in versions:
        asked = time.perf_counter()
        call(target, "POST", f"models/{version}/activate")
        done.append(Swap(version, asked, time.perf_counter()))
        time.sleep(2 * GOAL_SECONDS)
    return done


def put(target: Target, number: int) -> float:
    """Put an item, and tell the seconds until lists may show it."""
    path = f"items/put-{number}"
    told = call(target, "PUT", path, {"title": f"Simulated newcomer {number}"})
    while told["seconds_to_list"] is None:
        time.sleep(0.05)
        told = call(target, "GET", path)
    return float(told["seconds_to_list"])


def call(target: Target, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the service for something else than a list."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    url = f"http://{target.host}:{target.port}/v1/{path}"
    request = urllib.request.Request(url, content, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def figures(load: Load, watcher: Watcher, swaps: list[Swap], puts: list[float]) -> list[Figure]:
    """What failed, and the slowest to follow."""
    ends = [*(swap.asked for swap in swaps[1:]), swaps[-1].answered + 2 * GOAL_SECONDS]
    late = [watcher.followed(one, end) for one, end in zip(swaps, ends, strict=True)]
    return [
        at_least("swaps under load, requests", len(load.milliseconds) + len(load.errors), ""),
        at_most("swaps under load, failed", load.failed, "", 0),
        at_most("swaps under load, p99", load.at(99), "ms"),
        at_most("swap, loaded and checked, slowest", max(s.answered - s.asked for s in swaps), "s"),
        at_most("swap, until all replicas follow, slowest", max(late), "s", GOAL_SECONDS),
        at_most("item put until listed, slowest", max(puts), "s", GOAL_SECONDS),
    ]
