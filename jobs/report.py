"""Write what the workspace holds as one HTML file that opens anywhere: `report/.../report.html`.

ray job submit -- python -m jobs.report --config jobs/demo.toml
"""

import logging
from datetime import UTC, datetime

from avrec.config import RunConfig
from avrec.distributed.session import run_job
from avrec.report.findings import gather
from avrec.report.page import render
from avrec.store import Workspace

logger = logging.getLogger("avrec.jobs.report")
NAME = "report.html"


def run(config: RunConfig, workspace: Workspace) -> None:
    """Write `report` from whatever there is."""
    page = render(gather(workspace, config.report), datetime.now(UTC))
    with workspace.create("report", workspace.recipe(config.report, "items")) as draft:
        draft.add(draft.place.write_part(NAME, page.encode()))
    logger.info("report %s", (workspace.open("report").place / NAME).path)


if __name__ == "__main__":
    run_job(__doc__, run)
