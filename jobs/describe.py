"""Describe what is in the media and the comments: speech, sounds, pictures, topics, mood, safety.

ray job submit -- python -m jobs.describe --config jobs/describe_cpu.toml
"""

import logging
from collections import Counter
from dataclasses import asdict

from avrec import tabular
from avrec.config import RunConfig
from avrec.distributed.describe import describe_opinions, describe_texts
from avrec.distributed.describe_clips import TABLES, describe_clips, models_of
from avrec.distributed.embed import plan
from avrec.distributed.session import run_job
from avrec.embed.describe.opinions import reception
from avrec.log import pairs
from avrec.schema import DESCRIPTIONS, ITEMS, MEDIA, OPINIONS, RECEPTION
from avrec.store import Recipe, Workspace

logger = logging.getLogger("avrec.jobs.describe")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `descriptions`, what it is from, and where comments are named, what they say."""
    asked, seen = config.describe, plan(config.embed)
    models = models_of(asked)
    if not models:
        logger.info("nothing to describe with: no section of [describe] names a model")
        return
    outside = models | {"comments": tabular.fingerprint(asked.opinions.uri), "plan": seen.key}
    recipe = workspace.recipe(asdict(asked), "items", "media", outside=outside)
    if workspace.has("descriptions", recipe):
        logger.info("up to date")
        return
    items, media = workspace.read_table("items", ITEMS), workspace.read_table("media", MEDIA)
    found = describe_clips(
        media, asked, seen, config.media.limits, workspace.root, config.embed.num_actors
    )
    for name, table in found.tables.items():
        workspace.write_table(name, table, TABLES[name], recipe)
    if asked.opinions.uri:
        _write_opinions(config, workspace, recipe)
    table = describe_texts(items, found.tables, asked, workspace.root)
    workspace.write_table("descriptions", table, DESCRIPTIONS, recipe)
    logger.info("described %s", pairs(items=len(table)))
    for kind, count in Counter(found.failures["kind"].to_pylist()).most_common():
        logger.warning("not described %s", pairs(kind=kind, files=count))


def _write_opinions(config: RunConfig, workspace: Workspace, recipe: Recipe) -> None:
    table = describe_opinions(config.describe, workspace.root)
    workspace.write_table("opinions", table, OPINIONS, recipe)
    workspace.write_table("reception", reception(table), RECEPTION, recipe)


if __name__ == "__main__":
    run_job(__doc__, run)
