"""Ways to run a model: tensors in, vectors out.

A fast way is only used where it gives what float32 gives: its vectors of an example batch must
have a cosine of at least .999 to those of torch in float32, which is measured at load.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avrec.arrays import Vectors
from avrec.errors import InputError

MIN_COSINE = 0.999
Tensors = tuple[torch.Tensor, ...]
Runner = Callable[..., Vectors]
"""Takes the tensors of a batch; gives float32 of shape (batch, dim)."""
EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How a model is run; the fields are those of `EncoderConfig`."""

    backend: str = "torch"
    precision: str = "float32"
    compile: bool = False

    @property
    def suffix(self) -> str:
        """What it adds to a model's revision, as other arithmetic gives other vectors."""
        way = f"+{self.backend}-{self.precision}"
        return "" if way == "+torch-float32" else way


class Tower(torch.nn.Module):
    """The way from a batch of prepared inputs to their vectors, as one module."""

    def __init__(self, model: torch.nn.Module, vectors_of: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.vectors_of = vectors_of

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Give the vectors, shape (batch, dim)."""
        return self.vectors_of(self.model, *inputs)


def runner(tower: Tower, examples: tuple[Tensors, Tensors], speed: Speed, device: str) -> Runner:
    """Make the way to run a tower that `speed` asks for.

    Args:
        tower: float32, on the device; a runner in bf16 changes it.
        examples: two batches that differ in every axis that varies, each of two inputs or more.
        speed: what runs the tower, and in what.
        device: where torch runs it.

    Raises:
        InputError: the backend is not installed, cannot run the tower, or strays from float32.
    """
    plain = _on_torch(tower, device)
    if speed == Speed():
        return plain
    expected = plain(*examples[1])
    fast = _fast(tower, examples, speed, device)
    _check(lowest_cosine(fast(*examples[1]), expected), speed)
    return fast


def lowest_cosine(vectors: Vectors, others: Vectors) -> float:
    """Least cosine between rows of the same place; that of zeros with anything is 0."""
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others, axis=1)
    return float(np.min((vectors * others).sum(axis=1) / np.maximum(norms, 1e-30)))


def _fast(tower: Tower, examples: tuple[Tensors, Tensors], speed: Speed, device: str) -> Runner:
    if speed.backend == "torch":
        return _fast_torch(tower, speed, device)
    try:
        if speed.backend == "openvino":
            from avrec.embed.openvino_runner import openvino_runner as make  # noqa: PLC0415
        else:
            from avrec.embed.onnx_runner import onnx_runner as make  # noqa: PLC0415
    except ImportError as error:
        extra = EXTRAS[speed.backend]
        raise InputError(
            f"backend {speed.backend!r} is not installed ({error}); pip install 'avrec[{extra}]'"
        ) from error
    return make(tower, examples, speed.precision)


def _fast_torch(tower: Tower, speed: Speed, device: str) -> Runner:
    dtype = torch.bfloat16 if speed.precision == "bf16" else torch.float32
    run: Any = tower.to(dtype)
    return _on_torch(torch.compile(run) if speed.compile else run, device, dtype)


def _on_torch(tower: Any, device: str, dtype: torch.dtype = torch.float32) -> Runner:
    @torch.inference_mode()
    def run(*inputs: torch.Tensor) -> Vectors:
        there = [x.to(device, dtype if x.is_floating_point() else None) for x in inputs]
        return tower(*there).float().cpu().numpy()

    return run


def _check(cosine: float, speed: Speed) -> None:
    if not cosine >= MIN_COSINE:
        raise InputError(
            f"{speed.backend} in {speed.precision} gives vectors of cosine {cosine:.4f} to float32,"
            f" below {MIN_COSINE}; set precision = 'float32', or another backend"
        )
