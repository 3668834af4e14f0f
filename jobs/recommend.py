"""Write lists for every user of the bundle.

ray job submit -- python -m jobs.recommend --config jobs/demo.toml
"""

import logging
from datetime import UTC, datetime

from avrec import bundle
from avrec.config import RunConfig
from avrec.distributed.recommend import write_lists
from avrec.distributed.session import run_job
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.recommend")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `recommendations`."""
    recipe = workspace.recipe(config.batch, "bundle")
    if workspace.has("recommendations", recipe):
        logger.info("up to date")
        return
    artifact = workspace.open("bundle")
    num_users = len(bundle.load(artifact).users.users)
    at = int(datetime.now(UTC).timestamp() * 1_000_000)
    with workspace.create("recommendations", recipe) as draft:
        write_lists(
            artifact,
            draft,
            num_users=num_users,
            k=config.batch.k,
            at=at,
            num_actors=config.batch.num_actors,
        )
    rows = workspace.open("recommendations").num_rows()
    logger.info("%s lists, %s rows", num_users, rows)


if __name__ == "__main__":
    run_job(__doc__, run)
