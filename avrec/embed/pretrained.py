"""Encoders that have weights: which class loads which model."""

from collections.abc import Callable
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError

from avrec.embed.conse import ConseFrames, ConseSound
from avrec.embed.encoder import Encoder, EncoderConfig
from avrec.embed.image_models import ImageModel
from avrec.embed.runners import Speed
from avrec.embed.sentence_models import clap_text, clip_text, sentence_model
from avrec.embed.sound_models import (
    Clap,
    SpectrogramClassifier,
    SpectrogramTransformer,
    WhisperEncoder,
)
from avrec.embed.source import Source
from avrec.errors import InputError

MAKERS: dict[str, Callable[[Source], Encoder[Any]]] = {
    "image_model": ImageModel,
    "whisper": WhisperEncoder,
    "spectrogram_classifier": SpectrogramClassifier,
    "spectrogram_transformer": SpectrogramTransformer,
    "clap": Clap,
    "sentence_model": sentence_model,
    "clip_text": clip_text,
    "clap_text": clap_text,
}
BRIDGES: dict[str, Callable[[Source, Encoder[str]], Encoder[Any]]] = {
    "conse_sound": ConseSound,
    "conse_frames": ConseFrames,
}
UNLOADABLE = (OSError, ValueError, KeyError, RuntimeError, StrictDataclassError)
"""What transformers raises over a folder that is not what it should be."""


def load(config: EncoderConfig) -> Encoder[Any]:
    """Load a model.

    Raises:
        InputError: it is absent, or is none of the kind that the configuration says.
    """
    transformers.logging.disable_progress_bar()
    speed = Speed(backend=config.backend, precision=config.precision, compile=config.compile)
    source = Source(config.model, config.revision, config.batch_size, config.device, speed)
    try:
        if config.kind in BRIDGES:
            words = sentence_model(Source(config.words, "", config.batch_size, config.device))
            return BRIDGES[config.kind](source, words)
        return MAKERS[config.kind](source)
    except UNLOADABLE as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        raise InputError(f"cannot load {config.model!r} as {config.kind}: {lines[0]}") from error
