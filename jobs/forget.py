"""List what the ledger of a workspace holds, and delete what is not needed any more.

Nothing is deleted unless it is named: an encoder that was taken out of the configuration may come
back, and finds its vectors there. The tables of items stay as they are until their job runs again.

python -m jobs.forget --config jobs/demo.toml [--set KEY=VALUE] [--producer NAME@REVISION ...]
"""

import argparse
import sys
from pathlib import Path

from avrec import ledger
from avrec.config import load
from avrec.errors import AvrecError
from avrec.store import Place, Workspace


def run(root: Place, producers: list[str]) -> None:
    """Delete all of some producers, then print a line for each of those left."""
    known = {one.producer for one in ledger.held(root)}
    for name in producers:
        if name not in known:
            sys.exit(f"error: the ledger holds no {name!r}, only {sorted(known)}")
        ledger.forget(root, name)
    for one in ledger.held(root):
        print(f"{one.producer}  {one.plan_key}  {one.num_parts} parts  {one.size_bytes:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--producer", action="append", default=[], metavar="NAME@REVISION")
    args = parser.parse_args()
    try:
        run(Workspace(load(args.config, args.set).workspace).root, args.producer)
    except (AvrecError, OSError) as error:
        sys.exit(f"error: {error}")
