"""Put an item into a running service, delete one, or tell what became of it.

python -m jobs.items --url URL --key-file FILE {put,delete,show} ID [--title TITLE] [--uri URI]

`put` waits until lists may show the item, and says how many seconds that took.
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote


def ask(args: argparse.Namespace, method: str, body: dict[str, Any] | None = None) -> Any:
    """Send a request about the item, and give its JSON answer."""
    url = f"{args.url}/v1/items/{quote(args.item_id, safe='')}"
    key = args.key_file.read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def put(args: argparse.Namespace) -> Any:
    """Put the item, and wait until it may be listed, or never will."""
    told = ask(args, "PUT", {"title": args.title, "uri": args.uri})
    while told["status"] != "failed" and told["seconds_to_list"] is None:
        time.sleep(0.1)
        told = ask(args, "GET")
    return told


def main() -> None:
    """Do what is asked and print what is known of the item, or exit with 1 and one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("verb", choices=["put", "delete", "show"])
    parser.add_argument("item_id", metavar="ID")
    parser.add_argument("--title", default="")
    parser.add_argument("--uri", help="its file; http, https, or below a place of `media`")
    args = parser.parse_args()
    try:
        verb = {"delete": "DELETE", "show": "GET"}.get(args.verb)
        print(json.dumps(ask(args, verb) if verb else put(args), indent=1))
    except urllib.error.HTTPError as error:
        sys.exit(f"error: {error.read().decode()}")
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
