"""From a configuration to the describers that have a model."""

from typing import Any

from avrec.embed.describe.config import DescribeConfig
from avrec.embed.describe.describer import Describer
from avrec.errors import InputError


def load_describers(config: DescribeConfig) -> list[Describer]:
    """Load the describers of speech, sounds, frames and safety that have a model.

    Raises:
        InputError: a model is absent, or is none of its kind.
    """
    from avrec.embed.describe.frames import Frames  # noqa: PLC0415
    from avrec.embed.describe.safety import Safety  # noqa: PLC0415
    from avrec.embed.describe.sounds import Sounds  # noqa: PLC0415
    from avrec.embed.describe.speech import Speech  # noqa: PLC0415 -- torch takes seconds
    from avrec.embed.pretrained import UNLOADABLE  # noqa: PLC0415

    makers: dict[str, Any] = {
        "speech": Speech,
        "sounds": Sounds,
        "frames": Frames,
        "safety": Safety,
    }
    made = list[Describer]()
    for section, make in makers.items():
        one = getattr(config, section)
        if not one.model:
            continue
        try:
            made.append(make(one))
        except UNLOADABLE as error:
            line = (str(error).strip().splitlines() or [repr(error)])[0]
            message = f"cannot load {one.model!r} for describe.{section}: {line}"
            raise InputError(message) from error
    return made
