"""Put catalogue, models and histories together as the bundle that serving loads.

ray job submit -- python -m jobs.index --config jobs/demo.toml
"""

import logging
from dataclasses import asdict

from avrec import bundle, users
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.feedback import finished
from avrec.schema import EVENTS, INTERACTIONS, ITEMS, MEDIA
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.index")
TABLES = ("items", "media", "events", "interactions")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `bundle` from whichever models were made and are to propose or rank."""
    models = bundle.served_models(workspace, config.recommend)
    more = [name for name in ("metrics", "duplicates", "users") if workspace.has(name)]
    recipe = workspace.recipe(
        {"recommend": asdict(config.recommend), "index": asdict(config.index)},
        *TABLES,
        *models,
        *more,
    )
    if workspace.has("bundle", recipe) and bundle.intact(workspace):
        logger.info("up to date")
        return
    events = workspace.read_table("events", EVENTS)
    media = workspace.read_table("media", MEDIA)
    with workspace.create("bundle", recipe) as draft:
        draft.metrics = bundle.headline(workspace)
        contents = bundle.Contents(
            items=workspace.read_table("items", ITEMS),
            interactions=workspace.read_table("interactions", INTERACTIONS),
            seen=finished(events, media, config.feedback),
            media=media,
            duplicates=bundle.duplicates_of(workspace),
            models=models,
            recommend=config.recommend,
            feedback=config.feedback,
            index=config.index,
            users=users.read(workspace),
        )
        bundle.write(draft, contents)
    logger.info("bundle %s holds %s", draft.version, sorted(models))


if __name__ == "__main__":
    run_job(__doc__, run)
