"""Encoders that have weights: which class loads which model."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError

from avrec.embed.conse import RULES, ConseFrames, ConseSound
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
    source = _source(config)
    try:
        if config.kind in BRIDGES:
            return BRIDGES[config.kind](source, sentence_model(_words(config)))
        return MAKERS[config.kind](source)
    except UNLOADABLE as error:
        raise _refusal(config, error) from error


def key_of(config: EncoderConfig) -> str:
    """Name@revision of an encoder, by the configurations of its models alone.

    Raises:
        InputError: a model is absent.
    """
    try:
        name, revision = _name_and_revision(_source(config))
        if config.kind not in BRIDGES:
            return f"{name}@{revision}"
        words, its_revision = _name_and_revision(_words(config))
    except UNLOADABLE as error:
        raise _refusal(config, error) from error
    return f"{name}+{words}@{revision}+{its_revision}.{RULES}"


def _name_and_revision(source: Source) -> tuple[str, str]:
    folder = Path(source.model).is_dir()
    settings = None if folder else transformers.AutoConfig.from_pretrained(**source.place)
    return source.name, source.revision_of(SimpleNamespace(config=settings))


def _source(config: EncoderConfig) -> Source:
    speed = Speed(backend=config.backend, precision=config.precision, compile=config.compile)
    place = config.model, config.revision, config.batch_size, config.device
    return Source(*place, speed, config.adapter)


def _words(config: EncoderConfig) -> Source:
    return Source(config.words, "", config.batch_size, config.device)


def _refusal(config: EncoderConfig, error: Exception) -> InputError:
    lines = str(error).strip().splitlines() or [repr(error)]
    return InputError(f"cannot load {config.model!r} as {config.kind}: {lines[0]}")
