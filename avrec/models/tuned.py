"""A modality whose encoder is trained with the towers, in the place of what it was."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.arrays import Array, Idx
from avrec.embed.lora_config import LoraConfig, States, revision_of
from avrec.embed.pool import Content, Scale

if TYPE_CHECKING:
    from avrec.embed.lora import LastLayers

ITEMS_AT_ONCE = 256


class Tuning(NamedTuple):
    """What there is to train a modality from.

    `place` is that of the modality among those of the content, by name; `values` and `lengths`
    are what the encoder's first layers make of each item's text (`avrec.embed.lora`).
    """

    config: LoraConfig
    place: int
    values: Array
    lengths: Idx
    scale: Scale


class Tuned(NamedTuple):
    """What training made of an encoder: the content by it, and what was added to its layers."""

    content: Content
    files: dict[str, bytes]


class TunedModality(nn.Module):
    """Unit vectors of items by an encoder's last layers, standardised as they were at first."""

    def __init__(self, tuning: Tuning) -> None:
        super().__init__()
        self.place = tuning.place
        self.encoder = last_layers(tuning.config)
        # No buffers: those would be sent to every worker at every step.
        self._values, self._lengths = tuning.values, tuning.lengths
        self._mean, self._spread = map(torch.tensor, tuning.scale)

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors (n, width) of catalogue rows (n); zeros for an item without text."""
        parts = [self._some(part) for part in torch.split(rows, ITEMS_AT_ONCE)]
        return torch.cat(parts) if parts else self._mean.new_zeros(0, len(self._mean))

    def _some(self, rows: Tensor) -> Tensor:
        at, device = rows.cpu().numpy(), rows.device
        lengths = torch.from_numpy(self._lengths[at]).to(device)
        means = self.encoder(torch.from_numpy(self._values[at]).to(device).float(), lengths)
        vectors = (means - self._mean.to(device)) / self._spread.to(device)
        return functional.normalize(vectors, dim=1) * (lengths > 0)[:, None]


def last_layers(config: LoraConfig) -> "LastLayers":
    """The encoder's layers; what they need, most runs do without, so it is imported here."""
    from avrec.embed.lora import LastLayers  # noqa: PLC0415

    return LastLayers(config)


def begin(content: Content, config: LoraConfig, states: States) -> tuple[Content, Tuning]:
    """Put a modality by the untrained encoder into the content, where it may stand already."""
    layers = last_layers(config)
    values, lengths = map(torch.from_numpy, (states.values, states.lengths))
    with torch.inference_mode():
        parts = zip(
            torch.split(values, ITEMS_AT_ONCE), torch.split(lengths, ITEMS_AT_ONCE), strict=True
        )
        means = torch.cat([layers(some.float(), count) for some, count in parts]).numpy()
    scale = Scale.of(means[states.lengths > 0])
    scale = Scale(*(np.asarray(one, np.float32) for one in scale))
    modalities = {**content.modalities, states.encoder: scale.standardised(means)}
    place = sorted(modalities).index(states.encoder)
    tuning = Tuning(config, place, states.values, states.lengths, scale)
    scales = {**content.scales, states.encoder: scale}
    return Content(content.items, modalities, scales), tuning


def end(content: Content, modality: TunedModality) -> Tuned:
    """Put the trained encoder's vectors in the place of the untrained one's, under its own name."""
    name = sorted(content.modalities)[modality.place]
    files = modality.encoder.files()
    renamed = name + revision_of(files)
    with torch.inference_mode():
        vectors = modality.cpu()(torch.arange(len(content.items))).numpy()
    modalities = {k: v for k, v in content.modalities.items() if k != name} | {renamed: vectors}
    scales = {k: v for k, v in content.scales.items() if k != name}
    return Tuned(
        Content(content.items, modalities, scales | {renamed: content.scales[name]}), files
    )
