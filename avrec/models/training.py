"""Train a torch network by global batches, alone or as one member of a crew.

Every member sees the same global batches in the same order, takes its own rows of each, and
draws its random numbers from a generator of the batch, so the batch and not the size of the crew
decides the result. A batch is a mapping of columns, all of one length; `weight` is one of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from avrec.arrays import Array

Batch = Mapping[str, Array]
Files = Mapping[str, bytes]
TRAINING = "training.safetensors"
WINDOW = 65_536
"""Rows that are shuffled together, and the most that are held in memory at once."""


class LearnConfig(Protocol):
    """What every trained network's configuration says of its training."""

    @property
    def epochs(self) -> int:
        """Passes over the examples."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows of a global batch."""
        ...

    @property
    def learning_rate(self) -> float:
        """Step size of AdamW."""
        ...

    @property
    def weight_decay(self) -> float:
        """Decoupled L2 penalty of AdamW."""
        ...


def check(config: LearnConfig) -> None:
    """Refuse impossible values.

    Raises:
        ValueError: a value is out of range.
    """
    for name in ("epochs", "batch_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if not config.learning_rate > 0:
        raise ValueError(f"learning_rate must be above 0, got {config.learning_rate}")
    if not config.weight_decay >= 0:
        raise ValueError(f"weight_decay must be at least 0, got {config.weight_decay}")


def _same(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers that share each batch, as one of them sees it."""

    rank: int = 0
    """Place of this worker, from 0."""
    size: int = 1
    """Number of workers."""
    join: Callable[[Tensor], Tensor] = _same
    """Concatenates the rows of all workers in order of rank; gradients flow back to each."""

    def deal(self, batch: Batch) -> Batch:
        """Order a global batch by worker; padded with rows of weight 0 to equal shares.

        Worker `r` owns rows r, r + size, ... of the batch.
        """
        num_rows = len(batch["weight"])
        share = -(-num_rows // self.size)
        order = np.arange(share * self.size).reshape(share, self.size).T.ravel()
        taken = np.minimum(order, num_rows - 1)
        dealt = {name: values[taken] for name, values in batch.items()}
        return {**dealt, "weight": np.where(order < num_rows, dealt["weight"], 0)}

    def own(self, dealt: Batch) -> slice:
        """Rows of a dealt batch that are this worker's."""
        share = len(dealt["weight"]) // self.size
        return slice(self.rank * share, (self.rank + 1) * share)


ALONE = Crew()


class Progress(NamedTuple):
    """An epoch that is done: its number from 0, its mean loss, and how to write the state."""

    epoch: int
    loss: float
    files: Callable[[], Files]


Loss = Callable[[Batch, slice, tuple[int, int]], Tensor]
"""From a dealt batch, one's own rows and the batch's place (epoch, step) to the sum of one's own
weighted losses over the weight of the whole batch."""


def learn(
    net: nn.Module,
    loss: Loss,
    batches: Callable[[int], Iterator[Batch]],
    config: LearnConfig,
    *,
    crew: Crew = ALONE,
    resume: Files | None = None,
) -> Iterator[Progress]:
    """Train `net` in place, an epoch at a time; go on from the files of an earlier epoch.

    Gradients are averaged over the crew by whoever wrapped `net` for `loss`, so each worker's
    share counts `size` times.
    """
    # A large eps keeps rounding of gradients that are zero in theory out of the steps.
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, eps=1e-6
    )
    first = _restore(net, optimiser, resume) if resume else 0
    for epoch in range(first, config.epochs):
        losses = []
        for step, batch in enumerate(batches(epoch)):
            dealt = crew.deal(batch)
            share = loss(dealt, crew.own(dealt), (epoch, step))
            optimiser.zero_grad()
            (crew.size * share).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(share.detach())
        total = crew.join(torch.stack(losses).mean()[None]).sum()
        yield Progress(epoch, float(total), lambda e=epoch: _state(net, optimiser, e + 1))  # type: ignore[misc]


def windows(columns: Batch) -> Iterator[Batch]:
    """Cut columns held in memory into windows, each a fair sample of the whole."""
    num_rows = len(columns["weight"])
    order = np.random.default_rng(num_rows).permutation(num_rows)
    for start in range(0, num_rows, WINDOW):
        taken = order[start : start + WINDOW]
        yield {name: values[taken] for name, values in columns.items()}


def shuffled(parts: Iterable[Batch], batch_size: int, seed: tuple[int, ...]) -> Iterator[Batch]:
    """Shuffle each window of a stream and cut it into batches."""
    for place, part in enumerate(parts):
        order = np.random.default_rng([*seed, place]).permutation(len(part["weight"]))
        for start in range(0, len(order), batch_size):
            taken = order[start : start + batch_size]
            yield {name: values[taken] for name, values in part.items()}


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a network whose first weights come from `seed`; torch's own state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _state(net: nn.Module, optimiser: torch.optim.Optimizer, epochs: int) -> Files:
    tensors = {f"net.{name}": p.detach().cpu() for name, p in net.named_parameters()}
    for name, parameter in net.named_parameters():
        for moment, value in optimiser.state[parameter].items():
            tensors[f"{moment}.{name}"] = value.detach().cpu()
    tensors["epochs"] = torch.tensor(epochs)
    return {TRAINING: safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()})}


def _restore(net: nn.Module, optimiser: torch.optim.Optimizer, files: Files) -> int:
    tensors = safetensors.torch.load(files[TRAINING])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(tensors[f"net.{name}"])
            optimiser.state[parameter] = {
                moment: tensors[f"{moment}.{name}"].to(
                    "cpu" if moment == "step" else parameter.device
                )
                for moment in ("step", "exp_avg", "exp_avg_sq")
            }
    return int(tensors["epochs"])


def trained(net: nn.Module, files: Files) -> nn.Module:
    """Give `net` the weights that training left in `files`."""
    tensors = safetensors.torch.load(files[TRAINING])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(tensors[f"net.{name}"])
    return net
