"""Judge every model that was made, beside popularity, on what users took to later.

ray job submit -- python -m jobs.evaluate --config jobs/demo.toml
"""

import logging
from dataclasses import asdict

import pyarrow as pa

from avrec import bundle, lineup
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.evaluate import evaluate, format_table, summary
from avrec.log import pairs
from avrec.schema import INTERACTIONS, METRICS
from avrec.splits import by_time
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.evaluate")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `metrics`."""
    settings = {
        "evaluate": asdict(config.evaluate),
        "recommend": asdict(config.recommend),
        "split": asdict(config.split),
        "seed": config.seed,
    }
    models = bundle.trained_models(workspace)
    more = [name for name in ("duplicates", "users") if workspace.has(name)]
    recipe = workspace.recipe(settings, "items", "media", "interactions", *models, *more)
    if workspace.has("metrics", recipe):
        logger.info("up to date")
        return
    split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
    answers = lineup.answers(workspace, split, config.recommend, max(config.evaluate.k))
    metrics = pa.concat_tables(
        evaluate(lists, case, config.evaluate, seed=config.seed) for case, lists in answers
    )
    workspace.write_table("metrics", metrics, METRICS, recipe)
    hidden = len(bundle.duplicates_of(workspace)) if config.recommend.one_of_each else 0
    logger.info("lists %s", pairs(one_of_each=config.recommend.one_of_each, copies=hidden))
    logger.info("metrics\n%s", format_table(summary(metrics)))


if __name__ == "__main__":
    run_job(__doc__, run)
