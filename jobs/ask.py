"""Show what a workspace and its service hold: stages, metrics, and one person's list.

python -m jobs.ask --workspace DIR --url URL --key-file FILE [--user ID]
"""

import argparse
import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from avrec import bundle
from avrec.errors import AvrecError
from avrec.evaluate import format_table
from avrec.schema import METRICS
from avrec.store import Workspace


def main() -> None:
    """Print the report; exit with 1 and one line where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--user", help="default: the one with the longest history")
    parser.add_argument("-k", type=int, default=10)
    args = parser.parse_args()
    try:
        report(Workspace(args.workspace), args)
    except (AvrecError, OSError) as error:
        sys.exit(f"error: {error}")


def report(workspace: Workspace, args: argparse.Namespace) -> None:
    """Print seconds per stage, the metrics table, a list, and a command to paste."""
    for stage, seconds in workspace.open("pipeline").json("seconds.json").items():
        print(f"{seconds:8.1f} s  {stage}")
    print("\n" + format_table(workspace.read_table("metrics", METRICS)))
    user = args.user or bundle.most_active_user(workspace.open("bundle"))
    body = json.dumps({"user_id": user, "k": args.k})
    answer = ask(f"{args.url}/v1/recommendations", args.key_file.read_text().strip(), body)
    print(f"\nfor {user!r}, by {answer['policy']} of bundle {answer['model']}:")
    for item in answer["items"]:
        print(f"{item['rank']:3}  {item['score']:7.4f}  {item['title']}  ({item['reason']})")
    print(f"\nURL  {args.url}  (API at {args.url}/docs)\nkey  $(cat {args.key_file})\n")
    print(
        f"curl -s {args.url}/v1/recommendations -H \"Authorization: Bearer $(cat {args.key_file})\" "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def ask(url: str, key: str, body: str) -> Any:
    """POST a JSON body and return the JSON answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


if __name__ == "__main__":
    main()
