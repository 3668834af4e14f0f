"""Train a torch network on Ray Train: batches from Ray Data, gradients averaged over workers.

Examples and what else the workers read go into the object store once. Each worker streams the
same windows in the same order, shuffles them alike, and takes its rows of each global batch, so
the parameters do not depend on the number of workers but for rounding. Tables that are sharded
(`avrec.models.tables`) keep out of that average: gradients go to the rows' owners.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.train
import ray.train.torch
import torch
from ray.data import DataIterator
from torch import Tensor, distributed, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel

from avrec.arrays import Array
from avrec.distributed.train import RUNS, Loop, Saved, latest_files, report, train
from avrec.models.event_files import write_epoch
from avrec.models.tables import shards
from avrec.models.training import (
    ALONE,
    WINDOW,
    Batch,
    Course,
    Crew,
    Files,
    LearnConfig,
    Loss,
    learn,
    shuffled,
    windows,
)
from avrec.store import Workspace
from avrec.workers import WorkersConfig


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
    """Run `loop` on every worker and return the files of the last epoch, read when asked for.

    The loop finds `seed`, `facts` behind a reference, and `watched`, where its curve goes while it
    grows, among its settings.
    """
    blocks = [_table(window) for window in windows(columns)]
    checkpoint = train(
        loop,
        {
            **settings,
            "facts": ray.put(dict(facts)),
            "seed": run.seed,
            "watched": run.workspace.root / RUNS / run.name,
        },
        workers=run.workers,
        workspace=run.workspace,
        name=run.name,
        datasets={"train": ray.data.from_arrow(blocks)},
    )
    return Saved(checkpoint)


def learn_on_worker(
    net: nn.Module,
    objective: Callable[[nn.Module, Crew], tuple[Loss, Course]],
    crew: Crew,
    config: LearnConfig,
    settings: Mapping[str, Any],
) -> None:
    """Train as one worker of a run on its dataset `train`; report and save every epoch.

    `net` may hold tables that the crew shares; each worker saves its rows of them. The first one
    writes each epoch for TensorBoard, too. `settings` are those that `fit` gives.
    """
    torch.set_num_threads(_num_threads())
    sharded = shards(net)
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
        net, list(sharded)
    )
    wrapped = ray.train.torch.prepare_model(net)
    stream = _Windows(ray.train.get_dataset_shard("train"))

    def batches(epoch: int) -> Iterator[Batch]:
        return shuffled(stream, config.batch_size, (settings["seed"], epoch))

    loss, course = objective(wrapped, crew)
    course = replace(course, resume=latest_files(), shards=sharded)
    for step in learn(net, loss, batches, config, crew=crew, course=course):
        measures = step.measures()
        if crew.rank == 0:
            write_epoch(1 + step.epoch, measures, settings["watched"], now=time.time())
        report({"epoch": step.epoch, **measures}, step.files() or None)


def _num_threads() -> int:
    """CPUs that Ray set aside for this worker, at least one."""
    return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))


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
        lambda rows: _Join.apply(rows, group),  # type: ignore[no-untyped-call]
        partial(_swap, group=group),
    )


def _swap(parts: Sequence[Tensor], group: distributed.ProcessGroup) -> list[Tensor]:
    """Send the n-th part to worker n, and return what each has sent here."""
    device = parts[0].device
    counts = torch.tensor([len(part) for part in parts], device=device)
    coming = torch.empty_like(counts)
    distributed.all_to_all_single(coming, counts, group=group)
    sent, lengths = torch.cat(list(parts)), coming.tolist()
    got = sent.new_empty(sum(lengths), *sent.shape[1:])
    distributed.all_to_all_single(got, sent, lengths, counts.tolist(), group=group)
    return list(torch.split(got, lengths))


class _Join(Function):
    """All workers' rows; their gradients are added up and go back to the rows' owners."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: distributed.ProcessGroup) -> Tensor:
        ctx.group = group
        every = [torch.empty_like(rows) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(every, rows.contiguous(), group=group)
        return torch.cat(every)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        distributed.all_reduce(total, group=ctx.group)
        share = len(total) // distributed.get_world_size(ctx.group)
        start = distributed.get_rank(ctx.group) * share
        return total[start : start + share], None


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
