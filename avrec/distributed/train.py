"""Ray Train: run one loop on every worker, with checkpoints in the workspace.

    root/.train/<name>/   what the last epochs of a run left

A run's name holds the key of its recipe: a run that was cut off goes on where it stopped, and a
changed recipe begins anew. Call `forget` when the artifact is committed.
"""

import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray.train
from pyarrow.fs import FileSelector, FileType
from ray.data import Dataset, ExecutionOptions
from ray.train import (
    CheckpointConfig,
    CheckpointUploadMode,
    DataConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
)
from ray.train.torch import TorchTrainer

from avrec import log
from avrec.store import Place, Recipe, Workspace
from avrec.workers import WorkersConfig

logger = logging.getLogger(__name__)
Loop = Callable[[dict[str, Any]], None]
RUNS = ".train"
SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # the default, 2 s, is long beside a small epoch
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def train(
    loop: Loop,
    settings: Mapping[str, Any],
    *,
    workers: WorkersConfig,
    workspace: Workspace,
    name: str,
    datasets: Mapping[str, Dataset] | None = None,
) -> Place:
    """Run `loop(settings)` on every worker and return where the last checkpoint lies.

    Every worker streams every dataset whole, in order, through `get_dataset_shard`; it takes its
    own rows of each global batch, so batches are the same for any number of workers. A run of the
    same `name` that was cut off goes on from its latest checkpoint; see `run_name`.
    """
    for key, value in SETTINGS.items():
        os.environ.setdefault(key, value)
    storage = workspace.root / RUNS
    trainer = TorchTrainer(
        _with_logs(loop),
        train_loop_config=dict(settings),
        datasets=dict(datasets or {}),
        dataset_config=DataConfig(
            datasets_to_split=[], execution_options=ExecutionOptions(preserve_order=True)
        ),
        scaling_config=ScalingConfig(
            num_workers=_num_workers(workers),
            use_gpu=workers.use_gpu,
            resources_per_worker={
                "CPU": workers.num_cpus,
                **({"GPU": 1} if workers.use_gpu else {}),
            },
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage.path,
            storage_filesystem=storage.filesystem,
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    result = trainer.fit()
    assert result.checkpoint is not None, "the loop reported no checkpoint"
    logger.info("trained %s", log.pairs(run=name, workers=workers.num_workers))
    return Place(result.checkpoint.filesystem, result.checkpoint.path)


def _num_workers(workers: WorkersConfig) -> int | tuple[int, int]:
    if workers.min_workers in (0, workers.num_workers):
        return workers.num_workers
    return workers.min_workers, workers.num_workers


def run_name(model: str, recipe: Recipe) -> str:
    """Name the run that makes `model` by `recipe`."""
    return f"{model}-{recipe.key}"


def forget(workspace: Workspace, model: str) -> None:
    """Remove the checkpoints of every run of `model`; none is no fault."""
    runs = workspace.root / RUNS
    selector = FileSelector(runs.path, allow_not_found=True)
    for found in runs.filesystem.get_file_info(selector):
        if found.type == FileType.Directory and found.base_name.startswith(f"{model}-"):
            runs.filesystem.delete_dir(found.path)


def report(metrics: Mapping[str, float], files: Mapping[str, bytes] | None = None) -> None:
    """Report an epoch, or the end; every worker calls this, and those that pass `files` save them.

    The files go to the workspace while the worker goes on.
    """
    logger.info("reported %s", log.pairs(**metrics))
    checkpoint = None
    if files is not None:
        folder = tempfile.mkdtemp()  # removed by Ray when the files are saved
        for file_name, content in files.items():
            (Path(folder) / file_name).write_bytes(content)
        checkpoint = ray.train.Checkpoint.from_directory(folder)
    ray.train.report(
        dict(metrics), checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.ASYNC
    )


class Saved(Mapping[str, bytes]):
    """Files of a checkpoint, each read when it is asked for."""

    def __init__(self, place: Place) -> None:
        self._place, self._names = place, names(place)

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        return (self._place / name).read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def latest_files() -> Mapping[str, bytes]:
    """Files of the checkpoint to go on from; empty at the first start."""
    checkpoint = ray.train.get_checkpoint()
    return {} if checkpoint is None else Saved(Place(checkpoint.filesystem, checkpoint.path))


def names(checkpoint: Place) -> list[str]:
    """Names of the files of a checkpoint."""
    found = checkpoint.filesystem.get_file_info(FileSelector(checkpoint.path))
    return sorted(one.base_name for one in found if one.is_file)


def _with_logs(loop: Loop) -> Loop:
    """Log the epochs of the first worker only, and let others' code speak up only to warn."""

    def logged(settings: dict[str, Any]) -> None:
        first = ray.train.get_context().get_world_rank() == 0
        logging.getLogger().setLevel(logging.WARNING)
        log.set_up(logging.INFO if first else logging.WARNING)
        loop(settings)

    return logged
