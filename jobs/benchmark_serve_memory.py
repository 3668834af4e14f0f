"""Memory of a replica over time, under a steady load of lists and events.

Resident memory of the replica's process is read twice a second. What it is in the last sixth of
the time is held against what it was in the second sixth: 5 of 30 minutes, where all are asked for.
"""

import argparse
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avrec.serving.auth import create_key
from jobs.benchmark_serve_client import Target, opened, simple
from jobs.benchmark_serve_figures import Figure, at_least, at_most
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_side import replicas_of, started
from jobs.benchmark_serve_world import PEOPLE, asks, make, person

PER_SECOND, EVENT_EVERY, GROWTH_GOAL = 200, 10, 1.05
MIB = 1 << 20


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Load a replica for `--memory-seconds`, and watch it."""
    with tempfile.TemporaryDirectory(prefix="avb") as folder:
        root = Path(folder)
        args = arguments_of(root / "haproxy", make(root / "workspace").uri)
        key = create_key(Path(args.keys))
        with started("haproxy", args, key, root / "haproxy") as side:
            seen, stop = list[int](), threading.Event()
            watcher = threading.Thread(target=_watch, args=[replicas_of(side.pid)[0], seen, stop])
            watcher.start()
            ask = simple(_mixed(side.target))
            seconds = float(arguments.memory_seconds)
            load = opened(side.target, ask, per_second=PER_SECOND, seconds=seconds)
            stop.set()
            watcher.join()
    return figures(np.array(seen) / MIB, load.failed)


def figures(mib: np.ndarray, errors: int) -> list[Figure]:
    """Compare late memory with early."""
    sixth = max(1, len(mib) // 6)
    early, late = float(np.median(mib[sixth : 2 * sixth])), float(np.median(mib[-sixth:]))
    return [
        at_least("memory, watched", len(mib) / 2, "s"),
        at_most("memory of the replica, early", early, "MiB"),
        at_most("memory of the replica, late", late, "MiB"),
        at_most("memory, late over early", late / early, "times", GROWTH_GOAL),
        at_most("memory, failed requests", errors, "", 0),
    ]


def _watch(pid: int, seen: list[int], stop: threading.Event) -> None:
    page = 4096
    while not stop.wait(0.5):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        seen.append(pages * page)


def _mixed(target: Target) -> Iterator[bytes]:
    """Lists, and every tenth request an event."""
    rng = np.random.default_rng(7)
    for number, listed in enumerate(asks(target, 7)):
        if number % EVENT_EVERY:
            yield listed
            continue
        user_id, item_id = person(int(rng.integers(PEOPLE))), f"item-{rng.integers(20_000):06}"
        event = {"event_id": str(number), "user_id": user_id, "item_id": item_id, "kind": "play"}
        yield target.post("/v1/events", json.dumps({"events": [event]}).encode())
