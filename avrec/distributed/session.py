"""A job's frame: arguments, configuration, a connection to Ray, and one clear line on failure."""

import argparse
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.train import TrainingFailedError

from avrec import log
from avrec.config import RunConfig, load
from avrec.errors import AvrecError
from avrec.store import Workspace

logger = logging.getLogger(__name__)
WORKER_FAULT = re.compile(
    r"^(?:OSError|FileNotFoundError|PermissionError|avrec\.errors\.\w+): (.+)$", re.MULTILINE
)
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "TQDM_DISABLE": "1"}
Run = Callable[[RunConfig, Workspace], None]


def run_job(description: str, run: Run) -> None:
    """Parse `--config FILE` and `--set KEY=VALUE`, connect to Ray, and call `run`.

    Exits with status 1 and one line on standard error where the input is at fault.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="TOML file of the run")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key, as a line of TOML",
    )
    args = parser.parse_args()
    log.set_up()
    try:
        config = load(args.config, args.set)
        connect()
        timed(parser.prog, run, config, Workspace(config.workspace))
    except (AvrecError, OSError, RayError, TrainingFailedError) as error:
        reason = fault_of_input(error)
        if reason is None:
            raise
        sys.exit(f"error: {reason}")


def timed(stage: str, run: Run, config: RunConfig, workspace: Workspace) -> float:
    """Call `run`, log how long it took, and return the seconds."""
    logger.info("start %s", log.pairs(stage=stage))
    start = time.perf_counter()
    run(config, workspace)
    seconds = time.perf_counter() - start
    logger.info("done %s", log.pairs(stage=stage, seconds=round(seconds, 1)))
    return seconds


def connect() -> None:
    """Connect to the cluster that the environment names, or start one on this machine."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    if not ray.is_initialized():
        ray.init(log_to_driver=True, logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    for noisy in ("ray.data", "ray._private.authentication"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def fault_of_input(error: BaseException) -> str | None:
    """Say in one line what began an error, if it was an input, a disk or an artifact.

    Ray sends a worker's error on as the text of its traceback, so the line is looked for there.
    """
    if isinstance(error, AvrecError | OSError) and not isinstance(error, RayError):
        text = str(error).strip()
        return text.splitlines()[0] if text else type(error).__name__
    failures = getattr(error, "worker_failures", {}).values()
    found = WORKER_FAULT.findall("\n".join(str(one) for one in (error, *failures)))
    return found[0] if found else None
