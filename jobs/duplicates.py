"""Group the items that are one work uploaded several times, so that lists show it once.

ray job submit -- python -m jobs.duplicates --config jobs/demo.toml
"""

import logging

from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.duplicates import find
from avrec.embed import pool
from avrec.log import pairs
from avrec.schema import DUPLICATES, FINGERPRINTS, ITEMS, MEDIA
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.duplicates")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `duplicates` by whatever fingerprints and vectors there are."""
    known = [name for name in ("fingerprints", "content") if workspace.has(name)]
    recipe = workspace.recipe(config.duplicates, "items", "media", *known)
    if workspace.has("duplicates", recipe):
        logger.info("up to date")
        return
    items, media = workspace.read_table("items", ITEMS), workspace.read_table("media", MEDIA)
    prints, content = FINGERPRINTS.empty_table(), None
    if "fingerprints" in known:
        prints = workspace.read_table("fingerprints", FINGERPRINTS)
    if "content" in known:
        content = pool.load(workspace.open("content"), Vocabulary.of(items["item_id"]))
    found = find(items, media, prints, content, config.duplicates)
    workspace.write_table("duplicates", found, DUPLICATES, recipe)
    groups = len(found["group"].unique())
    logger.info("duplicates %s", pairs(items=len(items), in_groups=len(found), groups=groups))


if __name__ == "__main__":
    run_job(__doc__, run)
