"""Read and clean events, and weigh them as interactions.

ray job submit -- python -m jobs.interactions --config jobs/demo.toml
"""

import logging
import time
from dataclasses import asdict

import pyarrow as pa

from avrec import drained, log
from avrec.clean import clean, require_some
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.events import fingerprint, read_events
from avrec.feedback import to_interactions
from avrec.schema import DROPPED, EVENTS, INTERACTIONS, ITEMS, MEDIA
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.interactions")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `events` with `events_dropped`, then `interactions`, each unless up to date."""
    durations = workspace.read_table("media", MEDIA).select(["item_id", "duration_seconds"])
    _write_events(config, workspace, durations)
    recipe = workspace.recipe(config.feedback, "events", "media")
    if workspace.has("interactions", recipe):
        logger.info("up to date")
        return
    table = to_interactions(workspace.read_table("events", EVENTS), durations, config.feedback)
    workspace.write_table("interactions", table, INTERACTIONS, recipe)
    logger.info("interactions %s", log.pairs(rows=len(table)))


def _write_events(config: RunConfig, workspace: Workspace, durations: pa.Table) -> None:
    prints = {"events": fingerprint(config.events), "live": drained.fingerprint(workspace.root)}
    settings = {"events": asdict(config.events), "clean": asdict(config.clean)}
    recipe = workspace.recipe(settings, "items", "media", outside=prints)
    if workspace.has("events_dropped", recipe) and workspace.has("events", recipe):
        return
    items = Vocabulary.of(workspace.read_table("items", ITEMS)["item_id"])
    read = read_events(config.events)
    told = drained.told(read.events, workspace.root)
    cleaned = clean(told, items, durations, config.clean, now=time.time_ns() // 1000)
    dropped = pa.concat_tables([read.dropped, cleaned.dropped])
    logger.info("events kept=%d", len(cleaned.events))
    for row in dropped.to_pylist():
        logger.warning("events dropped %s", log.pairs(**row))
    require_some(cleaned, told, items)
    workspace.write_table("events_dropped", dropped, DROPPED, recipe)
    workspace.write_table("events", cleaned.events, EVENTS, recipe)


if __name__ == "__main__":
    run_job(__doc__, run)
