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
from avrec.evaluate import format_table, summary
from avrec.schema import METRICS
from avrec.store import Workspace


def main() -> None:
    """Print the report, or exit with 1 and one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("workspace", "url", "key-file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--user", help="default: the one with the longest history")
    args = parser.parse_args()
    try:
        workspace = Workspace(args.workspace)
        if workspace.has("sample"):
            print("The catalogue and its listeners are simulated; so is what they enjoy.\n")
        for stage, seconds in workspace.open("pipeline").json("seconds.json"):
            print(f"{seconds:8.1f} s  {stage}")
        print("\n" + format_table(summary(workspace.read_table("metrics", METRICS))))
        user = args.user or bundle.most_active_user(workspace.open("bundle"))
        show(args, json.dumps({"user_id": user, "k": 10}))
    except (AvrecError, OSError) as error:
        sys.exit(f"error: {error}")


def show(args: argparse.Namespace, body: str) -> None:
    """Print a list, and the command that asks for it."""
    url = f"{args.url}/v1/recommendations"
    answer = ask(url, Path(args.key_file).read_text(), body)
    print(f"\n{body}, by {answer['policy']} of bundle {answer['model']}:")
    for item in answer["items"]:
        print(f"{item['rank']:3}  {item['score']:7.4f}  {item['title']}  ({item['reason']})")
    print(f"\npage {args.url}/  (API at {args.url}/docs)\nkey  in {args.key_file}\n")
    key = f'"Authorization: Bearer $(cat {args.key_file})"'
    print(f"curl -s {url} -H {key} -H 'Content-Type: application/json' -d '{body}'")


def ask(url: str, key: str, body: str) -> Any:
    """POST a JSON body and return the JSON answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers)  # noqa: S310
    return json.load(urllib.request.urlopen(request, timeout=30))  # noqa: S310


if __name__ == "__main__":
    main()
