"""Alternating least squares on Ray Train: every worker solves its rows of both sides.

Interactions are read by shard; a half step ends in the workers sharing the rows that they have
solved, or in each fetching those that it needs where all of them do not fit. A row comes out the
same wherever it is solved, and sums over rows are exact, so the number of workers does not show.

A checkpoint has one file a worker, with its rows of both sides; it is written while the next epoch
runs. A run that goes on may do so on another number of workers.

Workers with a GPU each solve their rows on it, and share them by NCCL; their number then shows in
the rounding. What lies in the CPU's memory goes by gloo, as does everything without a GPU. CUDA
was not available where this was written: what goes by NCCL has not run.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ray
import ray.train.torch
import safetensors.numpy
import torch
import torch.distributed as dist
from safetensors import safe_open

from avrec.arrays import Array, Offsets, Values, Vectors
from avrec.distributed.als_shards import Shards, load
from avrec.distributed.learn import Run
from avrec.distributed.train import latest, names, report, train
from avrec.models.als import ALSConfig, Earlier
from avrec.models.als_fit import Epoch, Fitter, Parts
from avrec.models.als_objective import TORCH_ON_CPU, Population
from avrec.models.als_parts import Part, Placed, gather_numbers

CHECKPOINT = "als"


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

    def save(epoch: Epoch, more: Mapping[str, Array] | None = None) -> None:
        assert epoch.users is not None
        tensors = {
            "starts": np.array([parts.users.start, parts.items.start]),
            "epoch": np.array([epoch.number]),
            "change": np.array([epoch.change]),
            "users": epoch.users,
            "items": epoch.items,
            **(more or {}),
        }
        files = {f"{CHECKPOINT}-{group.rank:05d}.safetensors": safetensors.numpy.save(tensors)}
        report({"epoch": epoch.number, "change": epoch.change}, files)

    def checkpoint(epoch: Epoch) -> None:
        nonlocal saved
        ended.append(time.monotonic())
        due = ended[-1] - saved >= settings["checkpoint_seconds"]
        if epoch.number < config.epochs and gather_numbers(due, group)[0]:
            save(epoch)
            saved = ended[-1]

    start = _restored(parts, config) or _first(fitter, settings)
    saved = time.monotonic()
    ended.append(saved)
    last = fitter.run(start, checkpoint)
    audience = fitter.audience(last)
    known = np.array([audience.num_known])
    more = {"audience": audience.gram, "num_known": known, "seconds": np.diff(ended)}
    save(last, more)


def _first(fitter: Fitter, settings: Mapping[str, Any]) -> Epoch:
    if settings["earlier"] is None:
        return fitter.begin(np.random.default_rng(settings["seed"]))
    found: Earlier = ray.get(settings["earlier"])
    mine = slice(fitter.parts.items.start, fitter.parts.items.stop)
    return fitter.fold_in(found.items[mine], found.known[mine])


def _restored(parts: Parts, config: ALSConfig) -> Epoch | None:
    """Read this worker's rows from a checkpoint, whoever wrote them."""
    with latest() as folder:
        if folder is None:
            return None
        paths = sorted(folder.glob(f"{CHECKPOINT}-*.safetensors"))
        users = _rows(paths, "users", parts.users, config.dim)
        items = _rows(paths, "items", parts.items, config.dim)
        with safe_open(paths[0], "np") as first:
            number, change = first.get_tensor("epoch")[0], first.get_tensor("change")[0]
    return Epoch(int(number), items, float(change), users)


def _rows(paths: Sequence[Path], name: str, part: Part, dim: int) -> Vectors:
    rows = np.zeros((part.stop - part.start, dim), np.float32)
    for path in paths:
        with safe_open(path, "np") as file:
            piece = file.get_slice(name)
            first = int(file.get_tensor("starts")[0 if name == "users" else 1])
            a, b = max(first, part.start), min(first + piece.get_shape()[0], part.stop)
            if a < b:
                rows[a - part.start : b - part.start] = piece[a - first : b - first]
    return rows
