"""From vectors of segments to one vector an item and encoder, over the whole catalogue."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from avrec.arrays import Array, Idx, Vector, Vectors, unit
from avrec.errors import ArtifactError
from avrec.schema import EMBEDDINGS, conform
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

SCALES = "content.scales.safetensors"
ENCODING = "content.encoding.json"
"""Beside pooled content: how it was embedded, sections `[embed]` and `[media.limits]`."""
FORM = "2"
"""Goes up when what is written of the same embeddings changes."""


class Scale(NamedTuple):
    """How means of one encoder are standardised; an infinite spread gives zeros."""

    mean: Vector
    spread: Vector

    @classmethod
    def of(cls, means: Vectors) -> Self:
        """Measure means; a dimension that all share says nothing, and one row has no spread."""
        if len(means) < 2:  # noqa: PLR2004
            return cls(np.zeros(means.shape[1], np.float32), np.ones(means.shape[1], np.float32))
        spread = means.std(axis=0)
        told = spread > 1e-6 * (np.abs(means).max(axis=0) + 1e-12)
        return cls(means.mean(axis=0), np.where(told, spread, np.float32(np.inf)))

    def standardised(self, means: Vectors) -> Vectors:
        """Standardise means, which may be of items made a moment ago; unit rows, zeros stay."""
        has = means.any(axis=1)
        vectors = np.zeros_like(means)
        vectors[has] = (means[has] - self.mean) / self.spread
        return unit(vectors)


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of the items from their media and texts.

    `modalities` maps an encoder (name@revision) to unit vectors of shape (num_items, dim), one row
    a catalogue row; a row of zeros is an item that the encoder saw nothing of. `scales` says how
    they were standardised, for items to come.
    """

    items: Vocabulary
    modalities: Mapping[str, Vectors]
    scales: Mapping[str, Scale] = field(default_factory=dict)

    def of(self, rows: Idx) -> "Content":
        """Content of some of the rows, ascending, as a catalogue of their own."""
        modalities = {name: vectors[rows] for name, vectors in self.modalities.items()}
        return Content(Vocabulary(self.items.id_of(rows)), modalities, self.scales)

    def joined(self) -> Vectors:
        """One vector an item, shape (num_items, sum of the dims), unit rows.

        The modalities that an item has weigh alike, so the dot product of two items that have the
        same ones is the mean of their cosines.
        """
        if not self.modalities:
            return np.zeros((len(self.items), 0), np.float32)
        parts = [self.modalities[name] for name in sorted(self.modalities)]
        return unit(np.concatenate(parts, axis=1))


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of one encoder's vectors by item, and how many there are of each."""

    sums: Array
    counts: Array

    @classmethod
    def of(cls, num_items: int, dim: int) -> Self:
        """Nothing yet."""
        return cls(np.zeros((num_items, dim), np.float64), np.zeros(num_items, np.int64))

    def add(self, vectors: Vectors, rows: Idx, encoder: str) -> None:
        """Add vectors to the rows that they belong to; -1 is no row."""
        if vectors.shape[1] != self.sums.shape[1]:
            dims = sorted((vectors.shape[1], self.sums.shape[1]))
            raise ArtifactError(f"vectors of {encoder} have lengths {dims}; embed again")
        known = rows >= 0
        np.add.at(self.sums, rows[known], vectors[known])
        np.add.at(self.counts, rows[known], 1)

    def means(self) -> Vectors:
        """Means; zeros where there is nothing."""
        return (self.sums / np.maximum(self.counts, 1)[:, None]).astype(np.float32)


def by_encoder(embeddings: pa.Table) -> Iterator[tuple[str, Vectors, pa.Table]]:
    """Cut EMBEDDINGS by encoder: its name, its vectors (n, dim), and the rows that they are of.

    Raises:
        ArtifactError: vectors of one encoder differ in length.
    """
    table = conform(embeddings, EMBEDDINGS)
    for encoder in table["encoder"].unique().sort().to_pylist():
        rows = table.filter(pa.compute.equal(table["encoder"], encoder))
        yield encoder, _matrix(rows["vector"], encoder), rows


class Pooling:
    """Means of segments, added up part by part, so that no more than a part is held."""

    def __init__(self, items: Vocabulary) -> None:
        self.items = items
        self._sums: dict[str, Sums] = {}

    def add(self, embeddings: pa.Table) -> None:
        """Add rows of EMBEDDINGS; those of items outside the catalogue are left out.

        Raises:
            ArtifactError: vectors of one encoder differ in length.
        """
        for encoder, vectors, rows in by_encoder(embeddings):
            sums = self._sums.setdefault(encoder, Sums.of(len(self.items), vectors.shape[1]))
            sums.add(vectors, self.items.idx(rows["item_id"]), encoder)

    def content(self) -> Content:
        """Means, standardised in each dimension, rows scaled to length 1.

        Mean and spread of a dimension are taken over the items that have it. A dimension that all
        share says nothing and is zero; a catalogue of one keeps its vector as it is.
        """
        means = {name: self._sums[name].means() for name in sorted(self._sums)}
        scales = {n: Scale.of(m[self._sums[n].counts > 0]) for n, m in means.items()}
        return Content(self.items, {n: scales[n].standardised(means[n]) for n in means}, scales)


def pool(embeddings: pa.Table, items: Vocabulary) -> Content:
    """Pool a whole table of EMBEDDINGS, as `Pooling` does part by part."""
    pooling = Pooling(items)
    pooling.add(embeddings)
    return pooling.content()


def save(content: Content, draft: Draft) -> None:
    """Write `content.safetensors`, `content.scales.safetensors` and `content.json`."""
    scales = {name: np.stack(scale) for name, scale in content.scales.items()}
    draft.add_tensors("content.safetensors", content.modalities)
    draft.add_tensors(SCALES, scales)
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
    scales = artifact.tensors(SCALES) if artifact.names(SCALES) else {}
    return Content(
        items,
        artifact.tensors("content.safetensors"),
        {name: Scale(*rows) for name, rows in scales.items()},
    )


def _matrix(vectors: pa.ChunkedArray, encoder: str) -> Vectors:
    lengths = pa.compute.list_value_length(vectors)
    dims = lengths.unique().to_pylist()
    if len(dims) != 1:
        raise ArtifactError(f"vectors of {encoder} have lengths {sorted(dims)}; embed again")
    flat = pa.compute.list_flatten(vectors).to_numpy()
    return flat.reshape(-1, dims[0]).astype(np.float32, copy=False)
