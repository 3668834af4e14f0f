"""Labels by models with an image and a text tower: CLIP, SigLIP and their like.

After Radford et al., "Learning transferable visual models from natural language supervision"
(2021): a label is put into a sentence, and scored by how near it comes to a picture.
"""

import numpy as np
import torch
import transformers

from avrec.arrays import Array, Frame
from avrec.embed.image_models import Preparation
from avrec.embed.source import Source


class TwoTowers:
    """Scores of sentences for frames.

    A model that was trained to choose (CLIP) gives shares that sum to 1; one that was trained to
    judge each pair alone (SigLIP, which has a `logit_bias`) gives probabilities of their own.
    """

    def __init__(self, source: Source) -> None:
        self.model = source.model_from(transformers.AutoModel)
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(**source.place)
        settings = source.json("preprocessor_config.json")
        self.prepare = Preparation(settings, self.model.config.vision_config.image_size)
        self.judges = hasattr(self.model, "logit_bias")

    @torch.inference_mode()
    def sentences(self, texts: list[str]) -> torch.Tensor:
        """Unit vectors of sentences, shape (num_texts, dim)."""
        longest = self.model.config.text_config.max_position_embeddings
        padding = "max_length" if self.judges else True
        tokens = self.tokenizer(
            texts, padding=padding, truncation=True, max_length=longest, return_tensors="pt"
        )
        output = self.model.get_text_features(**tokens.to(self.device))
        return torch.nn.functional.normalize(output.pooler_output, dim=-1)

    def scores(self, frames: Frame, sentences: torch.Tensor) -> Array:
        """Score of each sentence for each frame, shape (num_frames, num_texts), in [0, 1]."""
        found = [np.zeros((0, len(sentences)), np.float32)]
        for start in range(0, len(frames), self.batch_size):
            found.append(self._scores(frames[start : start + self.batch_size], sentences))
        return np.concatenate(found)

    @torch.inference_mode()
    def _scores(self, frames: Frame, sentences: torch.Tensor) -> Array:
        pixels = self.prepare([*frames]).to(self.device)
        pooled = self.model.get_image_features(pixel_values=pixels).pooler_output
        images = torch.nn.functional.normalize(pooled, dim=-1)
        logits = images @ sentences.T * self.model.logit_scale.exp()
        if self.judges:
            return torch.sigmoid(logits + self.model.logit_bias).cpu().numpy()
        return logits.softmax(dim=-1).cpu().numpy()
