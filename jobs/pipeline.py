"""Run the stages that the configuration names, in order; each skips what is up to date.

ray job submit -- python -m jobs.pipeline --config jobs/demo.toml
"""

import logging
from datetime import UTC, datetime
from importlib import import_module

from avrec.config import RunConfig
from avrec.distributed.session import run_job, timed
from avrec.serving.routing import current
from avrec.serving.states import open_board
from avrec.store import Workspace
from avrec.versions import prune

logger = logging.getLogger("avrec.jobs.pipeline")


def run(config: RunConfig, workspace: Workspace) -> None:
    """Run every stage, write their seconds as the artifact `pipeline`, and remove what is old."""
    seconds: list[tuple[str, float]] = []
    for number, stage in enumerate(config.stages, start=1):
        label = f"{stage} ({number}/{len(config.stages)})"
        taken = timed(label, import_module(f"jobs.{stage}").run, config, workspace)
        seconds.append((stage, taken))
    with workspace.create("pipeline", workspace.recipe({"stages": config.stages})) as draft:
        draft.add_json("seconds.json", seconds)
    if config.keep_versions:
        gone = prune(workspace, config.keep_versions, datetime.now(UTC), served(config))
        logger.info("removed %d old versions", len(gone))


def served(config: RunConfig) -> list[str]:
    """Versions that the service of this workspace answers with, or may go back to.

    Raises:
        StateError: its state cannot be read.
        RoutingError: it names none.
    """
    if not config.served_by:
        return []
    password = config.served_by_password or None
    routing, _ = current(open_board(config.served_by, password_file=password))
    return routing.versions()


if __name__ == "__main__":
    run_job(__doc__, run)
