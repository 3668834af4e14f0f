"""List the media, read their headers, and join them to the catalogue.

What a service was told of single items, and `jobs.drain` wrote, goes over what is configured.

ray job submit -- python -m jobs.probe --config jobs/demo.toml
"""

import logging

from avrec import catalogue, drained, tabular
from avrec.config import RunConfig
from avrec.distributed.probe import probe_all
from avrec.distributed.session import run_job
from avrec.log import pairs
from avrec.media.files import expand, with_files
from avrec.schema import ITEMS, MEDIA
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.probe")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `media` and `items`."""
    told = drained.read_items(workspace.root)
    found = {row["item_id"]: row["uri"] for row in told.put.to_pylist() if row["uri"]}
    listing = with_files(expand(config.media.inputs), found)
    outside = {"files": listing.fingerprint, "items": tabular.fingerprint(config.media.items)}
    if len(told.put) or len(told.gone):
        outside["live"] = drained.fingerprint(workspace.root, (drained.PUT, drained.DELETED))
    recipe = workspace.recipe(config.media, outside=outside)
    if workspace.has("media", recipe) and workspace.has("items", recipe):
        logger.info("up to date")
        return
    logger.info("listed %s", pairs(files=len(listing.files), passed_over=listing.num_skipped))
    known = None
    if config.media.items:
        known = catalogue.read_items(config.media.items, config.media.columns)
    media = probe_all(listing.files, config.media, workspace.root)
    joined = catalogue.without(catalogue.merge(catalogue.put(known, told.put), media), told.gone)
    workspace.write_table("media", joined.media, MEDIA, recipe)
    workspace.write_table("items", joined.items, ITEMS, recipe)
    errors = len(joined.media) - joined.media["error"].null_count
    logger.info("probed %s", pairs(files=len(joined.media), errors=errors, items=len(joined.items)))


if __name__ == "__main__":
    run_job(__doc__, run)
