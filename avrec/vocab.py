"""Dense row numbers for external ids."""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx

FEW = 16
"""Up to so many ids are looked up one by one."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Ids in sorted order; an id's place in that order is its idx.

    Two vocabularies built from the same ids are equal whatever the order or the
    chunking they came in, so every worker numbers the rows alike.
    """

    ids: pa.StringArray

    @classmethod
    def of(cls, ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> Self:
        """Number the distinct ids of a column; nulls are left out."""
        distinct = pc.unique(_strings(ids)).drop_null()
        return cls(distinct.take(pc.sort_indices(distinct)))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """Fingerprint of the ids; arrays saved beside it belong to this vocabulary only."""
        text = "\0".join(self.ids.to_pylist())
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def idx(self, ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> Idx:
        """Look up row numbers; an unknown id gives -1."""
        column = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
        if len(column) <= FEW:
            return np.array([self._place(value) for value in column.to_pylist()], np.int32)
        found = pc.fill_null(pc.index_in(column, value_set=self.ids), -1)
        return np.asarray(found.to_numpy(), dtype=np.int32)

    def _place(self, value: str | None) -> int:
        """Find one id by bisection, so that a request does not hash the whole vocabulary."""
        if value is None:
            return -1
        place = bisect_left(self.ids, value, key=lambda scalar: scalar.as_py())
        return place if place < len(self.ids) and self.ids[place].as_py() == value else -1

    def id_of(self, idx: Idx) -> pa.StringArray:
        """Ids at the given rows, in the given order."""
        return self.ids.take(pa.array(idx, pa.int32()))


def _strings(ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> pa.Array | pa.ChunkedArray:
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        return ids.cast(pa.string())
    return pa.array(ids, pa.string())
