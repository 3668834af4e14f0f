"""Alternating least squares on Ray Train: every worker solves its block of rows of both sides.

The weights go into the object store once. A half step ends in one all-gather of the solved rows;
a row comes out the same wherever it is solved, so the number of workers does not show.
"""

from typing import Any

import numpy as np
import ray
import safetensors.numpy
import torch
import torch.distributed as dist
from scipy.sparse import csr_array

from avrec.arrays import Vectors
from avrec.distributed.train import latest_files, report, train
from avrec.models.als import ALSConfig, Epoch, fit
from avrec.store import Workspace
from avrec.workers import WorkersConfig

CHECKPOINT = "als.safetensors"


class Gloo:
    """A `Collective` over `torch.distributed`, on CPU whatever the workers' devices."""

    def __init__(self) -> None:
        self._group = dist.new_group(backend="gloo")
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def all_gather(self, block: Vectors) -> Vectors:
        """Put the blocks of all workers below one another, in the order of rank."""
        mine = torch.tensor([len(block)])
        lengths = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(lengths, mine, group=self._group)
        widest = max(int(length) for length in lengths)
        padded = torch.zeros((widest, block.shape[1]), dtype=torch.float32)
        padded[: len(block)] = torch.from_numpy(block)
        blocks = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(blocks, padded, group=self._group)
        return np.concatenate(
            [rows[: int(length)].numpy() for rows, length in zip(blocks, lengths, strict=True)]
        )


def fit_on_workers(
    weights: csr_array,
    config: ALSConfig,
    *,
    seed: int,
    workers: WorkersConfig,
    workspace: Workspace,
    name: str,
) -> Vectors:
    """Do what `avrec.models.als.fit` does, on `workers`, with a checkpoint an epoch.

    A run of the same `name` that was cut off goes on; see `avrec.distributed.train`.
    """
    settings = {"weights": ray.put(weights), "config": config, "seed": seed}
    last = train(loop, settings, workers=workers, workspace=workspace, name=name)
    return safetensors.numpy.load((last / CHECKPOINT).read())["items"]


def loop(settings: dict[str, Any]) -> None:
    """Fit as one of the workers."""
    group, config = Gloo(), settings["config"]
    weights = ray.get(settings["weights"])
    rng = np.random.default_rng(settings["seed"])

    def checkpoint(epoch: Epoch) -> None:
        tensors = {"items": epoch.items, "epoch": np.array([epoch.number])}
        files = {CHECKPOINT: safetensors.numpy.save(tensors)} if group.rank == 0 else None
        report({"epoch": epoch.number, "change": epoch.change}, files)

    fit(weights, config, rng=rng, collective=group, start=_start(), on_epoch=checkpoint)


def _start() -> Epoch | None:
    files = latest_files()
    if not files:
        return None
    tensors = safetensors.numpy.load(files[CHECKPOINT])
    return Epoch(int(tensors["epoch"][0]), tensors["items"])
