"""Inputs through a model some at a time: like lengths together, fewer when memory runs out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from avrec.arrays import Vectors
from avrec.errors import InputError

T = TypeVar("T")
FULL = (
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "out of memory",
)
"""How torch, OpenVINO and onnxruntime say on a CPU that memory ran out."""


class Batches:
    """How many inputs go through a model at once; learns what memory holds.

    When a batch does not fit, half as many are tried, here and in every later batch.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def vectors(
        self,
        inputs: Sequence[T],
        vectors_of: Callable[[list[T]], Vectors],
        dim: int,
        length: Callable[[T], int],
    ) -> Vectors:
        """Give each input's vector, in the order of the inputs; one of length 0 gives zeros.

        The longest go first: they are padded to one another, and memory runs out at once if at all.

        Raises:
            InputError: a single input does not fit.
        """
        vectors = np.zeros((len(inputs), dim), np.float32)
        lengths = np.array([length(one) for one in inputs], np.int64)
        waiting = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
        while len(waiting):
            rows = waiting[: self.size]
            try:
                vectors[rows] = vectors_of([inputs[row] for row in rows])
            except (RuntimeError, MemoryError) as error:
                self._halve(len(rows), error)
            else:
                waiting = waiting[self.size :]
        return vectors

    def _halve(self, tried: int, error: Exception) -> None:
        if not is_out_of_memory(error):
            raise error
        if tried == 1:
            raise InputError(
                "one input does not fit into memory; take shorter segments, or a smaller model"
            ) from error
        self.size = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether a model failed for lack of memory, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in FULL)
