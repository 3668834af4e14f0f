"""One sentence on what is seen, by an image-text model (BLIP, Qwen-VL, SmolVLM, LLaVA and others).

A model with a chat template is shown some frames and asked; one without gets the middle frame.
Decoding is greedy, so a clip's caption is the same every time. Frames go through the model's own
processor, which needs Pillow (`avrec[captions]`), and torchvision too where it also takes videos.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers

from avrec.arrays import Frame
from avrec.embed.describe.chat_model import DTYPES, UNLOADABLE, model_key
from avrec.embed.describe.describer import Seen, rows
from avrec.embed.describe.language_config import CaptionsConfig
from avrec.embed.source import Source, whole
from avrec.errors import InputError
from avrec.schema import CAPTIONS


class Captioner:
    """A describer of pictures; a clip without them gets no row."""

    schema = CAPTIONS

    def __init__(self, config: CaptionsConfig) -> None:
        """Load the model.

        Raises:
            InputError: it is absent, is no image-text model, or lacks a package.
        """
        transformers.logging.disable_progress_bar()
        self.config = config
        try:
            self.processor, self.model = _loaded(config)
        except UNLOADABLE as error:
            lines = str(error).strip().splitlines() or [repr(error)]
            raise InputError(
                f"cannot load {config.model!r} to write captions: {_told(lines)}"
            ) from error
        asked = [config.prompt, config.frames, config.max_side, config.max_new_tokens]
        asked += [config.every_segment, config.precision]
        self.name, _, self.revision = model_key(config, asked).rpartition("@")
        self.asks = bool(getattr(self.processor, "chat_template", None))

    def describe(self, clip: Seen) -> pa.Table:
        """Write a caption of the clip, or of each segment, where there are frames."""
        spans = [tuple(span) for span in clip.spans]
        if spans and not self.config.every_segment:
            spans = [(spans[0][0], spans[-1][1])]
        shown = [(span, clip.frames_in(span)) for span in spans]
        found = [(span, self.caption(frames)) for span, frames in shown if len(frames)]
        return rows(
            CAPTIONS,
            (
                {"start_seconds": start, "stop_seconds": stop, "text": text}
                for (start, stop), text in found
                if text
            ),
        )

    @torch.inference_mode()
    def caption(self, frames: Frame) -> str:
        """Say in a sentence what frames of shape (num_frames, height, width, 3) show."""
        inputs = self._inputs(_chosen(frames, self.config.frames if self.asks else 1))
        inputs = inputs.to(self.config.device, self.model.dtype)
        written = self.model.generate(
            **inputs, max_new_tokens=self.config.max_new_tokens, do_sample=False
        )
        said = inputs["input_ids"].shape[1] if self.asks else 0
        text = self.processor.batch_decode(written[:, said:], skip_special_tokens=True)[0]
        return " ".join(text.split())

    def _inputs(self, frames: Frame) -> Any:
        pictures = [_scaled(frame, self.config.max_side) for frame in frames]
        if not self.asks:
            return self.processor(images=pictures, return_tensors="pt")
        content = [{"type": "image"} for _ in pictures]
        content.append({"type": "text", "text": self.config.prompt})
        asked = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return self.processor(images=pictures, text=[asked], return_tensors="pt")


def _loaded(config: CaptionsConfig) -> tuple[Any, Any]:
    place = Source(config.model, config.revision, 1, config.device).place
    processor = transformers.AutoProcessor.from_pretrained(**place)
    form: dict[str, Any] = {"use_safetensors": True, "dtype": DTYPES[config.precision]}
    model = whole(transformers.AutoModelForImageTextToText, **place, **form)
    return processor, model.to(config.device)


def _told(lines: list[str]) -> str:
    """The line that names what is missing, with what to install."""
    for package, install in (("torchvision", "torchvision"), ("pil", "avrec[captions]")):
        if any(f"requires the {package} library" in line.casefold() for line in lines):
            return f"its processor needs {package}: pip install '{install}'"
    return lines[0]


def _chosen(frames: Frame, count: int) -> Frame:
    """Take frames evenly, each from the middle of its share."""
    count = min(count, len(frames))
    return frames[((np.arange(count) + 0.5) * len(frames) / count).astype(int)]


def _scaled(frame: Frame, max_side: int) -> Frame:
    """Shrink a picture whose longer side is above `max_side`."""
    scale = max_side / max(frame.shape[:2])
    if scale >= 1:
        return frame
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    small = torch.nn.functional.interpolate(pixels, (height, width), mode="area")
    return small[0].permute(1, 2, 0).round().byte().numpy()
