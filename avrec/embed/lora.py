"""Train the last layers of a sentence model, each by a low-rank addition to its maps (LoRA).

    W x  becomes  W x + (2 / rank) B A x,   A of shape (rank, width), B zeros at first

for the maps of queries and values (Hu et al., ICLR 2022), by the library peft. The layers below
are as they were, so what they make of a text is made once. peft comes with the extra `lora`.
"""

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from avrec.arrays import Array
from avrec.embed.lora_config import LoraConfig, States, adapter_files
from avrec.embed.pretrained import UNLOADABLE
from avrec.embed.source import Source
from avrec.errors import InputError

TARGETS = ("query", "value")
ALPHA = 2
TEXTS_AT_ONCE = 64


class LastLayers(nn.Module):
    """The layers that are trained; only what is added to them has a gradient.

    They never drop anything, so that a batch decides the result.
    """

    def __init__(self, config: LoraConfig) -> None:
        super().__init__()
        tuned = _with_additions(_model(config), config)
        self._tuned = (tuned,)
        self.layers = nn.ModuleList(_layers(tuned.base_model.model, config)[-config.layers :])
        self.eval()

    def train(self, mode: bool = True) -> "LastLayers":  # noqa: ARG002
        """Stay as in inference."""
        return super().train(mode=False)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Mean of the last states over each text's tokens, (n, width); zeros for no text."""
        there = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
        mask = there | ~there.any(dim=1, keepdim=True)
        for layer in self.layers:
            values = layer(values, mask[:, None, None, :].expand(-1, 1, values.shape[1], -1))
        total = (values * there[..., None]).sum(dim=1)
        return total / lengths[:, None].clamp(min=1)

    def files(self) -> dict[str, bytes]:
        """What was added, as peft reads it."""
        with tempfile.TemporaryDirectory() as folder:
            self._tuned[0].save_pretrained(folder)
            return adapter_files(folder)


def merged(model: Any, folder: str) -> Any:
    """The model with what towers added to it, ready to run.

    Raises:
        InputError: peft is not installed.
        RuntimeError: it was added to another model.
    """
    with _quiet():
        made = _peft().PeftModel.from_pretrained(model, folder, local_files_only=True)
    return made.merge_and_unload().eval().requires_grad_(requires_grad=False)


def states(config: LoraConfig, texts: Sequence[str]) -> States:
    """Run the layers that stay on every text, cut to `max_tokens`.

    Raises:
        InputError: the model is absent, or none whose last layers can be trained.
    """
    source, model = _source(config), _model(config)
    _layers(model, config)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source.place)
    values = np.zeros((len(texts), config.max_tokens, model.config.hidden_size), np.float16)
    lengths = np.zeros(len(texts), np.int32)
    for rows, tokens in _tokens(tokenizer, texts, config):
        with torch.inference_mode():
            found = model(**tokens, output_hidden_states=True).hidden_states[-config.layers - 1]
        lengths[rows] = tokens["attention_mask"].sum(dim=1).numpy()
        values[rows, : found.shape[1]] = found.numpy() * tokens["attention_mask"][..., None].numpy()
    return States(f"{source.name}@{source.revision_of(model)}", values, lengths)


def _tokens(
    tokenizer: Any, texts: Sequence[str], config: LoraConfig
) -> Iterator[tuple[Array, Mapping[str, Tensor]]]:
    said = np.array([row for row, text in enumerate(texts) if text.strip()], np.int64)
    for start in range(0, len(said), TEXTS_AT_ONCE):
        rows = said[start : start + TEXTS_AT_ONCE]
        yield (
            rows,
            tokenizer(
                [texts[row] for row in rows],
                truncation=True,
                max_length=config.max_tokens,
                padding=True,
                return_tensors="pt",
            ),
        )


def _source(config: LoraConfig) -> Source:
    return Source(config.model, config.revision, TEXTS_AT_ONCE, "cpu")


def _model(config: LoraConfig) -> Any:
    transformers.logging.disable_progress_bar()
    try:
        return _source(config).model_from(transformers.AutoModel, optional=("pooler.",))
    except UNLOADABLE as error:
        raise InputError(f"cannot load {config.model!r} for towers.lora: {error}") from error


def _layers(model: Any, config: LoraConfig) -> Any:
    layers = getattr(getattr(model, "encoder", None), "layer", None)
    if layers is None:
        raise InputError(f"{config.model} is no BERT or its like: its last layers are not trained")
    if len(layers) < config.layers:
        raise InputError(f"{config.model} has {len(layers)} layers, fewer than {config.layers}")
    return layers


def _with_additions(model: Any, config: LoraConfig) -> Any:
    peft = _peft()
    count = len(_layers(model, config))
    how = peft.LoraConfig(
        r=config.rank,
        lora_alpha=ALPHA,
        target_modules=list(TARGETS),
        layers_to_transform=list(range(count - config.layers, count)),
        layers_pattern="layer",
    )
    with _quiet():
        return peft.get_peft_model(model, how)


def _peft() -> Any:
    try:
        import peft  # noqa: PLC0415
    except ImportError as error:
        raise InputError("peft is not installed; pip install 'avrec[lora]'") from error
    return peft


@contextmanager
def _quiet() -> Iterator[None]:
    """Let peft ask transformers by a name that it gives up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
