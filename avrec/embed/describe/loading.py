"""From a configuration to the describers that have a model."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from avrec.embed.describe.config import DescribeConfig, settings_digest
from avrec.embed.describe.describer import Describer
from avrec.embed.weights import digest
from avrec.errors import InputError
from avrec.schema import CAPTIONS, SEGMENT_LABELS, TRANSCRIPTS

SCHEMAS: dict[str, pa.Schema] = {
    "speech": TRANSCRIPTS,
    "sounds": SEGMENT_LABELS,
    "frames": SEGMENT_LABELS,
    "safety": SEGMENT_LABELS,
    "captions": CAPTIONS,
}
"""Sections that describe clips, and the table that each gives rows of."""


def load_describers(config: DescribeConfig) -> list[Describer]:
    """Load every describer of clips that has a model.

    Raises:
        InputError: a model is absent, or is none of its kind.
    """
    return [load_describer(section, config) for section in sections(config)]


def sections(config: DescribeConfig) -> list[str]:
    """Names of the sections that describe clips and have a model."""
    return [section for section in SCHEMAS if getattr(config, section).model]


def key_of(section: str, config: DescribeConfig) -> str:
    """Name under which a describer's rows are kept, told without loading it.

    It holds its models and what of its settings changes what it finds.

    Raises:
        InputError: a model is a path, and there is no such folder.
    """
    one = getattr(config, section)
    models = [one.revision or digest(one.model)]
    beside = [getattr(one, name, "") for name in ("words_model", "voice_model")]
    models += [digest(model) for model in beside if model]
    settings = settings_digest(one, "thresholds")
    return f"{section}-{Path(one.model).name}@{'+'.join(models)}.{settings}"


def load_describer(section: str, config: DescribeConfig) -> Describer:
    """Load the describer of a section.

    Raises:
        InputError: its model is absent, or is none of its kind.
    """
    import transformers  # noqa: PLC0415 -- torch takes seconds

    from avrec.embed.pretrained import UNLOADABLE  # noqa: PLC0415

    transformers.logging.disable_progress_bar()
    one = getattr(config, section)
    try:
        return _maker(section)(one)
    except UNLOADABLE as error:
        line = (str(error).strip().splitlines() or [repr(error)])[0]
        message = f"cannot load {one.model!r} for describe.{section}: {line}"
        raise InputError(message) from error


def _maker(section: str) -> Any:
    from avrec.embed.describe.captions import Captioner  # noqa: PLC0415
    from avrec.embed.describe.frames import Frames  # noqa: PLC0415
    from avrec.embed.describe.safety import Safety  # noqa: PLC0415
    from avrec.embed.describe.sounds import Sounds  # noqa: PLC0415
    from avrec.embed.describe.speech import Speech  # noqa: PLC0415

    makers: dict[str, Any] = {
        "speech": Speech,
        "sounds": Sounds,
        "frames": Frames,
        "safety": Safety,
        "captions": Captioner,
    }
    return makers[section]
