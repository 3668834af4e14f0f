"""List the models of a service, activate one, or go back; a running service follows in seconds.

python -m jobs.models --workspace DIR --state FILE_OR_URL [--redis-password FILE] list
python -m jobs.models ... activate VERSION
python -m jobs.models ... rollback
"""

import argparse
import sys

from avrec.errors import AvrecError
from avrec.serving.deploy import activate
from avrec.serving.routing import current, rolled_back, write
from avrec.serving.shelf import WorkspaceShelf
from avrec.serving.states import open_board
from avrec.store import Workspace


def main() -> None:
    """Do what is asked, show how things are, or exit with 1 and one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--state", required=True, help="as in cluster/serve.yaml")
    parser.add_argument("--redis-password", help="file of the server's password")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list")
    verbs.add_parser("activate").add_argument("version")
    verbs.add_parser("rollback")
    args = parser.parse_args()
    try:
        board = open_board(args.state, password_file=args.redis_password)
        shelf = WorkspaceShelf(Workspace(args.workspace))
        if args.verb == "activate":
            activate(shelf, board, args.version)
        elif args.verb == "rollback":
            routing, number = current(board)
            write(board, rolled_back(routing), number)
        routing, _ = current(board)
        roles = {routing.previous: "previous", routing.candidate: "candidate"}
        for one in shelf.kept():
            print(
                one.version, one.made_at, (roles | {routing.active: "active"}).get(one.version, "")
            )
    except (AvrecError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
