"""Requests a second and their times: HAProxy, Serve's own proxy and bare uvicorn, turn by turn.

All three serve the same application over the same bundle, and run at the same time; only the one
whose turn it is has anything to answer.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from avrec.serving.app import ServeArgs
from avrec.serving.auth import create_key
from jobs.benchmark_serve_client import Load, closed, opened, simple
from jobs.benchmark_serve_figures import Figure, at_least, at_most, errors
from jobs.benchmark_serve_side import SIDES, Running, started
from jobs.benchmark_serve_world import asks, make

CONNECTIONS, TURN_SECONDS, OPEN_SECONDS = 16, 2.5, 6.0
RATE_GOAL, P50_GOAL, UVICORN_GOAL, TAIL_GOAL = 5.0, 4.0, 0.5, 5.0


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Start the sides, let them take turns, then load the first one at half of its peak."""
    with tempfile.TemporaryDirectory(prefix="avb") as folder, ExitStack() as held:
        root = Path(folder)
        workspace = make(root / "workspace")
        running = {}
        for side in SIDES:
            args = arguments_of(root / side, workspace.uri, arguments.replicas)
            key = create_key(Path(args.keys))
            running[side] = held.enter_context(started(side, args, key, root / side))
        turns = take_turns(running, arguments.repeats)
        rate = float(np.median([load.per_second for load in turns["haproxy"]]))
        halves = [half(running["haproxy"], rate / 2, seed) for seed in range(arguments.repeats)]
    return [*compared(turns), *open_figures(halves, rate / 2)]


def arguments_of(home: Path, workspace: str, num_replicas: int = 1) -> ServeArgs:
    """What a side is started with: keys and state of its own."""
    home.mkdir(exist_ok=True)
    state, keys = str(home / "live.sqlite"), str(home / "keys.json")
    return ServeArgs(workspace=workspace, state=state, keys=keys, num_replicas=num_replicas)


def take_turns(running: dict[str, Running], repeats: int) -> dict[str, list[Load]]:
    """Load each side in turn; the first turn warms it and is not kept."""
    turns: dict[str, list[Load]] = {side: [] for side in running}
    for turn in range(repeats + 1):
        for side, one in running.items():
            ask = simple(asks(one.target, turn))
            load = closed(one.target, ask, connections=CONNECTIONS, seconds=TURN_SECONDS)
            turns[side] += [load] if turn else []
    return turns


def half(side: Running, per_second: float, seed: int) -> Load:
    """Load a side in an open loop."""
    ask = simple(asks(side.target, 1000 + seed))
    return opened(side.target, ask, per_second=per_second, seconds=OPEN_SECONDS, seed=seed)


def compared(turns: dict[str, list[Load]]) -> list[Figure]:
    """Figures of the closed loops, best and median turns."""
    told = []
    rates = {side: np.array([t.per_second for t in loads]) for side, loads in turns.items()}
    p50s = {side: np.array([t.at(50) for t in loads]) for side, loads in turns.items()}
    for side, loads in turns.items():
        told += [
            at_least(f"{side} requests/s, best", rates[side].max(), "1/s"),
            at_least(f"{side} requests/s, median", float(np.median(rates[side])), "1/s"),
            at_most(f"{side} p50, best", p50s[side].min(), "ms"),
            at_most(f"{side} p50, median", float(np.median(p50s[side])), "ms"),
            at_most(f"{side} p99, median", float(np.median([t.at(99) for t in loads])), "ms"),
            errors(f"{side} errors", loads),
            at_most(f"{side} degraded lists", sum(t.degraded for t in loads), ""),
        ]
    for name, of in (("best", np.max), ("median", np.median)):
        ours, proxy, bare = (float(of(rates[side])) for side in SIDES)
        told.append(at_least(f"rate over Serve's proxy, {name}", ours / proxy, "times", RATE_GOAL))
        told.append(at_least(f"rate over uvicorn, {name}", ours / bare, "times", UVICORN_GOAL))
    for name, of in (("best", np.min), ("median", np.median)):
        ours, proxy, _ = (float(of(p50s[side])) for side in SIDES)
        told.append(at_least(f"p50 of Serve's proxy over ours, {name}", proxy / ours, "times",
                             P50_GOAL))  # fmt: skip
    return told


def open_figures(halves: list[Load], rate: float) -> list[Figure]:
    """Figures of the open loop."""
    middle = [float(np.median([load.at(p) for load in halves])) for p in (50, 99)]
    tails = [load.at(99) / load.at(50) for load in halves]
    name = "open loop at half of the peak"
    return [
        at_least(f"{name}, rate", rate, "1/s"),
        at_most(f"{name}, p50, median", middle[0], "ms"),
        at_most(f"{name}, p99, median", middle[1], "ms"),
        at_most(f"{name}, p99 over p50, best", min(tails), "times", TAIL_GOAL),
        at_most(f"{name}, p99 over p50, median", float(np.median(tails)), "times", TAIL_GOAL),
        errors(f"{name}, errors", halves),
        at_most(f"{name}, degraded lists", sum(load.degraded for load in halves), ""),
    ]
