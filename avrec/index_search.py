"""Exact top-k of many queries, by the kernels of `avrec.index_kernels`, block by block."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from avrec.arrays import Array, Idx, Mask, Scores, Values, Vectors
from avrec.index_kernels import (
    GROUP,
    QUERIES_PER_BLOCK,
    TILE,
    Asked,
    Catalogue,
    Scratch,
    search,
    unpacked,
)
from avrec.interactions import Histories

EPSILON = 2.0**-23


def search_all(
    queries: Vectors,
    items: Vectors,
    k: int,
    exclude: Histories | None,
    listable: Mask,
    *,
    threads: int,
) -> tuple[Idx, Scores]:
    """Find lists of length `k` as `avrec.index.top_k` does; blocks go to whichever thread is free.

    Beside the lists, memory is a copy of the items and, a thread, `QUERIES_PER_BLOCK` times
    2 k + TILE keys and num_items / 8 bytes.
    """
    return search_in(catalogue(items, listable), queries, k, exclude, threads=threads)


def search_in(
    catalogue: Catalogue, queries: Vectors, k: int, exclude: Histories | None, *, threads: int
) -> tuple[Idx, Scores]:
    """Find lists of length `k` in a catalogue that is ready, which may be used by many at once."""
    asked = _asked(queries, exclude)
    idx = np.empty((len(queries), k), np.int32)
    scores = np.empty((len(queries), k), np.float32)
    waiting = iter(range(0, len(queries), QUERIES_PER_BLOCK))

    def work(_: int) -> None:
        scratch = _scratch(catalogue, k, min(len(queries), QUERIES_PER_BLOCK))
        for first in waiting:
            last = min(first + QUERIES_PER_BLOCK, len(queries))
            search(catalogue, asked, first, last, k, scratch)
            keys = np.sort(scratch.keys[: last - first, :k], axis=1)
            idx[first:last], scores[first:last] = unpacked(keys)

    if threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    return idx, scores


def catalogue(items: Vectors, listable: Mask) -> Catalogue:
    """Make items ready: a copy of those that can be listed, in the order of the search."""
    rows = np.flatnonzero(listable).astype(np.int32)
    lengths = _lengths(items)[rows]
    order = np.argsort(-lengths, kind="stable")
    num_tiles = -(-len(rows) // TILE)
    rows = np.pad(rows[order], (0, num_tiles * TILE - len(rows)), constant_values=-1)
    places = np.full(len(items) + 1, -1, np.int32)
    places[rows] = np.arange(len(rows), dtype=np.int32)
    tiles = items[rows]
    tiles[rows < 0] = 0
    tiles = tiles.reshape(num_tiles, TILE, items.shape[1]).transpose(0, 2, 1)
    return Catalogue(
        tiles=_frozen(tiles, np.float32).reshape(-1),
        rows=_frozen(rows, np.int32),
        places=_frozen(places[:-1], np.int32),
        reach=_frozen(lengths[order][::TILE], np.float64),
        dim=items.shape[1],
    )


def _asked(queries: Vectors, exclude: Histories | None) -> Asked:
    num_queries, dim = queries.shape
    return Asked(
        queries=_frozen(queries, np.float32).reshape(-1),
        lengths=_frozen(_lengths(queries) * (1 + (dim + 8) * EPSILON), np.float64),
        offsets=_frozen(
            np.zeros(num_queries + 1) if exclude is None else exclude.offsets, np.int64
        ),
        barred=_frozen(np.empty(0) if exclude is None else exclude.items, np.int32),
    )


def _lengths(vectors: Vectors) -> Values:
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))


def _scratch(catalogue: Catalogue, k: int, num_queries: int) -> Scratch:
    """Make the memory of a thread that searches for lists of length `k`, so many at a time."""
    num_places, num_groups = len(catalogue.rows), -(-num_queries // GROUP)
    room = min(2 * k, max(k, num_places)) + TILE
    floors, scores = np.zeros(QUERIES_PER_BLOCK, np.float32), np.zeros(GROUP * TILE, np.float32)
    return Scratch(
        keys=np.empty((num_queries, room), np.int64),
        counts=np.zeros(QUERIES_PER_BLOCK, np.int64),
        packed=np.zeros(QUERIES_PER_BLOCK * catalogue.dim, np.float32),
        lengths=np.zeros(QUERIES_PER_BLOCK, np.float64),
        bars=np.zeros((num_groups, num_places), np.uint8),
        floors=floors,
        floor_bits=floors.view(np.int32),
        needed=np.zeros(num_groups, np.float64),
        scores=scores,
        score_bits=scores.view(np.int32),
        hits=np.zeros(GROUP, np.int64),
    )


def _frozen(array: Array, dtype: type[np.generic]) -> Array:
    """A contiguous view that cannot be written: one type, and so one compilation, for all."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view
