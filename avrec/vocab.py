"""Dense row numbers for external ids."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.arrays import Idx


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Ids in sorted order; an id's place in that order is its idx.

    Two vocabularies built from the same ids are equal whatever the order or the
    chunking they came in, so every worker numbers the rows alike.
    """

    ids: pa.StringArray

    @classmethod
    def of(cls, ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> Self:
        """Number the distinct ids of a column."""
        column = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string())
        distinct = pc.unique(column.cast(pa.string()))
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
        found = pc.fill_null(pc.index_in(column, value_set=self.ids), -1)
        return np.asarray(found.to_numpy(), dtype=np.int32)

    def id_of(self, idx: Idx) -> pa.StringArray:
        """Ids at the given rows, in the given order."""
        return self.ids.take(pa.array(idx, pa.int32()))
