"""Put the bundle of a workspace into service, and wait until it answers.

python -m jobs.deploy --workspace DIR --home DIR --dashboard URL --port PORT
"""

import argparse
import sys
from pathlib import Path

from avrec.errors import AvrecError
from avrec.serving.deploy import Deployment, deploy
from avrec.store import Workspace

TEMPLATE = Path(__file__).parents[1] / "cluster" / "serve.yaml"


def main() -> None:
    """Deploy, or exit with 1 and one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("workspace", "dashboard"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    try:
        bundle = Workspace(args.workspace).open("bundle")
        bundle.check()
        deploy(Deployment(version=bundle.version, **vars(args)), TEMPLATE)
    except (AvrecError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
