"""Train a torch network by global batches, alone or as one member of a crew.

Every member sees the same global batches in the same order, takes its own rows of each, and
draws its random numbers from a generator of the batch, so the batch and not the size of the crew
decides the result. A batch is a mapping of columns, all of one length; `weight` is one of them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from avrec.arrays import Array
from avrec.models import row_files

Batch = Mapping[str, Array]
Files = Mapping[str, bytes]
TRAINING = "training.safetensors"
CURVES = ("losses", "scores", "seconds")
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


def _kept(parts: Sequence[Tensor]) -> list[Tensor]:
    return list(parts)


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers that share each batch, as one of them sees it."""

    rank: int = 0
    """Place of this worker, from 0."""
    size: int = 1
    """Number of workers."""
    join: Callable[[Tensor], Tensor] = _same
    """Concatenates the rows of all workers in order of rank; gradients flow back to each."""
    swap: Callable[[Sequence[Tensor]], list[Tensor]] = _kept
    """Sends the n-th of some tensors to worker n, and gives what each worker sent to this one;
    gradients do not flow."""

    def deal(self, batch: Batch) -> Batch:
        """Order a global batch by worker; padded with rows of weight 0 to equal shares.

        Worker `r` owns rows r, r + size, ... of the batch; column `row` tells which they were.
        """
        num_rows = len(batch["weight"])
        share = -(-num_rows // self.size)
        order = np.arange(share * self.size).reshape(share, self.size).T.ravel()
        taken = np.minimum(order, num_rows - 1)
        dealt = {name: values[taken] for name, values in batch.items()}
        weight = np.where(order < num_rows, dealt["weight"], 0)
        return {**dealt, "weight": weight, "row": taken}

    def own(self, dealt: Batch) -> slice:
        """Rows of a dealt batch that are this worker's."""
        share = len(dealt["weight"]) // self.size
        return slice(self.rank * share, (self.rank + 1) * share)


ALONE = Crew()


class Progress(NamedTuple):
    """An epoch that is done: number from 0, mean loss, how to write the state, seconds, score.

    `files` gives what this worker has to write: nothing, where another one does.
    """

    epoch: int
    loss: float
    files: Callable[[], Files]
    seconds: float = 0.0
    score: float | None = None

    def measures(self) -> dict[str, float]:
        """What a curve has of it."""
        score = {} if self.score is None else {"score": self.score}
        return {"loss": self.loss, "seconds": self.seconds, **score}


Loss = Callable[[Batch, slice, tuple[int, int]], Tensor]
"""From a dealt batch, one's own rows and the batch's place (epoch, step) to the sum of one's own
weighted losses over the weight of the whole batch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How a run goes, beside its configuration."""

    resume: Files | None = None
    """What an earlier epoch left, to go on from."""
    judge: Callable[[], float] | None = None
    """Scores the network after an epoch, the same on every worker; the best weights are kept."""
    patience: int = 0
    """Epochs without a better score after which the run ends; 0 runs them all."""
    average: float = 0.0
    """Decay of a moving average of the weights, which is what is judged and kept; 0 for none."""
    memory: Mapping[str, Array] = field(default_factory=dict)
    """Arrays that the loss changes in place, saved and restored with the weights."""
    shards: Mapping[str, range] = field(default_factory=dict)
    """Parameters of which this worker holds some rows only, and which (`avrec.models.tables`)."""
    eps: float = 1e-6
    """AdamW's. A large one keeps rounding of gradients that are zero in theory out of the steps."""


def learn(
    net: nn.Module,
    loss: Loss,
    batches: Callable[[int], Iterator[Batch]],
    config: LearnConfig,
    *,
    crew: Crew = ALONE,
    course: Course | None = None,
) -> Iterator[Progress]:
    """Train `net` in place, an epoch at a time; in the end it has the weights that are kept.

    Gradients are averaged over the crew by whoever wrapped `net` for `loss`, so each worker's
    share counts `size` times.
    """
    course = course or Course()
    optimiser = torch.optim.AdamW(
        net.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        eps=course.eps,
    )
    state = _State(net, optimiser, course, crew.rank)
    for epoch in range(state.epochs, config.epochs):
        if state.tired():
            break
        losses, begin = [], time.perf_counter()
        for step, batch in enumerate(batches(epoch)):
            dealt = crew.deal(batch)
            share = loss(dealt, crew.own(dealt), (epoch, step))
            optimiser.zero_grad()
            (crew.size * share).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            state.blend()
            losses.append(share.detach())
        total = float(crew.join(torch.stack(losses).mean()[None]).sum())
        state.close(total, time.perf_counter() - begin)
        score = state.scores[-1] if course.judge else None
        yield Progress(epoch, total, state.files, state.seconds[-1], score)
    state.keep()


class _State:
    """Weights and moments of a run, and the weights that it will end with.

    The first worker's files hold "net." and the moments, with "average." and "best." where there
    are any; `losses`, `scores` and `seconds` have one number an epoch, scores NaN where nobody
    judges. Rows of what is sharded are in each worker's own file.
    """

    def __init__(
        self, net: nn.Module, optimiser: torch.optim.Optimizer, course: Course, rank: int
    ) -> None:
        self._net, self._optimiser, self._course, self._rank = net, optimiser, course, rank
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.seconds: list[float] = []
        self._steps = 0
        self._weights = {name: p.detach() for name, p in _learned(net).items()}
        self._average = {name: p.clone() for name, p in self._weights.items()}
        self._best: dict[str, Tensor] = {}
        if course.resume:
            self._restore(course.resume)

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.losses)

    def tired(self) -> bool:
        """Whether the best score is `patience` epochs old."""
        if not self._course.patience or not self.scores:
            return False
        return len(self.scores) - 1 - int(np.argmax(self.scores)) >= self._course.patience

    def blend(self) -> None:
        """Move the average towards the weights, faster at first."""
        self._steps += 1
        if self._course.average:
            decay = min(self._course.average, (1 + self._steps) / (10 + self._steps))
            for name, average in self._average.items():
                average.lerp_(self._weights[name], 1 - decay)

    def close(self, loss: float, seconds: float) -> None:
        """Note an epoch's loss, time and score, and its weights if they are the best so far."""
        self.losses.append(loss)
        self.seconds.append(seconds)
        if self._course.judge is None:
            self.scores.append(np.nan)
            return
        latest = {name: p.clone() for name, p in self._weights.items()}
        _copy(self._kept(), self._weights)
        self.scores.append(self._course.judge())
        if self.scores[-1] >= max(self.scores):
            self._best = {name: p.clone() for name, p in self._weights.items()}
        _copy(latest, self._weights)

    def keep(self) -> None:
        """Give the network the best weights, or else their average, or else the last."""
        _copy(self._best or self._kept(), self._weights)

    def files(self) -> Files:
        """Write what is this worker's to write."""
        tensors = self._tensors()
        shards = self._course.shards
        own = {k: tensors.pop(k) for k in list(tensors) if k.partition(".")[2] in shards}
        files = {TRAINING: safetensors.torch.save(tensors)} if self._rank == 0 else {}
        if own and (rows := next(iter(shards.values()))):
            files[row_files.file_name(rows)] = safetensors.torch.save(own)
        return files

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"net.{name}": p for name, p in self._weights.items()}
        for name, parameter in _learned(self._net).items():
            for moment, value in self._optimiser.state[parameter].items():
                tensors[f"{moment}.{name}"] = value.detach()
        if self._course.average:
            tensors |= {f"average.{name}": p for name, p in self._average.items()}
        tensors |= {f"best.{name}": p for name, p in self._best.items()}
        for name, values in self._course.memory.items():
            tensors[f"memory.{name}"] = torch.from_numpy(values)
        for name in CURVES:
            tensors[name] = torch.tensor(getattr(self, name), dtype=torch.float64)
        tensors["steps"] = torch.tensor(self._steps)
        return {name: p.cpu().contiguous() for name, p in tensors.items()}

    def _kept(self) -> Mapping[str, Tensor]:
        return self._average if self._course.average else self._weights

    def _restore(self, files: Files) -> None:
        tensors = _load(files, self._course.shards)
        _copy(_below(tensors, "net."), self._weights)
        _copy(_below(tensors, "average.") or self._weights, self._average)
        self._best = {
            name: p.to(self._weights[name].device) for name, p in _below(tensors, "best.").items()
        }
        for name, parameter in _learned(self._net).items():
            self._optimiser.state[parameter] = {
                moment: tensors[f"{moment}.{name}"].to(
                    "cpu" if moment == "step" else parameter.device
                )
                for moment in ("step", "exp_avg", "exp_avg_sq")
            }
        for name, values in self._course.memory.items():
            values[:] = tensors[f"memory.{name}"].numpy()
        self.losses, self.scores, self.seconds = (tensors[name].tolist() for name in CURVES)
        self._steps = int(tensors["steps"])


def _learned(net: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


def _load(files: Files, shards: Mapping[str, range]) -> dict[str, Tensor]:
    """Tensors of a checkpoint, with those rows of what is sharded that are wanted."""
    tensors = safetensors.torch.load(files[TRAINING])
    for rows in shards.values():
        tensors |= row_files.read_rows(files, rows)
    return tensors


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


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


def trained(net: nn.Module, files: Files, shards: Mapping[str, range] | None = None) -> nn.Module:
    """Give `net` the weights that a run in `files` would end with; `shards` as in a `Course`."""
    tensors = _load(files, shards or {})
    kept = _below(tensors, "best.") or _below(tensors, "average.") or _below(tensors, "net.")
    _copy(kept, _learned(net))
    return net


def curve(files: Files) -> list[dict[str, float]]:
    """Read each epoch of a run: its loss, seconds of training, and score where it was judged."""
    tensors = safetensors.torch.load(files[TRAINING])
    epochs = zip(*(tensors[name].tolist() for name in CURVES), strict=True)
    return [
        {"loss": loss, "seconds": seconds} | ({} if np.isnan(score) else {"score": score})
        for loss, score, seconds in epochs
    ]
