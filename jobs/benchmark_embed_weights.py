"""Memory that a second actor with the same model takes, on a node that has one already.

Weights in float32 are mapped from their file, so actors of a node share one copy; the proportional
set size (PSS) counts a shared page once over all, the resident set size (RSS) once for each. The
model is the image tower of CLIP ViT-B/32 with random weights. int8 weights are each actor's own.
"""

import argparse
import multiprocessing
import tempfile
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from avrec.embed.encoder import EncoderConfig, load_encoder

WAYS = (("torch", "float32"), ("openvino", "int8"))
MIB = 1 << 20


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one actor, then two, that have each encoded a picture."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig())
        model.save_pretrained(folder)
        size = (Path(folder) / "model.safetensors").stat().st_size / MIB
        return [_figure(folder, size, *way) for way in WAYS]


def _figure(folder: str, size: float, backend: str, precision: str) -> dict[str, Any]:
    """The mapped file alone tells what is shared; the whole, what a second actor adds."""
    settings = EncoderConfig(kind="image_model", model=folder, backend=backend, precision=precision)
    with ExitStack() as actors:
        first = [actors.enter_context(Actor(settings)).pid]
        one, mapped_one = _memory(first, folder)
        both = [*first, actors.enter_context(Actor(settings)).pid]
        two, mapped_two = _memory(both, folder)
    return {
        "figure": f"pss_added_by_a_second_actor_{backend}_{precision}",
        "value": round(two["Pss"] - one["Pss"]),
        "unit": "MiB",
        "peer": f"weights of {size:.0f} MiB",
        "goal": None,
        "met": None,
        "rss_added": round(two["Rss"] - one["Rss"]),
        "pss_of_one": round(one["Pss"]),
        "pss_of_mapped_weights": [round(mapped_one["Pss"]), round(mapped_two["Pss"])],
        "rss_of_mapped_weights": [round(mapped_one["Rss"]), round(mapped_two["Rss"])],
    }


class Actor:
    """A process that holds an encoder while it is entered."""

    def __init__(self, settings: EncoderConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe()
        self.process = context.Process(target=hold, args=(settings, there))

    def __enter__(self) -> "Actor":
        self.process.start()
        self.pid = self.here.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self.here.send(None)
        self.process.join()


def hold(settings: EncoderConfig, line: Connection) -> None:
    """Load an encoder, use it, tell so, and keep it until told to go."""
    encoder = load_encoder(settings)
    encoder.encode([np.zeros((1, 224, 224, 3), np.uint8)])
    line.send(multiprocessing.current_process().pid)
    line.recv()


def _memory(pids: list[int], folder: str) -> tuple[dict[str, float], dict[str, float]]:
    """MiB of all mappings of the processes, and of those of files below a folder."""
    whole, mapped = dict.fromkeys(("Rss", "Pss"), 0.0), dict.fromkeys(("Rss", "Pss"), 0.0)
    for pid in pids:
        inside = False
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            key, *rest = line.split()
            if not key.endswith(":"):
                inside = folder in line
            elif key[:-1] in whole:
                spent = int(rest[0]) / 1024
                whole[key[:-1]] += spent
                mapped[key[:-1]] += spent * inside
    return whole, mapped
