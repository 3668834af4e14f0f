"""The second stage: how much of a candidate a user will take in, if shown.

DeepFM (Guo et al., IJCAI 2017): a linear part, a factorisation machine over the embeddings of the
fields, and a network over those embeddings and the dense features, added up as one logit. Labels
are shares in [0, 1]; the loss is binary cross entropy against them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.arrays import Scores, Vector
from avrec.errors import ArtifactError
from avrec.models.features import DENSE, FIELDS, Features
from avrec.models.training import (
    Batch,
    Files,
    Loss,
    check,
    learn,
    seeded,
    shuffled,
    trained,
    windows,
)
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

NAME = "ranker"
CONSTANT = 1e-6
"""Deviation up to which a feature counts as one that does not vary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankerConfig:
    """How to build and train the ranker."""

    dim: int = 8
    """Length of a field's embedding."""
    hidden: tuple[int, ...] = (64, 32)
    """Widths of the network's hidden layers."""
    epochs: int = 8
    """Passes over the examples."""
    batch_size: int = 256
    """Examples of a global batch."""
    learning_rate: float = 0.002
    """Step size of AdamW."""
    weight_decay: float = 0.01
    """Decoupled L2 penalty of AdamW."""
    validation_share: float = 0.2
    """Latest part of the ranker's window, held out for its metrics."""

    def __post_init__(self) -> None:
        check(self)
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden widths must be at least 1, got {self.hidden}")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must be in (0, 1), got {self.validation_share}")


@dataclass(frozen=True, slots=True)
class Scale:
    """What each dense feature is shifted by and divided by."""

    mean: Vector
    deviation: Vector

    @classmethod
    def of(cls, features: Features) -> "Scale":
        """Measure features; one that does not vary is divided by 1."""
        deviation = features.dense.std(axis=0)
        mean = features.dense.mean(axis=0)
        return cls(mean, np.where(deviation > CONSTANT, deviation, 1).astype(np.float32))


class DeepFM(nn.Module):
    """The network; its input is raw features, its output one logit a row."""

    def __init__(self, scale: Scale, sizes: Sequence[int], config: RankerConfig) -> None:
        super().__init__()
        num_dense = len(scale.mean)
        # Not buffers: those would be sent to every worker at every step.
        self.scale = torch.tensor(scale.mean), torch.tensor(scale.deviation)
        self.starts = torch.tensor([0, *accumulate(sizes)][:-1])
        self.embed = nn.Embedding(sum(sizes), config.dim)
        self.bias = nn.Embedding(sum(sizes), 1)
        nn.init.normal_(self.embed.weight, std=0.01)
        nn.init.zeros_(self.bias.weight)
        self.linear = nn.Linear(num_dense, 1)
        widths = (num_dense + len(sizes) * config.dim, *config.hidden)
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.deep = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, dense: Tensor, fields: Tensor) -> Tensor:
        """Logits (n) from dense (n, num_dense) and rows of the fields' tables (n, num_fields)."""
        device = self.embed.weight.device
        mean, deviation = self.scale
        scaled = ((dense - mean) / deviation).clamp(-5, 5).to(device)
        rows = (fields + self.starts).to(device)
        embedded = self.embed(rows)
        pairs = (embedded.sum(1) ** 2 - (embedded**2).sum(1)).sum(1) / 2
        deep = self.deep(torch.cat([scaled, embedded.flatten(1)], dim=1))
        return (self.linear(scaled) + deep).squeeze(1) + self.bias(rows).sum((1, 2)) + pairs


@dataclass(frozen=True, slots=True)
class Ranker:
    """A trained ranker; `columns` are the features that it reads, in order."""

    net: DeepFM
    config: RankerConfig
    columns: tuple[str, ...] = (*DENSE, *FIELDS)
    name: str = NAME

    def score(self, features: Features) -> Scores:
        """Expected share that the user takes in, in [0, 1], one a row."""
        with torch.inference_mode():
            dense, fields = torch.from_numpy(features.dense), torch.from_numpy(features.fields)
            scores: Scores = torch.sigmoid(self.net(dense, fields.long())).numpy()
        return scores


def columns(features: Features, labels: Scores) -> Batch:
    """Lay examples out as columns dense, fields, label, weight."""
    return {
        "dense": features.dense,
        "fields": features.fields,
        "label": labels.astype(np.float32),
        "weight": np.ones(len(labels), np.float32),
    }


def build(scale: Scale, config: RankerConfig, seed: int) -> DeepFM:
    """Make an untrained network; the same seed makes the same."""
    net = seeded(lambda: DeepFM(scale, tuple(FIELDS.values()), config), seed)
    assert isinstance(net, DeepFM)
    return net


def soft_label_loss(net: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Binary cross entropy against shares; `net` is `DeepFM`, or a wrapping of it."""

    def loss(batch: Batch, own: slice, _: tuple[int, int]) -> Tensor:
        mine = {name: torch.from_numpy(values[own]) for name, values in batch.items()}
        logits = net(mine["dense"], mine["fields"].long())
        losses = functional.binary_cross_entropy_with_logits(
            logits, mine["label"].to(logits), weight=mine["weight"].to(logits), reduction="sum"
        )
        return losses / float(batch["weight"].sum())

    return loss


def fit(features: Features, labels: Scores, config: RankerConfig, seed: int) -> Ranker:
    """Train in this process."""
    net = build(Scale.of(features), config, seed)
    examples = columns(features, labels)

    def batches(epoch: int) -> Iterator[Batch]:
        return shuffled(windows(examples), config.batch_size, (seed, epoch))

    for _ in learn(net, soft_label_loss(net), batches, config):
        pass
    return Ranker(net.eval(), config)


def from_files(files: Files, scale: Scale, config: RankerConfig) -> Ranker:
    """Make the model of the files that training left."""
    net = trained(build(scale, config, seed=0), files)
    assert isinstance(net, DeepFM)
    return Ranker(net.eval(), config)


def save(model: Ranker, items: Vocabulary, draft: Draft) -> None:
    """Write `ranker.safetensors` and `ranker.json`."""
    tensors = {name: value.numpy() for name, value in model.net.state_dict().items()}
    mean, deviation = (part.numpy() for part in model.net.scale)
    draft.add_tensors(f"{NAME}.safetensors", {"mean": mean, "deviation": deviation, **tensors})
    about = {"config": asdict(model.config), "items": items.digest, "columns": model.columns}
    draft.add_json(f"{NAME}.json", about)


def load(artifact: Artifact, items: Vocabulary) -> Ranker:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the files are absent, altered, made for another catalogue, or trained on
            other features than this version makes.
    """
    about = artifact.json(f"{NAME}.json")
    if about["items"] != items.digest:
        raise ArtifactError("the ranker was trained on another catalogue; run train_ranker")
    if tuple(about["columns"]) != (*DENSE, *FIELDS):
        raise ArtifactError("the ranker was trained on other features; run train_ranker")
    values = about["config"]
    config = RankerConfig(**{**values, "hidden": tuple(values["hidden"])})
    tensors = safetensors.torch.load(artifact.bytes(f"{NAME}.safetensors"))
    scale = Scale(tensors.pop("mean").numpy(), tensors.pop("deviation").numpy())
    net = build(scale, config, seed=0)
    net.load_state_dict(tensors)
    return Ranker(net.eval(), config)
