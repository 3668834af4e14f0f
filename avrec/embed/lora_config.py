"""How the last layers of a text encoder are trained, and what the others made of texts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from avrec.arrays import Array, Idx


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Section `[towers.lora]`."""

    model: str = ""
    """Folder or hub id of a sentence_model (BERT and its like), whose last layers are trained with
    the towers on titles, tags, descriptions and what was understood; empty trains none."""
    revision: str = ""
    """Commit of a model on the hub; empty is the latest."""
    layers: int = 2
    """Last layers that are trained, by low-rank additions (LoRA); what the others make of every
    item is kept in memory, in half precision."""
    rank: int = 8
    """Rank of what is added to the maps of queries and values."""
    max_tokens: int = 64
    """First tokens of a text that are read."""

    def __post_init__(self) -> None:
        for name in ("layers", "rank", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class States(NamedTuple):
    """What the layers that stay make of each text.

    `values` (n, max_tokens, width; float16) have `lengths` (n) tokens each, none for no text;
    `encoder` is the model's name@revision.
    """

    encoder: str
    values: Array
    lengths: Idx


def adapter_files(folder: str) -> dict[str, bytes]:
    """What was added to an encoder, by file.

    Raises:
        FileNotFoundError: there is nothing.
    """
    found = {path.name: path.read_bytes() for path in sorted(Path(folder).glob("adapter_*"))}
    if not found:
        raise FileNotFoundError(f"{folder} has no adapter_model.safetensors")
    return found


def revision_of(files: Mapping[str, bytes]) -> str:
    """Name what was learned by its digest."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(files[name])
    return f"+lora-{total.hexdigest()[:12]}"
