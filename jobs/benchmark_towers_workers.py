"""Training by two workers of one thread each, beside one of two threads, on Ray Train.

Both train the tower of `jobs.benchmark_towers_speed` on the first 1,500 users of ml-1m-sasrec, some
epochs at a time, turn by turn, which takes about four minutes. An epoch's seconds are the
workers' own, so that starting Ray does not count. ndcg@10 is that of the validation after the last
epoch, the same for both but for rounding.
"""

import argparse
import logging
import os
import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import ray

from avrec.distributed import towers as spread
from avrec.distributed.learn import Run
from avrec.embed.pool import Content
from avrec.models import towers
from avrec.models.training import curve
from avrec.store import Workspace
from avrec.workers import WorkersConfig
from jobs.benchmark_towers_sequences import NAME, world
from jobs.benchmark_towers_speed import SETTINGS

USERS, EPOCHS, TURNS, SPEED_GOAL, NDCG_GOAL = 1500, 2, 2, 0.8, 0.98
SIDES = {
    "two": WorkersConfig(num_workers=2, num_cpus=1.0),
    "one": WorkersConfig(num_workers=1, num_cpus=2.0),
}


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare sequences a second and what was learned."""
    folder = arguments.data / NAME
    if not folder.is_dir():
        print(f"SKIPPED: there is no {NAME} in {arguments.data}", flush=True)
        return []
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=4, include_dashboard=False, logging_level=logging.WARNING)
    config = replace(SETTINGS, epochs=arguments.epochs or EPOCHS, validation_users=1024)
    given = world(folder)
    past = given.past.take(np.arange(USERS, dtype=np.int32))
    task = towers.prepare(past, Content(given.items, {}), config)
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as root:
        for turn in range(TURNS):
            for name, workers in SIDES.items():
                as_run = Run(Workspace(root), f"{name}-{turn}", workers)
                epochs = curve(spread.train(task, config, as_run))
                seconds[name] += [one["seconds"] for one in epochs]
                scores[name] = epochs[-1]["score"]
                print(f"{name}: {epochs}", flush=True)
    ray.shutdown()
    best, middle = (
        [of(seconds[name]) for name in SIDES] for of in (min, lambda s: float(np.median(s)))
    )
    sequences = len(task.columns["weight"])
    return [
        _figure("sequences a second, best epoch", best[1] / best[0], sequences / best[1]),
        _figure("sequences a second, median epoch", middle[1] / middle[0], sequences / middle[1]),
        _figure("ndcg@10 of the validation", scores["two"] / scores["one"], scores["one"]),
    ]


def _figure(what: str, value: float, peer: float) -> dict[str, Any]:
    goal = SPEED_GOAL if what.startswith("sequences") else NDCG_GOAL
    line = {"figure": f"two workers of one thread: {what}", "value": round(value, 3)}
    unit = "of one worker's with two"
    return line | {"unit": unit, "peer": round(peer, 4), "goal": goal, "met": value >= goal}
