"""Where a model comes from.

A folder is read without the network; a hub id is looked up in the local cache and, if the
environment allows it, on the hub. Only safetensors are read, and no code that comes with a model
is run.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers.utils import cached_file

from avrec.embed.lora_config import adapter_files, revision_of
from avrec.embed.runners import Runner, Speed, Tensors, Tower, runner
from avrec.embed.weights import digest


@dataclass(frozen=True, slots=True)
class Source:
    """A model by folder or hub id, what towers added to it, and how it is run."""

    model: str
    commit: str
    batch_size: int
    device: str
    speed: Speed = field(default_factory=Speed)
    adapter: str = ""

    @property
    def name(self) -> str:
        """Last word of the folder or hub id."""
        return Path(self.model).name

    @property
    def place(self) -> dict[str, Any]:
        """Arguments of every `from_pretrained`."""
        return {
            "pretrained_model_name_or_path": self.model,
            "revision": self.commit or "main",
            "local_files_only": Path(self.model).is_dir(),
            "trust_remote_code": False,
        }

    def model_from(self, kind: Any, optional: tuple[str, ...] = ()) -> Any:
        """Load weights into a transformers class, as float32, ready to run on the device.

        Raises:
            ValueError: the model lacks weights; see `whole`.
        """
        return whole(kind, optional, **self.place, use_safetensors=True).float().to(self.device)

    def revision_of(self, model: Any) -> str:
        """Commit of a hub model, digest of a folder; what was added, and what it is run in."""
        commit = getattr(model.config, "_commit_hash", None)
        added = revision_of(adapter_files(self.adapter)) if self.adapter else ""
        return (commit[:12] if commit else digest(self.model)) + added + self.speed.suffix

    def runner(
        self, model: Any, vectors_of: Callable[..., torch.Tensor], first: Tensors, second: Tensors
    ) -> Runner:
        """Make the way to run `vectors_of(model, *tensors)`, checked on two example batches."""
        return runner(Tower(model, vectors_of), (first, second), self.speed, self.device)

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the model; empty where there is none."""
        path = Path(self.model) / name
        if not Path(self.model).is_dir():
            found = cached_file(
                self.model,
                name,
                revision=self.commit or "main",
                _raise_exceptions_for_missing_entries=False,
            )
            path = Path(found or path)
        return json.loads(path.read_text()) if path.is_file() else {}


def whole(kind: Any, optional: tuple[str, ...] = (), **place: Any) -> Any:
    """Load a model for inference, by the arguments of `kind.from_pretrained`.

    transformers reports in a long table which weights it found no use for; that is left out.

    Raises:
        ValueError: it lacks weights of that class, but for those whose name begins as `optional`
            says.
    """
    reports = logging.getLogger("transformers.modeling_utils")
    reports.addFilter(_no_report)
    try:
        model, report = kind.from_pretrained(**place, output_loading_info=True)
    finally:
        reports.removeFilter(_no_report)
    missing = [name for name in sorted(report["missing_keys"]) if not name.startswith(optional)]
    if missing:
        raise ValueError(f"it is no {kind.__name__}, for it has no weights {missing[0]!r}")
    return model.eval().requires_grad_(requires_grad=False)


def _no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
