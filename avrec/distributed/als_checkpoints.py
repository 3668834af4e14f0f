"""Checkpoints of an ALS fit: every worker's rows of both sides, written while the next epoch runs.

    <place>/00003-00000-of-00002.safetensors   after epoch 3, by the first of two workers

An epoch is saved when all of its files are there. They are written here and not by Ray Train,
whose report of one checkpoint takes longer than many an epoch. A worker ends the writing of one
epoch before it begins that of the next, so by the time it has written epoch n, every worker has
written n - 2: what is older is removed.
"""

import re
from concurrent.futures import Future, ThreadPoolExecutor  # noqa: TC003
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from pyarrow.fs import FileSelector

from avrec.arrays import Array, Vectors
from avrec.models.als_fit import Epoch, Parts
from avrec.models.als_parts import Collective, Part, gather_rows
from avrec.store import Place

KEPT = 3
NAME = re.compile(r"(\d+)-(\d+)-of-(\d+)\.safetensors")


class Saved(NamedTuple):
    """An epoch that is saved whole, and by how many workers."""

    number: int
    size: int


class Checkpoints:
    """One worker's way to the checkpoints of a run.

    Args:
        place: the same for every worker of every start of the run.
        parts: this worker's rows.
        group: the workers.
    """

    def __init__(self, place: Place, parts: Parts, group: Collective) -> None:
        self.place, self.parts, self.group = place, parts, group
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        place.filesystem.create_dir(place.path, recursive=True)

    def save(self, epoch: Epoch) -> None:
        """Begin to write this worker's rows; the arrays may change when this returns."""
        self.flush()
        content = safetensors.numpy.save(rows_of(epoch, self.parts))
        self._writing = self._thread.submit(self._write, epoch.number, content)

    def flush(self) -> None:
        """Wait until what was to be written is.

        Raises:
            OSError: it cannot be.
        """
        if self._writing is not None:
            self._writing.result()

    def latest(self, dim: int) -> Epoch | None:
        """Read this worker's rows of the last epoch saved, whoever wrote them; None without one."""
        found = self._saved() if self.group.rank == 0 else Saved(0, 0)
        number, size = gather_rows(np.array(found, np.float64), self.group)[0].astype(int).tolist()
        if not number:
            return None
        users, items = (np.zeros((p.stop - p.start, dim), np.float32) for p in self.parts)
        change = np.inf
        for rank in range(size):
            content = (self.place / _name(number, rank, size)).read()
            written = safetensors.numpy.load(content)
            first_user, first_item = written["starts"].tolist()
            _copy(written["users"], first_user, users, self.parts.users)
            _copy(written["items"], first_item, items, self.parts.items)
            change = float(written["change"][0])
        return Epoch(number, items, change, users)

    def _write(self, number: int, content: bytes) -> None:
        (self.place / _name(number, self.group.rank, self.group.size)).write(content)
        old = self.place / _name(number - KEPT, self.group.rank, self.group.size)
        if old.exists():
            old.filesystem.delete_file(old.path)

    def _saved(self) -> Saved:
        selector = FileSelector(self.place.path, allow_not_found=True)
        names = [one.base_name for one in self.place.filesystem.get_file_info(selector)]
        found: dict[Saved, int] = {}
        for name in filter(None, map(NAME.fullmatch, names)):
            epoch = Saved(int(name[1]), int(name[3]))
            found[epoch] = found.get(epoch, 0) + 1
        return max((one for one, files in found.items() if files == one.size), default=Saved(0, 0))


def rows_of(epoch: Epoch, parts: Parts) -> dict[str, Array]:
    """What a worker writes of an epoch: its rows, and where they begin."""
    assert epoch.users is not None
    return {
        "starts": np.array([parts.users.start, parts.items.start]),
        "epoch": np.array([epoch.number]),
        "change": np.array([epoch.change]),
        "users": epoch.users,
        "items": epoch.items,
    }


def _name(number: int, rank: int, size: int) -> str:
    return f"{number:05d}-{rank:05d}-of-{size:05d}.safetensors"


def _copy(written: Vectors, first: int, rows: Vectors, part: Part) -> None:
    """Take over those of some rows that are of a part."""
    a, b = max(first, part.start), min(first + len(written), part.stop)
    if a < b:
        rows[a - part.start : b - part.start] = written[a - first : b - first]
