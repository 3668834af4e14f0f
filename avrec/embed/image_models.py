"""Picture encoders with weights: CLIP, SigLIP, MobileNet and other transformers vision models."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import transformers

from avrec.arrays import Array, Frame, Vectors
from avrec.embed.batches import Batches
from avrec.embed.source import Source

TOWERS = {
    "clip": transformers.CLIPVisionModelWithProjection,
    "clip_vision_model": transformers.CLIPVisionModelWithProjection,
    "siglip": transformers.SiglipVisionModel,
    "siglip_vision_model": transformers.SiglipVisionModel,
}
"""Image towers of models that have others too; any other model is loaded whole."""
BICUBIC = 3
DEFAULT_SIDE = 224


class ImageModel:
    """Mean over a segment's frames of what a vision model makes of each."""

    modality: Literal["frames"] = "frames"

    def __init__(self, source: Source) -> None:
        config = transformers.AutoConfig.from_pretrained(**source.place)
        tower = TOWERS.get(config.model_type, transformers.AutoModel)
        model = source.model_from(tower)
        self.config = model.config
        self.name, self.revision = source.name, source.revision_of(model)
        self.batches = Batches(source.batch_size)
        settings = source.json("preprocessor_config.json")
        self.prepare = Preparation(settings, getattr(self.config, "image_size", None))
        first, second = (self._example(count) for count in (2, 3))
        self.run = source.runner(model, _vectors, (first,), (second,))
        self.dim = self.run(first).shape[1]

    def encode(self, inputs: Sequence[Frame]) -> Vectors:
        """Encode each segment's frames; a segment without frames gives zeros."""
        counts = np.array([len(frames) for frames in inputs], np.int64)
        pictures = [frame for frames in inputs for frame in frames]
        rows = self.batches.vectors(pictures, self._pictures, self.dim, lambda _: 1)
        sums = np.zeros((len(inputs), self.dim), np.float32)
        np.add.at(sums, np.repeat(np.arange(len(inputs)), counts), rows)
        return sums / np.maximum(counts, 1).astype(np.float32)[:, None]

    def _pictures(self, batch: list[Frame]) -> Vectors:
        return self.run(self.prepare(batch))

    def _example(self, count: int) -> torch.Tensor:
        """Soft blots of colour."""
        blots = torch.randn(count, 3, 7, 7, generator=torch.Generator().manual_seed(count))
        return torch.nn.functional.interpolate(blots, self.prepare.size, mode="bilinear")


def _vectors(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    output = model(pixel_values=pixels)
    projected = getattr(output, "image_embeds", None)
    return output.pooler_output if projected is None else projected


class Preparation:
    """What a model's `preprocessor_config.json` asks for, done without an imaging library."""

    def __init__(self, settings: dict[str, Any], side: int | None) -> None:
        size = settings.get("size", {})
        size = {"shortest_edge": size} if isinstance(size, int) else size
        self.shortest_edge: int | None = size.get("shortest_edge")
        wanted = settings.get("crop_size") if settings.get("do_center_crop") else size
        self.size = _height_and_width(wanted, side or self.shortest_edge or DEFAULT_SIDE)
        self.mode = "bicubic" if settings.get("resample") == BICUBIC else "bilinear"
        normalized = settings.get("do_normalize", True)
        mean = _channels(settings.get("image_mean", 0.5) if normalized else 0.0)
        std = _channels(settings.get("image_std", 0.5) if normalized else 1.0)
        self.scale, self.shift = 1 / (255 * std), -mean / std

    def __call__(self, frames: Sequence[Frame]) -> torch.Tensor:
        """Resize, crop to the middle, and normalise; shape (num_frames, 3, height, width)."""
        prepared = torch.empty(len(frames), 3, *self.size)
        for shape in {frame.shape for frame in frames}:
            rows = [row for row, frame in enumerate(frames) if frame.shape == shape]
            prepared[rows] = self._of_one_size(np.stack([frames[row] for row in rows]))
        return prepared

    def _of_one_size(self, frames: Array) -> torch.Tensor:
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
        size = height, width = self._resized(*pixels.shape[2:])
        if pixels.shape[2:] != size:
            pixels = torch.nn.functional.interpolate(pixels, size, mode=self.mode, antialias=True)
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        middle = pixels[:, :, top : top + self.size[0], left : left + self.size[1]]
        return torch.addcmul(self.shift, middle.float(), self.scale)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.shortest_edge is None:
            return self.size
        ratio = max(
            self.shortest_edge / min(height, width), self.size[0] / height, self.size[1] / width
        )
        return max(self.size[0], _floor(height * ratio)), max(self.size[1], _floor(width * ratio))


def _floor(length: float) -> int:
    """Cut to whole pixels, as transformers does, but for errors of floating point."""
    return int(length + 1e-6)


def _height_and_width(size: Any, side: int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return (size or {}).get("height", side), (size or {}).get("width", side)


def _channels(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
