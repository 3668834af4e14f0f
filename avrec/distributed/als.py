"""Alternating least squares on Ray Train: every worker solves its rows of both sides.

Interactions are read by shard; a half step ends in the workers sharing the rows that they have
solved, or in each fetching those that it needs where all of them do not fit. A row comes out the
same wherever it is solved, and sums over rows are exact, so the number of workers does not show.

A run that was cut off goes on after the last epoch that was saved, on any number of workers
(`avrec.distributed.als_checkpoints`).

Workers with a GPU each solve their rows on it, and share them by NCCL; their number then shows in
the rounding. What lies in the CPU's memory goes by gloo, as does everything without a GPU. CUDA
was not available where this was written: what goes by NCCL has not run.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import ray
import ray.train.torch
import safetensors.numpy
import torch
import torch.distributed as dist

from avrec import log
from avrec.arrays import Array, Offsets, Values, Vectors
from avrec.distributed.als_checkpoints import Checkpoints, rows_of
from avrec.distributed.als_shards import Shards, load
from avrec.distributed.learn import Run
from avrec.distributed.train import RUNS, names, report, train
from avrec.models.als import ALSConfig, Earlier
from avrec.models.als_fit import Epoch, Fitter
from avrec.models.als_objective import TORCH_ON_CPU, Population
from avrec.models.als_parts import Placed, gather_numbers

EPOCHS = "epochs"
logger = logging.getLogger(__name__)


class Workers:
    """A `Collective` over `torch.distributed`: gloo for the CPU, for GPUs NCCL, as Ray sets up."""

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def share(self, table: Placed, bounds: Offsets) -> None:
        """Bring in, in place, the rows of a table that other workers have written."""
        rows = torch.from_numpy(table) if isinstance(table, np.ndarray) else table
        group = self._group if rows.device.type == "cpu" else None
        waiting = [
            dist.broadcast(rows[bounds[r] : bounds[r + 1]], r, group=group, async_op=True)
            for r in range(self.size)
            if bounds[r] < bounds[r + 1]
        ]
        for work in waiting:
            work.wait()

    def exchange(self, pieces: Sequence[Array]) -> list[Array]:
        """Send piece r to worker r; returns what each has sent here, in the order of rank."""
        lengths = np.zeros((self.size, self.size), np.int64)
        lengths[self.rank] = [len(piece) for piece in pieces]
        self.share(lengths, np.arange(self.size + 1))
        arriving = lengths[:, self.rank]
        sent = torch.from_numpy(np.concatenate(pieces))
        got = torch.empty((int(arriving.sum()), *sent.shape[1:]), dtype=sent.dtype)
        dist.all_to_all_single(
            got, sent, arriving.tolist(), lengths[self.rank].tolist(), group=self._group
        )
        return np.split(got.numpy(), np.cumsum(arriving)[:-1])

    def total(self, numbers: Array) -> Array:
        """Sum the whole numbers of all workers, entry by entry."""
        summed = torch.from_numpy(numbers.copy())
        dist.all_reduce(summed, group=self._group)
        return summed.numpy()


class Fitted(NamedTuple):
    """Factors of all items, the users that they were fitted to, and how long it took.

    `seconds` has an entry for the loading, and one for each epoch since the last start.
    """

    items: Vectors
    audience: Population
    seconds: Values


def fit_on_workers(
    shards: Shards, config: ALSConfig, run: Run, earlier: Earlier | None = None
) -> Fitted:
    """Do what `avrec.models.als.fit` does, on the workers of `run`, with a checkpoint an epoch.

    Args:
        shards: the interactions, and the catalogue that the item factors follow.
        config: the objective and how long to minimise it.
        run: a run of the same name that was cut off goes on.
        earlier: item factors to start from, for `config.warm_epochs`.

    Raises:
        ValueError: the workers are to use GPUs and the solver has no kernels for them, or the
            device is a GPU and the workers have none.
    """
    if run.workers.use_gpu:
        config = replace(config, device="cuda")
    elif config.device not in ("cpu", TORCH_ON_CPU):
        raise ValueError(f"workers.use_gpu must be true for als.device = {config.device!r}")
    if earlier is not None:
        config = replace(config, epochs=config.warm_epochs)
    settings = {
        "config": asdict(config),
        "shards": ray.put(shards),
        "earlier": None if earlier is None else ray.put(earlier),
        "seed": run.seed,
        "place": run.workspace.root / RUNS / run.name / EPOCHS,
        "checkpoint_seconds": run.workers.checkpoint_seconds,
        "threads": max(1, int(run.workers.num_cpus)),
        "use_gpu": run.workers.use_gpu,
    }
    last = train(loop, settings, workers=run.workers, workspace=run.workspace, name=run.name)
    files = [safetensors.numpy.load((last / name).read()) for name in names(last)]
    items = np.zeros((len(shards.items), config.dim), np.float32)
    for tensors in files:
        start = int(tensors["starts"][1])
        items[start : start + len(tensors["items"])] = tensors["items"]
    first = files[0]
    audience = Population(first["audience"], int(first["num_known"][0]))
    return Fitted(items, audience, first["seconds"])


def loop(settings: Mapping[str, Any]) -> None:
    """Fit as one of the workers."""
    saved = time.monotonic()
    ended = [saved]
    group, config = Workers(), ALSConfig(**settings["config"])
    if settings["use_gpu"]:
        config = replace(config, device=str(ray.train.torch.get_device()))
    parts = load(ray.get(settings["shards"]), config, group)
    fitter = Fitter(parts, config, group, threads=settings["threads"])
    checkpoints = Checkpoints(settings["place"], parts, group)

    def note(epoch: Epoch) -> None:
        nonlocal saved
        ended.append(time.monotonic())
        logger.info("epoch %s", log.pairs(epoch=epoch.number, change=epoch.change))
        due = ended[-1] - saved >= settings["checkpoint_seconds"]
        if epoch.number < config.epochs and gather_numbers(due, group)[0]:
            checkpoints.save(epoch)
            saved = ended[-1]

    start = checkpoints.latest(config.dim) or _first(fitter, settings)
    saved = time.monotonic()
    ended.append(saved)
    last = fitter.run(start, note)
    checkpoints.flush()
    audience = fitter.audience(last)
    tensors = {
        **rows_of(last, parts),
        "audience": audience.gram,
        "num_known": np.array([audience.num_known]),
        "seconds": np.diff(ended),
    }
    name = f"als-{group.rank:05d}.safetensors"
    report({"workers": group.size}, {name: safetensors.numpy.save(tensors)})


def _first(fitter: Fitter, settings: Mapping[str, Any]) -> Epoch:
    if settings["earlier"] is None:
        return fitter.begin(np.random.default_rng(settings["seed"]))
    found: Earlier = ray.get(settings["earlier"])
    mine = slice(fitter.parts.items.start, fitter.parts.items.stop)
    return fitter.fold_in(found.items[mine], found.known[mine])
