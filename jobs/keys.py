"""List the keys of the service, add one, or strike one out; a running service follows at once.

python -m jobs.keys --keys FILE list
python -m jobs.keys --keys FILE add [--scopes read,events,admin] [--tenant NAME] [--per-second N]
python -m jobs.keys --keys FILE revoke ID

To replace a key: add one, hand it out, and revoke the old one when nobody uses it any more.
"""

import argparse
import sys
from pathlib import Path

from avrec.errors import AvrecError
from avrec.serving.auth import DEFAULT, create_key, grants, revoke_key


def show(path: Path) -> None:
    """Print a line for each key."""
    for one in grants(path):
        rate = "" if one.per_second is None else f"  {one.per_second:g} a second"
        tenant = f"  of {one.tenant}" if one.tenant else ""
        print(f"{one.key_id}  {','.join(sorted(one.scopes))}{tenant}{rate}")


def main() -> None:
    """Do what is asked, or exit with 1 and one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=Path, required=True, help="file of hashed keys")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list")
    add = verbs.add_parser("add")
    add.add_argument("--scopes", default=",".join(DEFAULT))
    add.add_argument("--tenant", default="")
    add.add_argument("--per-second", type=float)
    verbs.add_parser("revoke").add_argument("key_id", metavar="ID")
    args = parser.parse_args()
    try:
        if args.verb == "add":
            scopes, rate = args.scopes.split(","), args.per_second
            print(create_key(args.keys, scopes, tenant=args.tenant, per_second=rate))
        elif args.verb == "revoke":
            revoke_key(args.keys, args.key_id)
        else:
            show(args.keys)
    except (AvrecError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
