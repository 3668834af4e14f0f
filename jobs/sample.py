"""Make the embedded sample: clips, a catalogue and simulated listeners' events.

    ray job submit -- python -m jobs.sample --config jobs/demo.toml

Other jobs read its files as they read anybody's: `{workspace}/sample/clips`,
`{workspace}/sample/items.parquet` and `{workspace}/sample/events.parquet`.
"""

import logging

from avrec import log
from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.sample.write import intact, write_sample
from avrec.store import Part, Workspace, join

logger = logging.getLogger("avrec.jobs.sample")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write the sample unless the same one is there."""
    recipe = workspace.recipe(config.sample, outside={"seed": str(config.seed)})
    if workspace.has("sample", recipe):
        parts = [Part(**part) for part in workspace.open("sample").json("sample.json")]
        if intact(workspace.root / "sample", parts):
            logger.info("up to date %s", log.pairs(sample=workspace.uri))
            return
    with workspace.create("sample", recipe) as draft:
        parts = write_sample(join(workspace.uri, "sample"), config.sample, config.seed)
        draft.add_json("sample.json", [part._asdict() for part in parts])
    rows = {part.name.removesuffix(".parquet"): part.num_rows for part in parts if part.num_rows}
    size = sum(part.size_bytes for part in parts)
    logger.info("sample %s", log.pairs(clips=config.sample.num_clips, size_bytes=size, **rows))


if __name__ == "__main__":
    run_job(__doc__, run)
