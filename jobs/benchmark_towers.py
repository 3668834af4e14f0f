"""Measure towers and sequence models, part by part, against their peers.

    python -m jobs.benchmark_towers [--only sequences ...] [--data FOLDER] [--runs FOLDER]
        [--peer PYTHON]

Each figure is one line of JSON. Sides take turns. `--data` has one folder a set (see
`jobs.benchmark_sets`); `--runs` keeps what long runs leave, so that they go on from there.
`--peer` is the interpreter of an environment with rectools 0.19 and the torch of this one.
A part whose set or peer is not there is left out, and said so.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jobs import (
    benchmark_towers_chunked,
    benchmark_towers_cold,
    benchmark_towers_compression,
    benchmark_towers_profile,
    benchmark_towers_sequences,
    benchmark_towers_speed,
    benchmark_towers_workers,
)

Part = Callable[[argparse.Namespace], Iterable[dict[str, Any]]]

PARTS: dict[str, Part] = {
    "chunked": benchmark_towers_chunked.run,
    "cold": benchmark_towers_cold.run,
    "compression": benchmark_towers_compression.run,
    "profile": benchmark_towers_profile.run,
    "speed": benchmark_towers_speed.run,
    "sequences": benchmark_towers_sequences.run,
    "workers": benchmark_towers_workers.run,
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=sorted(PARTS))
    parser.add_argument("--data", type=Path, default=Path("data"), help="one folder a set")
    parser.add_argument("--runs", type=Path, default=Path(".avrec/runs"), help="what runs leave")
    parser.add_argument("--peer", type=Path, help="interpreter that has rectools")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="for sequences")
    parser.add_argument("--epochs", type=int, help="other than a part's own")
    arguments = parser.parse_args()
    for name in arguments.only:
        for figure in PARTS[name](arguments):
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
