"""Image classifiers: probabilities of classes, frame by frame."""

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers.utils import cached_file

from avrec.arrays import Array, Frame
from avrec.embed.image_models import Preparation
from avrec.embed.source import Source

HEAD = "classifier."


class FrameClassifier:
    """An image classifier of transformers, or a MobileNetV2 with a head of several dense layers.

    Such a head has weights `classifier.0`, `classifier.2` and so on, with ReLU between them.
    """

    def __init__(self, source: Source) -> None:
        self.layers = _dense_head(source)
        whole = transformers.AutoModelForImageClassification
        self.model = source.model_from(transformers.AutoModel if self.layers else whole)
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        names = self.model.config.id2label
        self.labels = [names[row] for row in range(len(names))]
        settings = source.json("preprocessor_config.json")
        self.prepare = Preparation(settings, getattr(self.model.config, "image_size", None))

    def probabilities(self, frames: Frame) -> Array:
        """Probability of each class in each frame, shape (num_frames, num_classes)."""
        found = [np.zeros((0, len(self.labels)), np.float32)]
        for start in range(0, len(frames), self.batch_size):
            batch = self.prepare([*frames[start : start + self.batch_size]])
            found.append(self._probabilities(batch.to(self.device)))
        return np.concatenate(found)

    @torch.inference_mode()
    def _probabilities(self, pixels: torch.Tensor) -> Array:
        output = self.model(pixel_values=pixels)
        logits = self.layers(output.pooler_output) if self.layers else output.logits
        return logits.float().softmax(dim=-1).cpu().numpy()


def _dense_head(source: Source) -> torch.nn.Sequential | None:
    """The dense layers of a head that transformers has no class for; None where it has one."""
    path = cached_file(
        source.model,
        "model.safetensors",
        revision=source.commit or "main",
        _raise_exceptions_for_missing_entries=False,
    )
    weights = load_file(path) if path else {}
    places = [name.split(".")[1] for name in weights if name.startswith(HEAD)]
    layers = list[torch.nn.Module]()
    for place in sorted({int(place) for place in places if place.isdigit()}):
        weight, bias = (weights[f"{HEAD}{place}.{part}"] for part in ("weight", "bias"))
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": bias})
        layers += [layer, torch.nn.ReLU()]
    head = torch.nn.Sequential(*layers[:-1]).eval().requires_grad_(requires_grad=False)
    return head.to(source.device) if layers else None
