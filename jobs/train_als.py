"""Factorise the interactions before the cut; items that nobody played get vectors from content.

ray job submit -- python -m jobs.train_als --config jobs/demo.toml
"""

import logging
from dataclasses import asdict

from avrec.config import RunConfig
from avrec.distributed.als import fit_on_workers
from avrec.distributed.als_shards import shards
from avrec.distributed.learn import Run
from avrec.distributed.session import run_job
from avrec.distributed.train import forget, run_name
from avrec.factors import Factors
from avrec.models import als, cold, fields
from avrec.schema import ITEMS
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.train_als")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `als`."""
    known = fields.sources(workspace, config.fields)
    settings = {
        "als": asdict(config.als),
        "cold": asdict(config.cold),
        "fields": asdict(config.fields),
        "split": asdict(config.split),
        "seed": config.seed,
    }
    recipe = workspace.recipe(settings, "items", "interactions", *known)
    if workspace.has("als", recipe):
        logger.info("up to date")
        return
    content = fields.read(workspace, workspace.read_table("items", ITEMS), config.fields)
    items = content.items
    warm = config.als.warm_start and workspace.has("als")
    before = als.earlier(workspace.open("als"), items, config.als) if warm else None
    run = Run(workspace, run_name("als", recipe), config.workers, config.seed)
    fitted = fit_on_workers(shards(workspace, items, config.split), config.als, run, before)
    factors = Factors(items, fitted.items)
    trained = factors.known()
    learned = cold.learn_from(factors, content, config.cold)
    factors = cold.filled(factors, content.joined(), learned)
    with workspace.create("als", recipe) as draft:
        draft.notes["started_from"] = workspace.open("als").version if warm else None
        als.save(als.ALS(factors, config.als, trained, fitted.audience), draft)
        if learned is not None:
            cold.save(learned, content, draft, "als")
    forget(workspace, "als")


if __name__ == "__main__":
    run_job(__doc__, run)
