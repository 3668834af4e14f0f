"""Text encoders with weights: BERT and its like, and the text towers of CLIP, SigLIP and CLAP."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import transformers

from avrec.arrays import Vectors
from avrec.embed.batches import Batches
from avrec.embed.runners import Tensors
from avrec.embed.source import Source
from avrec.errors import InputError

LONGEST = 512
EXAMPLES = (
    ["a red song", "film"],
    ["a blue film about a red song and the sea", "the song of the film", "a lecture on music"],
)
IMAGE_TOWERS = {
    "clip": transformers.CLIPTextModelWithProjection,
    "clip_text_model": transformers.CLIPTextModelWithProjection,
    "siglip": transformers.SiglipTextModel,
    "siglip_text_model": transformers.SiglipTextModel,
}
"""Text towers of models that also see."""
Tokens = dict[str, list[int]]


class TextModel:
    """What a model makes of each text."""

    modality: Literal["text"] = "text"

    def __init__(
        self,
        source: Source,
        model: Any,
        vectors_of: Callable[..., torch.Tensor],
        max_tokens: int,
        padding: str | bool = False,
    ) -> None:
        self.name, self.revision = source.name, source.revision_of(model)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(**source.place)
        self.max_tokens, self.padding = max_tokens, padding
        self.batches = Batches(source.batch_size)
        self.names = list(self._tokens(EXAMPLES[0])[0])
        first, second = (self._padded(self._tokens(texts)) for texts in EXAMPLES)
        self.run = source.runner(model, self._by_name(vectors_of), first, second)
        self.dim = self.run(*first).shape[1]

    def encode(self, inputs: Sequence[str]) -> Vectors:
        """Encode each text; an empty one gives zeros."""
        said = [row for row, text in enumerate(inputs) if text.strip()]
        vectors = np.zeros((len(inputs), self.dim), np.float32)
        if said:
            tokens = self._tokens([inputs[row] for row in said])
            vectors[said] = self.batches.vectors(
                tokens, self._vectors, self.dim, lambda one: len(one["input_ids"])
            )
        return vectors

    def _vectors(self, batch: list[Tokens]) -> Vectors:
        return self.run(*self._padded(batch))

    def _tokens(self, texts: list[str]) -> list[Tokens]:
        found = self.tokenizer(
            texts, truncation=True, max_length=self.max_tokens, padding=self.padding
        )
        return [{name: found[name][row] for name in found} for row in range(len(texts))]

    def _padded(self, batch: list[Tokens]) -> Tensors:
        blank = {"input_ids": self.tokenizer.pad_token_id or 0}
        return tuple(
            torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(tokens[name]) for tokens in batch],
                batch_first=True,
                padding_value=blank.get(name, 0),
            )
            for name in batch[0]
        )

    def _by_name(self, vectors_of: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        names = self.names

        def call(model: Any, *values: torch.Tensor) -> torch.Tensor:
            return vectors_of(model, dict(zip(names, values, strict=True)))

        return call


def sentence_model(source: Source) -> TextModel:
    """Mean of the last states over a text's tokens, padding left out."""
    model = source.model_from(transformers.AutoModel, optional=("pooler.",))
    if source.adapter:
        from avrec.embed.lora import merged  # noqa: PLC0415 -- it needs what most runs do without

        model = merged(model, source.adapter)
    limits = source.json("sentence_bert_config.json")
    return TextModel(
        source, model, _mean_state, min(limits.get("max_seq_length") or LONGEST, LONGEST)
    )


def clip_text(source: Source) -> TextModel:
    """The text tower of CLIP or SigLIP, in the space of its pictures.

    SigLIP was trained on texts padded to their full length, so they are padded to it here.
    """
    kind = transformers.AutoConfig.from_pretrained(**source.place).model_type
    if kind not in IMAGE_TOWERS:
        raise InputError(f"{source.model} is a {kind}: clip_text needs one of {[*IMAGE_TOWERS]}")
    model = source.model_from(IMAGE_TOWERS[kind])
    padding = "max_length" if kind.startswith("siglip") else False
    return TextModel(source, model, _projected, model.config.max_position_embeddings, padding)


def clap_text(source: Source) -> TextModel:
    """The text tower of CLAP, in the space of its sounds."""
    model = source.model_from(transformers.ClapTextModelWithProjection)
    longest = model.config.max_position_embeddings - model.config.pad_token_id - 1
    return TextModel(source, model, _projected, longest)


def _mean_state(model: Any, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
    states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][:, :, None].to(states.dtype)
    return (states * mask).sum(dim=1) / mask.sum(dim=1)


def _projected(model: Any, tokens: dict[str, torch.Tensor]) -> torch.Tensor:
    output = model(**tokens)
    projected = getattr(output, "text_embeds", None)
    return output.pooler_output if projected is None else projected
