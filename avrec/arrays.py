"""Names for the arrays that flow through avrec.

Shapes are said in the docstrings of the functions that take them. `Idx` holds rows of a
vocabulary, with -1 for an unknown id. `Micros` holds UTC instants as microseconds.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]
Idx = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int8]
Offsets = npt.NDArray[np.int64]
Micros = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Frame = npt.NDArray[np.uint8]
Waveform = npt.NDArray[np.float32]
Array = npt.NDArray[Any]


def distinct(numbers: Array) -> Array:
    """Different ones of integers at least 0, ascending; `np.unique` hashes, and is slower."""
    ordered = np.sort(numbers)
    return ordered[np.diff(ordered, prepend=-1) > 0]


def unit(vectors: Vectors) -> Vectors:
    """Scale each row to length 1; a row of zeros stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
