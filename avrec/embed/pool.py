"""From vectors of segments to one vector an item and encoder, over the whole catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avrec.arrays import Idx, Vectors, unit
from avrec.errors import ArtifactError
from avrec.schema import EMBEDDINGS, conform
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of the items from their media and texts.

    `modalities` maps an encoder (name@revision) to unit vectors of shape (num_items, dim), one row
    a catalogue row; a row of zeros is an item that the encoder saw nothing of.
    """

    items: Vocabulary
    modalities: Mapping[str, Vectors]

    def joined(self) -> Vectors:
        """One vector an item, shape (num_items, sum of the dims), unit rows.

        The modalities that an item has weigh alike, so the dot product of two items that have the
        same ones is the mean of their cosines.
        """
        if not self.modalities:
            return np.zeros((len(self.items), 0), np.float32)
        parts = [self.modalities[name] for name in sorted(self.modalities)]
        return unit(np.concatenate(parts, axis=1))


def pool(embeddings: pa.Table, items: Vocabulary) -> Content:
    """Average EMBEDDINGS over segments, standardise each dimension, and scale rows to length 1.

    Mean and spread of a dimension are taken over the items that have it. A dimension that all
    share says nothing and is zero; a catalogue of one keeps its vector as it is. Rows of items
    outside the catalogue are left out.

    Raises:
        ArtifactError: vectors of one encoder differ in length.
    """
    table = conform(embeddings, EMBEDDINGS)
    names = table["encoder"].unique().sort().to_pylist()
    return Content(items, {name: _pooled(table, name, items) for name in names})


def save(content: Content, draft: Draft) -> None:
    """Write `content.safetensors` and `content.json`."""
    draft.add_tensors("content.safetensors", content.modalities)
    draft.add_json(
        "content.json",
        {
            "items": content.items.digest,
            "modalities": {name: rows.shape[1] for name, rows in content.modalities.items()},
        },
    )


def load(artifact: Artifact, items: Vocabulary) -> Content:
    """Read what `save` wrote.

    Raises:
        ArtifactError: it belongs to another catalogue.
    """
    if artifact.json("content.json")["items"] != items.digest:
        raise ArtifactError(
            f"{artifact.place.path} belongs to another catalogue; run the job embed again"
        )
    return Content(items, artifact.tensors("content.safetensors"))


def _pooled(table: pa.Table, encoder: str, items: Vocabulary) -> Vectors:
    mine = table.filter(pa.compute.equal(table["encoder"], encoder))
    rows = items.idx(mine["item_id"])
    means, has = _means(_matrix(mine["vector"], encoder), rows, len(items))
    pooled = np.zeros_like(means)
    pooled[has] = _standardised(means[has])
    return unit(pooled)


def _matrix(vectors: pa.ChunkedArray, encoder: str) -> Vectors:
    lengths = pa.compute.list_value_length(vectors)
    dims = lengths.unique().to_pylist()
    if len(dims) != 1:
        raise ArtifactError(f"vectors of {encoder} have lengths {sorted(dims)}; embed again")
    flat = pa.compute.list_flatten(vectors).to_numpy()
    return flat.reshape(-1, dims[0]).astype(np.float32, copy=False)


def _means(vectors: Vectors, rows: Idx, num_items: int) -> tuple[Vectors, np.ndarray]:
    known = rows >= 0
    counts = np.bincount(rows[known], minlength=num_items)
    sums = np.zeros((num_items, vectors.shape[1]), np.float64)
    np.add.at(sums, rows[known], vectors[known])
    return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts > 0


def _standardised(vectors: Vectors) -> Vectors:
    if len(vectors) < 2:  # noqa: PLR2004 -- one item has no spread
        return vectors
    spread = vectors.std(axis=0)
    centred = vectors - vectors.mean(axis=0)
    told = spread > 1e-6 * (np.abs(vectors).max(axis=0) + 1e-12)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=told)
