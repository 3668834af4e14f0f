"""Ray Train: run one loop on every worker, with checkpoints in the workspace."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.data import Dataset
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from avrec.store import Place, Workspace

logger = logging.getLogger(__name__)
Loop = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkersConfig:
    """How many workers train, and what each takes."""

    num_workers: int = 2
    """Ray Train workers; the result does not depend on their number."""
    num_cpus: float = 1.0
    """CPUs of each worker."""
    use_gpu: bool = False
    """Whether each worker takes one GPU."""
    max_failures: int = 3
    """Restarts from the latest checkpoint before the run is given up."""

    def __post_init__(self) -> None:
        if self.num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {self.num_workers}")


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
    same `name` that was cut off goes on from its latest checkpoint.
    """
    storage = workspace.root / ".train"
    trainer = TorchTrainer(
        loop,
        train_loop_config=dict(settings),
        datasets=dict(datasets or {}),
        dataset_config=DataConfig(datasets_to_split=[]),
        scaling_config=ScalingConfig(
            num_workers=workers.num_workers,
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
        ),
    )
    result = trainer.fit()
    assert result.checkpoint is not None
    return Place(result.checkpoint.filesystem, result.checkpoint.path)


def report(metrics: Mapping[str, float], files: Mapping[str, bytes] | None = None) -> None:
    """Report an epoch; the worker that passes `files` writes them as the checkpoint."""
    if files is None:
        ray.train.report(dict(metrics))
        return
    with tempfile.TemporaryDirectory() as folder:
        for file_name, content in files.items():
            (Path(folder) / file_name).write_bytes(content)
        ray.train.report(dict(metrics), checkpoint=ray.train.Checkpoint.from_directory(folder))


def latest_files() -> dict[str, bytes]:
    """Read the files of the checkpoint to go on from; empty at the first start."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return {}
    with checkpoint.as_directory() as folder:
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
