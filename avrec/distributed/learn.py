"""Train a torch network on Ray Train: batches from Ray Data, gradients averaged over workers.

    root/.train/<run>-inputs/   examples-*.parquet and facts.safetensors, which the workers read

Each worker streams the same windows in the same order, shuffles them alike, and takes its rows of
each global batch, so the parameters do not depend on the number of workers but for rounding.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray.data
import ray.train
import ray.train.torch
import safetensors.numpy
import torch
from ray.data import DataIterator, Dataset
from torch import distributed, nn
from torch.distributed.nn.functional import all_gather

from avrec.arrays import Array
from avrec.distributed.train import RUNS, Loop, latest_files, report, train
from avrec.models.training import (
    ALONE,
    TRAINING,
    WINDOW,
    Batch,
    Crew,
    Files,
    LearnConfig,
    Loss,
    learn,
    shuffled,
    windows,
)
from avrec.store import Place, Workspace
from avrec.workers import WorkersConfig

FACTS = "facts.safetensors"


@dataclass(frozen=True, slots=True)
class Run:
    """Where, under which name, and by how many a network is trained.

    A run of the same name that was cut off is taken up again, so the name should hold the key of
    the recipe (`avrec.distributed.train.run_name`).
    """

    workspace: Workspace
    name: str
    workers: WorkersConfig
    seed: int = 0


def fit(
    loop: Loop, columns: Batch, facts: Mapping[str, Array], settings: Mapping[str, Any], run: Run
) -> Files:
    """Stage the inputs, run `loop` on every worker, and return the files of the last epoch.

    The loop finds `inputs` and `seed` among its settings.
    """
    inputs = stage(run, columns, facts)
    checkpoint = train(
        loop,
        {**settings, "inputs": inputs, "seed": run.seed},
        workers=run.workers,
        workspace=run.workspace,
        name=run.name,
        datasets={"train": dataset(inputs)},
    )
    return {TRAINING: (checkpoint / TRAINING).read()}


def stage(run: Run, columns: Batch, facts: Mapping[str, Array]) -> Place:
    """Write what the workers read, and say where it lies."""
    inputs = run.workspace.root / RUNS / f"{run.name}-inputs"
    inputs.filesystem.create_dir(inputs.path, recursive=True)
    for number, window in enumerate(windows(columns)):
        inputs.write_table(f"examples-{number:05}.parquet", _table(window))
    inputs.write_part(FACTS, safetensors.numpy.save(dict(facts)))
    return inputs


def dataset(inputs: Place) -> Dataset:
    """Examples that `stage` wrote, in their order."""
    return ray.data.read_parquet(
        inputs.path, filesystem=inputs.filesystem, file_extensions=["parquet"]
    )


def read_facts(inputs: Place) -> dict[str, Array]:
    """Arrays that `stage` wrote."""
    return safetensors.numpy.load((inputs / FACTS).read())


def learn_on_worker(
    net: nn.Module, loss: Callable[[nn.Module, Crew], Loss], config: LearnConfig, seed: int
) -> None:
    """Train as one worker of a run on its dataset `train`; report and save every epoch."""
    torch.set_num_threads(1)
    crew = join_crew()
    wrapped = ray.train.torch.prepare_model(
        net, parallel_strategy_kwargs={"broadcast_buffers": False}
    )
    stream = _Windows(ray.train.get_dataset_shard("train"))

    def batches(epoch: int) -> Iterator[Batch]:
        return shuffled(stream, config.batch_size, (seed, epoch))

    task = loss(wrapped, crew)
    for step in learn(net, task, batches, config, crew=crew, resume=latest_files()):
        files = step.files() if crew.rank == 0 else None
        report({"epoch": step.epoch, "loss": step.loss}, files)


def join_crew() -> Crew:
    """See the workers of this run as a crew."""
    context = ray.train.get_context()
    if context.get_world_size() == 1:
        return ALONE
    # DDP reduces gradients while others are still being made; rows go by a group of their own,
    # so that the two kinds of message never meet in another order on another worker.
    group = distributed.new_group()
    return Crew(
        context.get_world_rank(),
        context.get_world_size(),
        lambda rows: torch.cat(all_gather(rows, group)),  # type: ignore[no-untyped-call]
    )


class _Windows:
    """Windows of a stream, read anew for every epoch unless one window holds it all."""

    def __init__(self, shard: DataIterator) -> None:
        self._shard = shard
        self._kept: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        if self._kept:
            yield from self._kept
            return
        last: list[Batch] = []
        count = 0
        for table in self._shard.iter_batches(batch_size=WINDOW, batch_format="pyarrow"):
            last, count = [_columns(table)], count + 1
            yield last[0]
        self._kept = last if count == 1 else []


def _table(columns: Batch) -> pa.Table:
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: Array) -> pa.Array:
    flat = pa.array(values.ravel())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _columns(table: pa.Table) -> Batch:
    return {name: _values(table[name].combine_chunks()) for name in table.column_names}


def _values(column: pa.Array) -> Array:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if isinstance(column, pa.FixedSizeListArray):
        return column.flatten().to_numpy().reshape(len(column), -1)
    return column.to_numpy()
