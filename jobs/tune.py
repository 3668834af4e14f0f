"""Search for settings of one model, judged on the latest part of what it trains on.

ray job submit -- python -m jobs.tune --config jobs/demo.toml
"""

import logging
from dataclasses import asdict

from avrec import tuning
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.distributed.tune import forget, search
from avrec.schema import INTERACTIONS, ITEMS, TRIALS
from avrec.splits import by_time
from avrec.store import Workspace
from avrec.tuning_plot import svg
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.tune")
PLOT = "trials.svg"


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `trials`, a table and a plot, and log the best setting as TOML."""
    base = getattr(config, config.tune.section)
    values = {"tune": config.tune, "base": base, "split": config.split}
    plain = {key: asdict(value) for key, value in values.items()} | {"seed": config.seed}
    recipe = workspace.recipe(plain, "items", "interactions")
    if workspace.has("trials", recipe):
        logger.info("up to date")
    else:
        items = Vocabulary.of(workspace.read_table("items", ITEMS)["item_id"])
        split = by_time(workspace.read_table("interactions", INTERACTIONS), config.split)
        task = tuning.validation(split.train, items, config.tune, seed=config.seed)
        ended = search(
            task, base, config.tune, seed=config.seed, workspace=workspace, name=recipe.key
        )
        table = tuning.table(ended, config.tune.metric, config.tune.k)
        with workspace.create("trials", recipe) as draft:
            draft.set_schema(TRIALS)
            draft.add_table("part-00000.parquet", table, TRIALS)
            draft.add(draft.place.write_part(PLOT, svg(table).encode()))
        forget(workspace)
    found = workspace.open("trials")
    trials = found.table("part-00000.parquet", TRIALS)
    logger.info("trials\n%s", tuning.format_trials(trials))
    logger.info("plot %s", (found.place / PLOT).path)
    logger.info("best\n%s", tuning.as_toml(tuning.best(trials)))


if __name__ == "__main__":
    run_job(__doc__, run)
