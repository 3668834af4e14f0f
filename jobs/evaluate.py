"""Judge every model that was made, beside popularity, on what users took to later.

ray job submit -- python -m jobs.evaluate --config jobs/demo.toml
"""

import logging
from dataclasses import asdict

import pyarrow as pa

from avrec import lineup
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.evaluate import evaluate, format_table
from avrec.schema import INTERACTIONS, ITEMS, METRICS
from avrec.splits import by_time
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.evaluate")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `metrics`."""
    settings = {
        "evaluate": asdict(config.evaluate),
        "split": asdict(config.split),
        "seed": config.seed,
    }
    recipe = workspace.recipe(settings, "items", "interactions", *lineup.present(workspace))
    if workspace.has("metrics", recipe):
        logger.info("up to date")
        return
    items = Vocabulary.of(workspace.read_table("items", ITEMS)["item_id"])
    split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
    answers = lineup.answers(workspace, split, items, max(config.evaluate.k))
    metrics = pa.concat_tables(
        evaluate(lists, case, config.evaluate, seed=config.seed) for case, lists in answers
    )
    workspace.write_table("metrics", metrics, METRICS, recipe)
    logger.info("metrics\n%s", format_table(metrics))


if __name__ == "__main__":
    run_job(__doc__, run)
