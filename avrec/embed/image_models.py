"""Picture encoders with weights: CLIP, SigLIP, MobileNet and other transformers vision models."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import transformers

from avrec.arrays import Frame, Vectors
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
        self.model = source.model_from(tower)
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        settings = source.json("preprocessor_config.json")
        self.prepare = Preparation(settings, getattr(self.model.config, "image_size", None))
        self.dim = self._vectors(torch.zeros(1, 3, *self.prepare.size)).shape[1]

    def encode(self, inputs: Sequence[Frame]) -> Vectors:
        """Encode each segment's frames; a segment without frames gives zeros."""
        vectors = np.zeros((len(inputs), self.dim), np.float32)
        owners = np.repeat(np.arange(len(inputs)), [len(frames) for frames in inputs])
        pictures = [frame for frames in inputs for frame in frames]
        for start in range(0, len(pictures), self.batch_size):
            batch = [self.prepare(p) for p in pictures[start : start + self.batch_size]]
            rows = self._vectors(torch.stack(batch))
            np.add.at(vectors, owners[start : start + self.batch_size], rows)
        counts = np.bincount(owners, minlength=len(inputs))
        return vectors / np.maximum(counts, 1).astype(np.float32)[:, None]

    @torch.inference_mode()
    def _vectors(self, pixels: torch.Tensor) -> Vectors:
        output = self.model(pixel_values=pixels.to(self.device))
        projected = getattr(output, "image_embeds", None)
        vectors = output.pooler_output if projected is None else projected
        return vectors.float().cpu().numpy()


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
        self.mean = _channels(settings.get("image_mean", 0.5) if normalized else 0.0)
        self.std = _channels(settings.get("image_std", 0.5) if normalized else 1.0)

    def __call__(self, frame: Frame) -> torch.Tensor:
        """Resize, crop to the middle, and normalise one frame; shape (3, height, width)."""
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float()
        height, width = self._resized(*pixels.shape[1:])
        resized = torch.nn.functional.interpolate(
            pixels[None], (height, width), mode=self.mode, antialias=True
        )[0]
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        middle = resized[:, top : top + self.size[0], left : left + self.size[1]]
        return (middle.clamp(0, 255) / 255 - self.mean) / self.std

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.shortest_edge is None:
            return self.size
        ratio = max(
            self.shortest_edge / min(height, width), self.size[0] / height, self.size[1] / width
        )
        return max(self.size[0], round(height * ratio)), max(self.size[1], round(width * ratio))


def _height_and_width(size: Any, side: int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return (size or {}).get("height", side), (size or {}).get("width", side)


def _channels(values: Any) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
