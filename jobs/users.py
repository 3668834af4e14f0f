"""Read what is known of people beside what they do.

ray job submit -- python -m jobs.users --config jobs/demo.toml
"""

import logging
from dataclasses import asdict

from avrec import drained, tabular
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.log import pairs
from avrec.schema import USERS
from avrec.store import Workspace
from avrec.users import read_users, without

logger = logging.getLogger("avrec.jobs.users")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `users`, without those to be forgotten; none where the configuration names no table."""
    if not config.users.uri:
        workspace.remove("users")
        logger.info("no table of users")
        return
    outside = {
        "users": tabular.fingerprint(config.users.uri),
        "live": drained.fingerprint(workspace.root, (drained.NOTES,)),
    }
    recipe = workspace.recipe(asdict(config.users), outside=outside)
    if workspace.has("users", recipe):
        logger.info("up to date")
        return
    forgotten = drained.read_forgotten(workspace.root)["user_id"]
    table = without(read_users(config.users), forgotten)
    workspace.write_table("users", table, USERS, recipe)
    logger.info("users %s", pairs(rows=len(table)))


if __name__ == "__main__":
    run_job(__doc__, run)
