"""Safetensors files written as a stream, so that nothing is copied whole.

8 bytes       length of the header
the header    JSON: of each tensor its dtype, shape and bytes [start, stop)
the tensors   one after the other, those of wide numbers first, so that all are aligned
"""

import json
from collections.abc import Iterator, Mapping

import numpy as np

from avrec.arrays import Array

KINDS = {"f": "F", "i": "I", "u": "U"}
PIECE_BYTES = 1 << 24


def streamed(tensors: Mapping[str, Array]) -> Iterator[bytes]:
    """Bytes of a file that holds `tensors`, a piece at a time."""
    ordered = sorted(tensors.items(), key=lambda one: (-one[1].itemsize, one[0]))
    header, start = {}, 0
    for name, tensor in ordered:
        span = [start, start + tensor.nbytes]
        header[name] = {"dtype": _dtype(tensor), "shape": tensor.shape, "data_offsets": span}
        start = span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        flat = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
        for start in range(0, len(flat), PIECE_BYTES):
            yield flat[start : start + PIECE_BYTES].tobytes()


def _dtype(tensor: Array) -> str:
    if tensor.dtype == bool:
        return "BOOL"
    return f"{KINDS[tensor.dtype.kind]}{8 * tensor.itemsize}"
