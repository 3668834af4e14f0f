"""Train the two towers on the interactions before the cut.

ray job submit -- python -m jobs.train_towers --config jobs/demo.toml
"""

import logging
import time

from avrec import users
from avrec.config import RunConfig
from avrec.distributed.learn import Run
from avrec.distributed.session import run_job
from avrec.distributed.towers import fit
from avrec.distributed.train import forget, run_name
from avrec.errors import InputError
from avrec.factors import among
from avrec.interactions import histories
from avrec.models import cold, event_files, fields, more, towers
from avrec.schema import INTERACTIONS, ITEMS
from avrec.splits import by_time
from avrec.store import Workspace

SETTINGS = ("towers", "cold", "fields", "split", "seed")
logger = logging.getLogger("avrec.jobs.train_towers")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `towers`, unless nobody has a history to learn from."""
    settings = {name: getattr(config, name) for name in SETTINGS}
    known = fields.sources(workspace, config.fields) + more.sources(workspace, config.towers)
    recipe = workspace.recipe(settings, "items", "interactions", *known)
    if workspace.has("towers", recipe):
        logger.info("up to date")
        return
    items = workspace.read_table("items", ITEMS)
    pooled = fields.read(workspace, items, config.fields)
    split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
    people, past = histories(split.train, pooled.items)
    past = users.told(past, people, users.read(workspace, config.towers.profile))
    as_run = Run(workspace, run_name("towers", recipe), config.workers, config.seed)
    content, beside = more.read(workspace, items, pooled, config.towers)
    try:
        model = fit(past, content, config.towers, as_run, beside)
    except InputError as error:
        logger.warning("no towers: %s", error)
        workspace.remove("towers")
        return
    met = among(model, towers.learned_ids(past, len(pooled.items))).items
    learned = cold.learn_from(met, pooled, config.cold)
    with workspace.create("towers", recipe) as draft:
        towers.save(model, draft)
        event_files.write(model.curve, draft, now=time.time())
        if learned is not None:
            cold.save(learned, pooled, draft, "towers")
    forget(workspace, "towers")


if __name__ == "__main__":
    run_job(__doc__, run)
