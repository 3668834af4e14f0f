"""Decode and encode the media and texts of the catalogue, and pool them to one vector an item.

ray job submit -- python -m jobs.embed --config jobs/demo.toml
"""

import logging
from collections import Counter

from avrec.config import RunConfig
from avrec.distributed.embed import embed_all
from avrec.distributed.session import run_job
from avrec.embed import pool, weights
from avrec.log import pairs
from avrec.schema import DESCRIPTIONS, EMBED_ERRORS, EMBEDDINGS, ITEMS, MEDIA
from avrec.store import Workspace
from avrec.vocab import Vocabulary

logger = logging.getLogger("avrec.jobs.embed")
MADE = ("embed_errors", "content", "embeddings")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `embeddings`, `embed_errors` and `content`."""
    models = {model: weights.digest(model) for one in config.embed.encoders for model in one.models}
    told = ["descriptions"] if workspace.has("descriptions") else []
    recipe = workspace.recipe(config.embed, "items", "media", *told, outside=models)
    if all(workspace.has(name, recipe) for name in MADE):
        logger.info("up to date")
        return
    items = workspace.read_table("items", ITEMS)
    media = workspace.read_table("media", MEDIA)
    descriptions = workspace.read_table("descriptions", DESCRIPTIONS) if told else None
    with workspace.create("embeddings", recipe) as draft:
        errors = embed_all(items, media, config.embed, config.media.limits, draft, descriptions)
    workspace.write_table("embed_errors", errors, EMBED_ERRORS, recipe)
    vectors = workspace.read_table("embeddings", EMBEDDINGS)
    with workspace.create("content", recipe) as draft:
        pool.save(pool.pool(vectors, Vocabulary.of(items["item_id"])), draft)
    kinds = Counter(error.partition(":")[0] for error in errors["error"].to_pylist())
    embedded = len(vectors["item_id"].unique())
    logger.info("embedded %s", pairs(items=embedded, vectors=len(vectors), errors=len(errors)))
    for kind, count in kinds.most_common():
        logger.warning("not embedded %s", pairs(kind=kind, files=count))


if __name__ == "__main__":
    run_job(__doc__, run)
