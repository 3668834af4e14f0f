"""Fit the models that others are measured against, on the interactions before the cut.

    ray job submit -- python -m jobs.train_baselines --config jobs/demo.toml

Each appears in the table of `jobs.evaluate`; those that `recommend.sources` names propose in
serving too.
"""

import logging
from dataclasses import replace

from avrec import baselines
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.interactions import weight_matrix
from avrec.schema import INTERACTIONS, ITEMS
from avrec.splits import by_time
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.train_baselines")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write those of `svd`, `bpr`, `item_neighbours` and `user_neighbours` that are asked for."""
    due = {}
    for name in config.baselines.models:
        settings = {name: _section(config, name), "split": config.split, "seed": config.seed}
        recipe = workspace.recipe(settings, "items", "interactions")
        if not workspace.has(name, recipe):
            due[name] = recipe
    if not due:
        logger.info("up to date")
        return
    items = Vocabulary.of(workspace.read_table("items", ITEMS)["item_id"])
    split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
    weights = weight_matrix(split.train, items).weights
    for name, recipe in due.items():
        model = baselines.fit(weights, items, _section(config, name), seed=config.seed)
        with workspace.create(name, recipe) as draft:
            baselines.save(model, draft)
        logger.info("made %s", name)


def _section(config: RunConfig, name: str) -> baselines.Section:
    if name == "svd":
        return config.svd
    if name == "bpr":
        return config.bpr
    return replace(config.neighbours, side=baselines.SIDES[name])


if __name__ == "__main__":
    run_job(__doc__, run)
