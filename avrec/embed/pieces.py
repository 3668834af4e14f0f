"""The segments of an item dealt into a few pieces, each pooled as the whole item is."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from avrec.arrays import Idx, Vectors
from avrec.embed.pool import Content, Sums, by_encoder
from avrec.errors import ArtifactError

MIXING = np.uint64(2_654_435_761)
"""Knuth's multiplicative hash: moments near one another fall far apart."""


def pieces(parts: Iterable[pa.Table], content: Content, num_pieces: int) -> dict[str, Vectors]:
    """Pool EMBEDDINGS, a part at a time.

    Returns:
        Of each encoder of `content` (num_items, num_pieces, dim): unit means of the segments of a
        piece, standardised as the content is; zeros for a piece without a segment.

    Raises:
        ArtifactError: vectors of one encoder differ in length, or nothing says how the content was
            standardised.
    """
    num_rows = len(content.items) * num_pieces
    sums: dict[str, Sums] = {}
    for part in parts:
        for encoder, vectors, rows in by_encoder(part):
            mine = sums.setdefault(encoder, Sums.of(num_rows, vectors.shape[1]))
            item = content.items.idx(rows["item_id"]).astype(np.int64)
            piece = _piece(rows["start_seconds"], num_pieces)
            mine.add(vectors, np.where(item < 0, -1, item * num_pieces + piece), encoder)
    return {
        name: _scaled(sums[name], content, name).reshape(len(content.items), num_pieces, -1)
        for name in sorted(sums)
        if name in content.modalities
    }


def _scaled(sums: Sums, content: Content, encoder: str) -> Vectors:
    if encoder not in content.scales:
        raise ArtifactError(f"nothing says how {encoder} was standardised; embed again")
    return content.scales[encoder].standardised(sums.means())


def _piece(start_seconds: pa.ChunkedArray, num_pieces: int) -> Idx:
    """A piece that depends on the moment alone, any as likely as another."""
    moments = np.round(1000 * start_seconds.to_numpy()).astype(np.uint64)
    return ((moments * MIXING >> np.uint64(16)) % np.uint64(num_pieces)).astype(np.int32)
