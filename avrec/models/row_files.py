"""Files of a checkpoint that hold some rows each of what no worker holds whole.

    rows-<start>-<stop>.safetensors   rows [start, stop) of a table and of its moments

Each worker writes its own; any number of workers may go on from them, each reading what it needs.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import safetensors.torch
import torch
from torch import Tensor

PREFIX, SUFFIX = "rows-", ".safetensors"


def file_name(rows: range) -> str:
    """Name of the file of a checkpoint that has these rows."""
    return f"{PREFIX}{rows.start:012}-{rows.stop:012}{SUFFIX}"


def spans(files: Mapping[str, bytes]) -> list[range]:
    """Rows of each such file, in order; none where no table was sharded."""
    names = sorted(name for name in files if name.startswith(PREFIX))
    bounds = (name.removeprefix(PREFIX).removesuffix(SUFFIX).split("-") for name in names)
    return [range(int(start), int(stop)) for start, stop in bounds]


def read_rows(files: Mapping[str, bytes], rows: range) -> dict[str, Tensor]:
    """Some rows of every tensor in such files, one file at a time; numbers as they are.

    Of no rows there are tensors without any.
    """
    found: defaultdict[str, list[Tensor]] = defaultdict(list)
    for span in spans(files):
        inside = range(max(span.start, rows.start), min(span.stop, rows.stop))
        if inside or (not rows and span.start == 0):
            for name, part in _cut(files[file_name(span)], span, inside):
                found[name].append(part)
    return {name: torch.cat(parts) if parts[0].dim() else parts[0] for name, parts in found.items()}


def _cut(content: bytes, span: range, inside: range) -> Iterator[tuple[str, Tensor]]:
    part = slice(inside.start - span.start, inside.stop - span.start)
    for name, tensor in safetensors.torch.load(content).items():
        yield name, tensor[part].clone() if tensor.dim() else tensor
