"""Describe what is in the media and the comments: speech, sounds, pictures, topics, mood, safety.

ray job submit -- python -m jobs.describe --config jobs/describe_cpu.toml
"""

import logging
from dataclasses import asdict

from avrec import tabular
from avrec.config import RunConfig
from avrec.distributed import describe, embed
from avrec.distributed.extract import log_end
from avrec.distributed.session import run_job
from avrec.embed.describe.opinions import reception
from avrec.log import pairs
from avrec.schema import DESCRIPTIONS, ITEMS, MEDIA, OPINIONS, QUARANTINE, RECEPTION
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.describe")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `descriptions`, what it is from, and where comments are named, what they say."""
    asked = config.describe
    producers = describe.producers_of(asked)
    if not producers:
        logger.info("nothing to describe with: no section of [describe] names a model")
        return
    plan = embed.plan(config.embed).key
    outside = producers | {"comments": tabular.fingerprint(asked.opinions.uri), "plan": plan}
    recipe = workspace.recipe(asdict(asked), "items", "media", outside=outside)
    if workspace.has("descriptions", recipe):
        logger.info("up to date")
        return
    items, media = workspace.read_table("items", ITEMS), workspace.read_table("media", MEDIA)
    how = describe.clip_extraction(asked, config.embed, config.media.limits, workspace.root)
    of = embed.owned(items, media)
    seen, report = describe.describe_clips(of, how)
    log_end(report)
    if report.stages:
        with workspace.create("describe_stats", workspace.recipe(asdict(asked))) as draft:
            draft.add_json("stats.json", report.to_json())
    for name, table in seen.items():
        workspace.write_table(name, table, describe.TABLES[name], recipe)
    workspace.write_table("describe_quarantine", embed.quarantine(of, how), QUARANTINE, recipe)
    if asked.opinions.uri:
        reading = describe.text_extraction(asked, how, of_comments=True)
        comments = describe.describe_comments(asked, reading)
        workspace.write_table("opinions", comments, OPINIONS, recipe)
        workspace.write_table("reception", reception(comments), RECEPTION, recipe)
    table = describe.describe_items(items, seen, asked, describe.text_extraction(asked, how))
    workspace.write_table("descriptions", table, DESCRIPTIONS, recipe)
    logger.info("described %s", pairs(items=len(table)))


if __name__ == "__main__":
    run_job(__doc__, run)
