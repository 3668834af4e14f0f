"""Train the ranker on impressions between the retrieval models' window and the test.

ray job submit -- python -m jobs.train_ranker --config jobs/demo.toml
"""

import logging

from avrec import log
from avrec.bundle import trained_models
from avrec.config import RunConfig
from avrec.distributed.learn import Run
from avrec.distributed.ranker import examples, fit_and_judge
from avrec.distributed.session import run_job
from avrec.distributed.train import forget, run_name
from avrec.errors import InputError
from avrec.feedback import labels
from avrec.models import ranker
from avrec.models.features import SOURCES
from avrec.schema import EVENTS, INTERACTIONS, ITEMS, MEDIA
from avrec.splits import by_time
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.train_ranker")
TABLES = ("items", "media", "events", "interactions")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `ranker`, unless nobody was shown anything in the ranker's window."""
    sections = ("ranker", "split", "feedback", "seed")
    settings = {name: getattr(config, name) for name in sections}
    people = [name for name in ("users",) if workspace.has(name)]
    recipe = workspace.recipe(settings, *TABLES, *people, *trained_models(workspace, SOURCES))
    if workspace.has("ranker", recipe):
        logger.info("up to date")
        return
    split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
    media = workspace.read_table("media", MEDIA).select(["item_id", "duration_seconds"])
    told = labels(workspace.read_table("events", EVENTS), media, config.feedback)
    shown = examples(workspace, split, told)
    as_run = Run(workspace, run_name("ranker", recipe), config.workers, config.seed)
    try:
        model, measures = fit_and_judge(shown, config.ranker, as_run)
    except InputError as error:
        logger.warning("no ranker: %s", error)
        workspace.remove("ranker")
        return
    logger.info("ranker %s", log.pairs(impressions=len(shown), **measures))
    items = Vocabulary.of(workspace.read_table("items", ITEMS)["item_id"])
    with workspace.create("ranker", recipe) as draft:
        ranker.save(model, items, draft)
        draft.metrics = measures
    forget(workspace, "ranker")


if __name__ == "__main__":
    run_job(__doc__, run)
