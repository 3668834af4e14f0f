"""Write live events, and items put and deleted, below `live` in a workspace, for training.

python -m jobs.drain --workspace DIR --state FILE_OR_URL [--redis-password FILE]
"""

import argparse
import sys

from avrec.errors import AvrecError
from avrec.serving.drain import drain, drain_items
from avrec.serving.states import open_board, open_state
from avrec.store import Workspace


def main() -> None:
    """Drain, or exit with 1 and one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--state", required=True, help="as in cluster/serve.yaml")
    parser.add_argument("--redis-password", help="file of the server's password")
    args = parser.parse_args()
    try:
        state = open_state(args.state, password_file=args.redis_password)
        board = open_board(args.state, password_file=args.redis_password)
        root = Workspace(args.workspace).root
        told = drain_items(board, root)
        print(f"drained {drain(state, root)} events")
        print(f"told of {len(told.put)} items put, {len(told.gone)} deleted")
    except (AvrecError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
