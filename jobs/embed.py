"""Decode and encode the media and texts of the catalogue, and pool them to one vector an item.

ray job submit -- python -m jobs.embed --config jobs/demo.toml
"""

import logging
from collections import Counter
from dataclasses import asdict

from avrec.config import RunConfig
from avrec.distributed import embed
from avrec.distributed.extract import extract, log_end
from avrec.distributed.session import run_job
from avrec.embed import pool
from avrec.log import pairs
from avrec.schema import DESCRIPTIONS, ITEMS, MEDIA, QUARANTINE
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.embed")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Compute what the ledger lacks; write `embeddings`, `content`, `quarantine` and others."""
    items = workspace.read_table("items", ITEMS)
    told = ["descriptions"] if workspace.has("descriptions") else []
    words = workspace.read_table("descriptions", DESCRIPTIONS) if told else None
    contents = embed.owned(items, workspace.read_table("media", MEDIA), words)
    how = embed.extraction(config.embed, config.media.limits, workspace.root)
    report = extract(contents.contents, how)
    log_end(report)
    if report.stages:
        with workspace.create("embed_stats", workspace.recipe(config.embed)) as draft:
            draft.add_json("stats.json", report.to_json())
    outside = {"ledger": embed.fingerprint(contents, how), "form": pool.FORM}
    recipe = workspace.recipe(config.embed, "items", "media", *told, outside=outside)
    per_item = [name for name in embed.PER_ITEM if getattr(config.embed, name)]
    if all(workspace.has(n, recipe) for n in ("quarantine", *per_item, "content", "embeddings")):
        logger.info("up to date")
        return
    refused = embed.quarantine(contents, how)
    workspace.write_table("quarantine", refused, QUARANTINE, recipe)
    for name in per_item:
        with workspace.create(name, recipe) as draft:
            embed.write_per_item(contents, how, embed.PER_ITEM[name], draft)
    pooling = pool.Pooling(Vocabulary.of(items["item_id"]))
    with workspace.create("embeddings", recipe) as draft:
        embed.write_embeddings(contents, how, refused, draft, pooling)
    with workspace.create("content", recipe) as draft:
        pool.save(pooling.content(), draft)
        encoding = {"embed": asdict(config.embed), "limits": asdict(config.media.limits)}
        draft.add_json(pool.ENCODING, encoding)
    for kind, count in Counter(refused["kind"].to_pylist()).most_common():
        logger.warning("not embedded %s", pairs(kind=kind, rows=count))


if __name__ == "__main__":
    run_job(__doc__, run)
