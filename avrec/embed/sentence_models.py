"""Text encoders with weights: BERT and its like, as sentence encoders."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import transformers

from avrec.arrays import Vectors
from avrec.embed.source import Source

LONGEST = 512


class SentenceModel:
    """Mean of the last states over a text's tokens, padding left out."""

    modality: Literal["text"] = "text"

    def __init__(self, source: Source) -> None:
        self.model = source.model_from(transformers.AutoModel, optional=("pooler.",))
        self.name, self.revision = source.name, source.revision_of(self.model)
        self.batch_size, self.device = source.batch_size, source.device
        self.dim = self.model.config.hidden_size
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(**source.place)
        limits = source.json("sentence_bert_config.json")
        self.max_tokens = min(limits.get("max_seq_length") or LONGEST, LONGEST)

    def encode(self, inputs: Sequence[str]) -> Vectors:
        """Encode each text; an empty one gives zeros."""
        vectors = np.zeros((len(inputs), self.dim), np.float32)
        said = [row for row, text in enumerate(inputs) if text.strip()]
        for start in range(0, len(said), self.batch_size):
            rows = said[start : start + self.batch_size]
            vectors[rows] = self._vectors([inputs[row] for row in rows])
        return vectors

    @torch.inference_mode()
    def _vectors(self, texts: list[str]) -> Vectors:
        tokens = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.device)
        states = self.model(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"][:, :, None].float()
        return ((states * mask).sum(dim=1) / mask.sum(dim=1)).cpu().numpy()
