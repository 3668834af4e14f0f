"""What msgpack would save against JSON: bytes, and time of writing a list or reading events.

One list of 20 is asked for in process, and written over and over by the encoder of the service and
by msgpack, in turns; a batch of 100 events is read likewise. What a request spends in all is told
by the answers themselves.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from fastapi.testclient import TestClient
from pydantic_core import to_json

from avrec.serving.app import build
from avrec.serving.auth import create_key
from jobs.benchmark_serve_figures import Figure, at_least, at_most
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_world import K, make, person

LISTS, TIMES, EVENTS = 100, 1_000, 100


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Ask, then write and read both ways."""
    with tempfile.TemporaryDirectory(prefix="avb") as folder:
        answers = _answers(Path(folder))
    stages = ("history", "recommend", "log")
    spent = [sum(one["milliseconds"].get(stage, 0) for stage in stages) for one in answers]
    answer, events = answers[-1], {"events": [_event(n) for n in range(EVENTS)]}
    told = compared(f"wire, list of {K}", answer, arguments.repeats, writing=True)
    told += compared(f"wire, {EVENTS} events", events, arguments.repeats, writing=False)
    saved = (told[2]["value"] - told[3]["value"]) / (1000 * float(np.median(spent)))
    name = "wire, share of a list's time that msgpack saves"
    return [*told, at_least(name, saved, "")]


def compared(name: str, content: Any, repeats: int, *, writing: bool) -> list[Figure]:
    """Bytes and medians of the microseconds, JSON first."""
    packed, text = msgpack.packb(content), to_json(content, inf_nan_mode="null")
    ways: list[Callable[[], object]] = [
        partial(to_json, content, inf_nan_mode="null") if writing else partial(json.loads, text),
        partial(msgpack.packb, content) if writing else partial(msgpack.unpackb, packed),
    ]
    turns = [[_microseconds(way) for way in ways] for _ in range(repeats)]
    json_us, msgpack_us = np.median(turns, axis=0).tolist()
    verb = "written" if writing else "read"
    return [
        at_most(f"{name}, JSON", len(text), "B"),
        at_most(f"{name}, msgpack", len(packed), "B"),
        at_most(f"{name}, JSON {verb}", json_us, "us"),
        at_most(f"{name}, msgpack {verb}", msgpack_us, "us"),
    ]


def _answers(root: Path) -> list[Any]:
    args = arguments_of(root / "service", make(root / "workspace").uri)
    headers = {"Authorization": f"Bearer {create_key(Path(args.keys))}"}
    with TestClient(build(args), headers=headers) as client:
        asks = [{"user_id": person(n), "k": K} for n in range(LISTS)]
        return [client.post("/v1/recommendations", json=ask).json() for ask in asks]


def _event(number: int) -> dict[str, object]:
    at, item_id = "2026-01-01T00:00:00+00:00", f"item-{number:06}"
    event = {"event_id": f"{number:032x}", "user_id": person(number), "item_id": item_id}
    return event | {"kind": "progress", "at": at, "position_seconds": 12.5}


def _microseconds(way: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(TIMES):
        way()
    return 1e6 * (time.process_time() - start) / TIMES
