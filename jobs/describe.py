"""Understand the items: topics, mood, audience, safety and a summary of each, and its comments.

ray job submit -- python -m jobs.describe --config jobs/demo.toml
"""

import logging

from avrec import tabular
from avrec.config import RunConfig
from avrec.distributed.describe import describe_opinions, describe_texts
from avrec.distributed.session import run_job
from avrec.embed import weights
from avrec.embed.describe.opinions import reception
from avrec.errors import InputError
from avrec.log import pairs
from avrec.schema import DESCRIPTIONS, ITEMS, OPINIONS, RECEPTION
from avrec.store import Recipe, Workspace

logger = logging.getLogger("avrec.jobs.describe")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `descriptions`, and where comments are named `opinions` and `reception`."""
    asked = config.describe
    if asked.opinions.uri and not asked.language.model:
        raise InputError("describe.opinions needs a model: set describe.language.model")
    if not asked.language.model:
        logger.info("nothing to describe with: set describe.language.model")
        return
    outside = {
        "model": weights.digest(asked.language.model),
        "comments": tabular.fingerprint(asked.opinions.uri),
    }
    recipe = workspace.recipe(asked, "items", outside=outside)
    if workspace.has("descriptions", recipe):
        logger.info("up to date")
        return
    if asked.opinions.uri:
        _write_opinions(config, workspace, recipe)
    items = workspace.read_table("items", ITEMS)
    table = describe_texts(items, {}, asked, workspace.root)
    workspace.write_table("descriptions", table, DESCRIPTIONS, recipe)
    logger.info("described %s", pairs(items=len(table)))


def _write_opinions(config: RunConfig, workspace: Workspace, recipe: Recipe) -> None:
    table = describe_opinions(config.describe, workspace.root)
    workspace.write_table("opinions", table, OPINIONS, recipe)
    workspace.write_table("reception", reception(table), RECEPTION, recipe)
    logger.info("read %s", pairs(opinions=len(table)))


if __name__ == "__main__":
    run_job(__doc__, run)
