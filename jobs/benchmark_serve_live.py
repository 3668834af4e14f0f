"""From an event posted to that person's list changed, behind HAProxy, at 200 events a second.

Each newcomer refuses the first item of everybody's list, and asks for a list as soon as the event
is answered: the time ends when a list without that item is there.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np

from avrec.serving.auth import create_key
from jobs.benchmark_serve_client import OK, Ask, Connection, Load, Target, closed, opened
from jobs.benchmark_serve_figures import Figure, at_least, at_most, errors
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_side import started
from jobs.benchmark_serve_world import K, make

EVENTS_PER_SECOND, SECONDS, GOAL_MS = 200, 6.0, 50.0
UNCHANGED = -1


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Measure it some times over."""
    with tempfile.TemporaryDirectory(prefix="avb") as folder:
        root = Path(folder)
        args = arguments_of(root / "haproxy", make(root / "workspace").uri)
        key = create_key(Path(args.keys))
        with started("haproxy", args, key, root / "haproxy") as side:
            ask = refusing(side.target)
            closed(side.target, ask, connections=4, seconds=2)
            loads = [
                opened(side.target, ask, per_second=EVENTS_PER_SECOND, seconds=SECONDS, seed=seed)
                for seed in range(arguments.repeats)
            ]
    return figures(loads)


def refusing(target: Target) -> Ask:
    """Let a newcomer refuse the first item, then ask for the list."""
    numbers = itertools.count()
    first: list[str] = []

    async def listed(connection: Connection, user_id: str) -> tuple[int, list[str]]:
        body = json.dumps({"user_id": user_id, "k": K}).encode()
        reply = await connection.ask(target.post("/v1/recommendations", body))
        items = json.loads(reply.body)["items"] if reply.status == OK else []
        return reply.status, [item["item_id"] for item in items]

    async def ask(connection: Connection) -> int:
        user_id = f"newcomer-{next(numbers)}"
        if not first:
            _, items = await listed(connection, user_id)
            first.extend(items[:1])
            return OK if items else UNCHANGED
        event = {"event_id": user_id, "user_id": user_id, "item_id": first[0], "kind": "skip"}
        body = json.dumps({"events": [event]}).encode()
        reply = await connection.ask(target.post("/v1/events", body))
        if reply.status != OK or not json.loads(reply.body)["accepted"]:
            return reply.status or UNCHANGED
        status, items = await listed(connection, user_id)
        return UNCHANGED if first[0] in items else status

    return ask


def figures(loads: list[Load]) -> list[Figure]:
    """Times from when an event was due to when the changed list was there."""
    p50s, p99s = ([load.at(p) for load in loads] for p in (50, 99))
    name = "event to changed list"
    return [
        at_least(f"{name}, events", min(load.per_second for load in loads), "1/s"),
        at_most(f"{name}, p50, median", float(np.median(p50s)), "ms"),
        at_most(f"{name}, p99, best", min(p99s), "ms", GOAL_MS),
        at_most(f"{name}, p99, median", float(np.median(p99s)), "ms", GOAL_MS),
        errors(f"{name}, failed or unchanged", loads),
    ]
