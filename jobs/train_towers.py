"""Train the two towers on the interactions before the cut.

ray job submit -- python -m jobs.train_towers --config jobs/demo.toml
"""

import logging

from avrec.config import RunConfig
from avrec.distributed.learn import Run
from avrec.distributed.session import run_job
from avrec.distributed.towers import fit
from avrec.distributed.train import forget, run_name
from avrec.embed import pool
from avrec.errors import InputError
from avrec.interactions import histories
from avrec.models import towers
from avrec.schema import INTERACTIONS, ITEMS
from avrec.splits import by_time
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.train_towers")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `towers`, unless nobody has a history to learn from."""
    content = ["content"] if workspace.has("content") else []
    settings = {"towers": config.towers, "split": config.split, "seed": config.seed}
    recipe = workspace.recipe(settings, "items", "interactions", *content)
    if workspace.has("towers", recipe):
        logger.info("up to date")
        return
    items = Vocabulary.of(workspace.read_table("items", ITEMS)["item_id"])
    split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
    pooled = pool.load(workspace.open("content"), items) if content else pool.Content(items, {})
    past = histories(split.train, items).histories
    as_run = Run(workspace, run_name("towers", recipe), config.workers, config.seed)
    try:
        model = fit(past, pooled, config.towers, as_run)
    except InputError as error:
        logger.warning("no towers: %s", error)
        workspace.remove("towers")
        return
    with workspace.create("towers", recipe) as draft:
        towers.save(model, draft)
    forget(workspace, "towers")


if __name__ == "__main__":
    run_job(__doc__, run)
