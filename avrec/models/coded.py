"""Item vectors in fewer bytes, and the lists that they still give.

    int8      v ~ s c        whole numbers c in [-127, 127] and one scale s a row
    product   v ~ R' [p_1, ..., p_m]   each part of a turned row is the nearest of 256 centroids

The first takes dim + 4 bytes a row. The second takes one byte a part (Jégou, Douze and Schmid,
PAMI 2011), and the rotation R is learned with the centroids, so that the parts share what there is
to tell (Ge et al., CVPR 2013). A row of zeros, which is an item that is not known, stays one.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from avrec.arrays import Array, Mask, Vectors
from avrec.errors import ArtifactError
from avrec.factors import Factors, Retriever
from avrec.index import TopK, top_k
from avrec.interactions import Histories
from avrec.store import Artifact, Draft
from avrec.vocab import Vocabulary

CENTROIDS = 256
ROWS_PER_BLOCK = 16_384
FULL_CODE = 127


class Coded(Protocol):
    """Vectors in fewer bytes."""

    def __len__(self) -> int: ...

    @property
    def num_bytes(self) -> int:
        """Bytes that it all takes, what rows share included."""
        ...

    def vectors(self, rows: slice) -> Vectors:
        """What the codes of some rows stand for, shape (num_rows, dim)."""
        ...

    def tensors(self) -> dict[str, Array]:
        """Arrays that say it all."""
        ...


@dataclass(frozen=True, slots=True)
class Int8:
    """Codes (n, dim) int8, and the scale of each row (n,) float32."""

    codes: Array
    scales: Vectors

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_bytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def vectors(self, rows: slice) -> Vectors:
        """What the codes of some rows stand for."""
        return self.codes[rows] * self.scales[rows, None]

    def tensors(self) -> dict[str, Array]:
        """Arrays that say it all."""
        return {"codes": self.codes, "scales": self.scales}


def int8(vectors: Vectors) -> Int8:
    """Round each row to whole numbers of the 127th part of its largest entry."""
    scales = (np.abs(vectors).max(axis=1, initial=0) / FULL_CODE).astype(np.float32)
    parts = np.divide(
        vectors, scales[:, None], out=np.zeros_like(vectors), where=scales[:, None] > 0
    )
    return Int8(np.rint(parts).astype(np.int8), scales)


@dataclass(frozen=True, slots=True)
class Product:
    """Codes (n, parts) uint8, centroids (parts, k, width), rotation (dim, parts * width), known."""

    codes: Array
    centroids: Vectors
    rotation: Vectors
    known: Mask

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def num_bytes(self) -> int:
        """Bytes of codes, centroids, rotation and what is known."""
        return sum(array.nbytes for array in self.tensors().values())

    def vectors(self, rows: slice) -> Vectors:
        """What the codes of some rows stand for."""
        turned = _looked_up(self.codes[rows], self.centroids)
        return np.asarray(turned @ self.rotation.T * self.known[rows, None], np.float32)

    def tensors(self) -> dict[str, Array]:
        """Arrays that say it all."""
        known = self.known.astype(np.uint8)
        shared = {"centroids": self.centroids, "rotation": self.rotation}
        return {"codes": self.codes, "known": known, **shared}


def product(
    vectors: Vectors, num_parts: int, *, rng: np.random.Generator, rounds: int = 12
) -> Product:
    """Learn rotation and centroids, and code the rows.

    Args:
        vectors: shape (n, dim).
        num_parts: bytes a row; divides the dim.
        rng: draws the first centroids.
        rounds: of improving centroids, and then the rotation.

    Raises:
        ValueError: the dim cannot be cut into so many parts.
    """
    dim = vectors.shape[1]
    if num_parts < 1 or dim % num_parts:
        raise ValueError(f"num_parts must divide the dim {dim}, got {num_parts}")
    known = np.asarray(vectors.any(axis=1))
    X = vectors[known]
    rotation = _even(X, num_parts)
    centroids = _drawn(X @ rotation, num_parts, rng)
    for _ in range(rounds):
        turned = X @ rotation
        codes = _nearest(turned, centroids)
        centroids = _means(turned, codes, centroids)
        left, _, right = np.linalg.svd(X.T @ _looked_up(codes, centroids), full_matrices=False)
        rotation = left @ right
    codes = np.zeros((len(vectors), num_parts), np.uint8)
    codes[known] = _nearest(X @ rotation, centroids)
    return Product(codes, centroids, rotation.astype(np.float32), known)


def save(coded: Coded, draft: Draft, name: str) -> None:
    """Write `NAME.safetensors`."""
    draft.add_tensors(f"{name}.safetensors", coded.tensors())


def load(artifact: Artifact, name: str) -> Coded:
    """Read what `save` wrote.

    Raises:
        ArtifactError: the file is absent, altered, or holds no codes.
    """
    tensors = artifact.tensors(f"{name}.safetensors")
    if tensors.keys() == {"codes", "scales"}:
        return Int8(**tensors)
    if tensors.keys() == {"codes", "centroids", "rotation", "known"}:
        return Product(**{**tensors, "known": tensors["known"].astype(bool)})
    raise ArtifactError(f"{name}.safetensors of {artifact.place.path} holds no coded vectors")


class CodedLister:
    """A model's lists from coded item vectors, of which a block at a time is ever made.

    Args:
        model: gives the queries' vectors.
        coded: its items' vectors.
    """

    def __init__(self, model: Retriever, coded: Coded) -> None:
        self.name, self._model, self.coded = model.name, model, coded

    def lists(self, histories: Histories, k: int, exclude: Histories | None = None) -> TopK:
        """Find the items of the highest dot product."""
        queries = self._model.user_vectors(histories)
        best = TopK(np.empty((len(queries), 0), np.int32), np.empty((len(queries), 0), np.float32))
        for start, stop in pairwise([*range(0, len(self.coded), ROWS_PER_BLOCK), len(self.coded)]):
            barred = None if exclude is None else _within(exclude, start, stop)
            found = top_k(queries, self.coded.vectors(slice(start, stop)), k, barred)
            best = _merged(
                best, TopK(np.where(found.idx < 0, -1, found.idx + start), found.scores), k
            )
        return best


def standing_for(coded: Coded, items: Vocabulary) -> Factors:
    """All vectors that the codes stand for."""
    return Factors(items, coded.vectors(slice(None)))


def _even(X: Vectors, num_parts: int) -> Vectors:
    """Turn to principal axes, dealt out so that the parts' spreads have like products."""
    values, axes = np.linalg.eigh(X.T @ X)
    spread = np.log(np.maximum(values, np.finfo(np.float32).tiny))
    width = len(values) // num_parts
    dealt: list[list[int]] = [[] for _ in range(num_parts)]
    for axis in np.argsort(-spread):
        room = [part for part in dealt if len(part) < width]
        min(room, key=lambda part: sum(spread[part])).append(int(axis))
    return np.asarray(axes[:, np.concatenate(dealt)], np.float32)


def _drawn(turned: Vectors, num_parts: int, rng: np.random.Generator) -> Vectors:
    """Some rows as first centroids; one of zeros where there are no rows."""
    some = rng.permutation(len(turned))[:CENTROIDS]
    rows = turned[some] if len(turned) else np.zeros((1, turned.shape[1]), np.float32)
    return np.ascontiguousarray(rows.reshape(len(rows), num_parts, -1).swapaxes(0, 1))


def _nearest(turned: Vectors, centroids: Vectors) -> Array:
    """The centroid nearest to each part, shape (n, parts)."""
    codes = np.empty((len(turned), len(centroids)), np.uint8)
    width = centroids.shape[2]
    for part, points in enumerate(centroids):
        mine = turned[:, part * width : (part + 1) * width]
        codes[:, part] = ((points**2).sum(axis=1) - 2 * mine @ points.T).argmin(axis=1)
    return codes


def _means(turned: Vectors, codes: Array, centroids: Vectors) -> Vectors:
    """Means of the rows by centroid; one that no row is near stays."""
    better, width = centroids.copy(), centroids.shape[2]
    for part, mine in enumerate(codes.T):
        sums = np.zeros(centroids.shape[1:], np.float32)
        np.add.at(sums, mine, turned[:, part * width : (part + 1) * width])
        counts = np.bincount(mine, minlength=len(sums))
        better[part, counts > 0] = sums[counts > 0] / counts[counts > 0, None]
    return better


def _looked_up(codes: Array, centroids: Vectors) -> Vectors:
    parts = [points[mine] for points, mine in zip(centroids, codes.T, strict=True)]
    return np.concatenate(parts, axis=1)


def _within(rows: Histories, start: int, stop: int) -> Histories:
    """Entries in [start, stop), counted from `start`."""
    some = rows.only((rows.items >= start) & (rows.items < stop))
    return Histories(some.offsets, (some.items - start).astype(np.int32), some.weights, some.at)


def _merged(best: TopK, found: TopK, k: int) -> TopK:
    """The first `k` of two lists a query; of equal scores those of `best` come first."""
    idx = np.concatenate([best.idx, found.idx], axis=1)
    scores = np.concatenate([best.scores, found.scores], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return TopK(np.take_along_axis(idx, order, axis=1), np.take_along_axis(scores, order, axis=1))
