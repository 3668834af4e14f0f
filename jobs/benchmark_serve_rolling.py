"""The configuration is changed under load: which requests fail while replicas are replaced.

Two replicas behind HAProxy answer an open loop of lists. Meanwhile the service is deployed again
with other arguments, and Serve replaces one replica after the other.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from avrec.serving.app import ServeArgs
from avrec.serving.auth import create_key
from jobs.benchmark_serve_client import closed, opened, simple
from jobs.benchmark_serve_figures import Figure, at_least, at_most, errors
from jobs.benchmark_serve_http import arguments_of
from jobs.benchmark_serve_side import Running, replicas_of, started
from jobs.benchmark_serve_world import asks, make

PER_SECOND, SECONDS, REPLICAS, BEFORE_SECONDS, LOOK_SECONDS = 40, 60.0, 2, 5.0, 0.1


class Change(threading.Thread):
    """Deploys other arguments after some seconds, and notes when no old replica is left."""

    def __init__(self, side: Running, args: ServeArgs) -> None:
        super().__init__(daemon=True)
        self._side, self._args = side, args
        self.seconds = float("inf")

    def run(self) -> None:
        """Do it; as long as the load takes, at most."""
        time.sleep(BEFORE_SECONDS)
        old, begun = set(replicas_of(self._side.pid)), time.monotonic()
        self._side.change(self._args)
        while time.monotonic() - begun < SECONDS - BEFORE_SECONDS:
            left = set(replicas_of(self._side.pid))
            if len(left) == REPLICAS and not left & old:
                self.seconds = time.monotonic() - begun
                return
            time.sleep(LOOK_SECONDS)


def run(arguments: argparse.Namespace) -> list[Figure]:
    """Load, change, count."""
    del arguments
    with tempfile.TemporaryDirectory(prefix="avb") as folder:
        root = Path(folder)
        args = arguments_of(root / "haproxy", make(root / "workspace").uri, REPLICAS)
        key = create_key(Path(args.keys))
        with started("haproxy", args, key, root / "haproxy") as side:
            ask = simple(asks(side.target, 0))
            closed(side.target, ask, connections=8, seconds=3)
            change = Change(side, args.model_copy(update={"max_events": args.max_events // 2}))
            change.start()
            load = opened(side.target, ask, per_second=PER_SECOND, seconds=SECONDS)
            change.join()
    name = "configuration changed under load"
    return [
        at_least(f"{name}, requests", len(load.milliseconds) + len(load.errors), ""),
        errors(f"{name}, failed", [load]),
        at_most(f"{name}, degraded lists", load.degraded, ""),
        at_most(f"{name}, p99", load.at(99), "ms"),
        at_most(f"{name}, until all replicas are new", change.seconds, "s", SECONDS),
    ]
