"""Measure the online service, part by part, against its peers.

    python -m jobs.benchmark_serve [--only PART ...] [--repeats 5] [--replicas 1]
    python -m jobs.benchmark_serve --only memory --memory-seconds 1800
    python -m jobs.benchmark_serve --only index [--items 1000000]

Without `--only` all parts but those two run, in eight minutes. Each figure is one line of JSON.
Sides take turns; of the turns, the best and the median are told. The bundle is simulated (see
`jobs.benchmark_serve_world`). All sides, and the client, share the machine.
"""

import argparse
import json
from collections.abc import Callable

from jobs import (
    benchmark_serve_http,
    benchmark_serve_index,
    benchmark_serve_killed,
    benchmark_serve_live,
    benchmark_serve_memory,
    benchmark_serve_rolling,
    benchmark_serve_store,
    benchmark_serve_swap,
    benchmark_serve_topk,
    benchmark_serve_wire,
)
from jobs.benchmark_serve_figures import Figure

Part = Callable[[argparse.Namespace], list[Figure]]

PARTS: dict[str, Part] = {
    "http": benchmark_serve_http.run,
    "live": benchmark_serve_live.run,
    "killed": benchmark_serve_killed.run,
    "store": benchmark_serve_store.run,
    "rolling": benchmark_serve_rolling.run,
    "swap": benchmark_serve_swap.run,
    "memory": benchmark_serve_memory.run,
    "topk": benchmark_serve_topk.run,
    "wire": benchmark_serve_wire.run,
    "index": benchmark_serve_index.run,
}

SHORT = ["http", "live", "killed", "store", "rolling", "swap", "topk", "wire"]


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=SHORT)
    parser.add_argument("--replicas", type=int, default=1, help="of both sides on Serve")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-seconds", type=int, default=30, help="1800 for the real figure")
    parser.add_argument("--items", type=int, default=1_000_000, help="of the part index")
    arguments = parser.parse_args()
    for name in arguments.only:
        for figure in PARTS[name](arguments):
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
