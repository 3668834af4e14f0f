"""Scores and choice in one pass, for `avrec.index`: no score is written that cannot be listed.

Eight queries meet 48 items at a time, a *tile*, whose sums stay in registers. A score below the
query's *floor*, the k-th best so far, goes no further. Items come by falling length, so floors rise
soon, and a group of queries is done when length times length cannot reach its floors.

A listed pair is one integer, its *key*: the score's bits, arranged so that the best comes first,
above the item row. So the order of keys is the order of lists, ties included, and what is found
does not depend on the order of the search. A score is summed in the order of dims, alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from avrec.arrays import Array, Idx, Offsets, Scores, Values, Vector

Kernel = TypeVar("Kernel", bound=Callable[..., object])

LANES, GROUP, PANELS = 16, 8, 3
TILE = LANES * PANELS
QUERIES_PER_BLOCK = 64
FLOATS_NEAR = 1 << 15
PADDING, HIDDEN = 0x7F80_0000_FFFF_FFFF, 0x7FFF_FFFF
SMALL, LARGE, LEAST = 1e-30, 1e30, np.finfo(np.float32).min

_INT = ir.IntType(64)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class Catalogue(NamedTuple):
    """Items by falling length, as tiles.

    `tiles` is flat, (num_tiles * dim * TILE,): of each tile the first dim of its items, the second,
    and so on. A *place* is a position in this order: `rows` gives the item row of a place, and
    `places` the place of a row, -1 if it is not listed. `reach` is the greatest length of a tile's
    items, in float64. Places beyond the last item hold zeros, and row -1.
    """

    tiles: Vector
    rows: Idx
    places: Idx
    reach: Values
    dim: int


class Asked(NamedTuple):
    """Queries, flat, their lengths with room for rounding, and the item rows each leaves out."""

    queries: Vector
    lengths: Values
    offsets: Offsets
    barred: Idx


class Scratch(NamedTuple):
    """Memory of one thread, for the queries of one block.

    `keys` (num_queries, room) holds the first `counts` keys of each query. `packed` holds
    the queries of each group side by side, zeros for those that have no list, whose `lengths` are 0
    too. A bit of `bars` (num_groups, num_places) is set where a query leaves an item out; all are
    clear between blocks. `needed` is the length that an item must have to be of use to a group.
    The integers named `bits` lie in the same memory as the floats.
    """

    keys: Array
    counts: Offsets
    packed: Vector
    lengths: Values
    bars: Array
    floors: Vector
    floor_bits: Idx
    needed: Values
    scores: Vector
    score_bits: Idx
    hits: Offsets


def kernel(function: Kernel) -> Kernel:
    """Compile on first use, free of the GIL, and keep the code on disk where that can be written.

    A kernel makes no arrays, so it counts no references to them (`_nrt`).
    """
    options = {"nogil": True, "_nrt": False}
    try:
        return cast("Kernel", njit(cache=True, **options)(function))
    except RuntimeError:  # no folder to keep it in
        return cast("Kernel", njit(**options)(function))


def unpacked(keys: Array) -> tuple[Idx, Scores]:
    """Item rows and scores of keys; `PADDING` is row -1 and score -inf."""
    upper = ~(keys >> 32).astype(np.int32)
    return keys.astype(np.int32), (upper ^ (upper >> 31 & HIDDEN)).view(np.float32)


@intrinsic
def score_tile(
    _: Any, queries: Any, items: Any, dim: Any, floors: Any, scores: Any, hits: Any
) -> Any:
    """Score the queries of a group for the items of a tile, and mark the scores at their floors.

    Arguments but `dim` are (array, offset). Query r's scores go to scores[r * TILE :], and bit n
    of hits[r] is set where its score of item n is at least floors[r]. Returns all hits as one.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pairs = zip(signature.args, args, strict=True)
        places = [_place(context, builder, kind, value) for kind, value in pairs]
        queries, items, dim, floors, scores, hits = places
        sums = _products(builder, queries, items, dim)
        every = _INT(0)
        for r in range(GROUP):
            floor, marks = _spread(builder, floors, r), _INT(0)
            for p in range(PANELS):
                score = builder.load(sums[r][p])
                _put(builder, score, scores, r * TILE + p * LANES)
                passed = builder.fcmp_ordered(">=", score, floor)
                bits = builder.zext(builder.bitcast(passed, ir.IntType(LANES)), _INT)
                marks = builder.or_(marks, builder.shl(bits, _INT(p * LANES)))
            builder.store(marks, builder.gep(hits, [_INT(r)]))
            every = builder.or_(every, marks)
        return every

    return types.int64(queries, items, dim, floors, scores, hits), emit


@intrinsic
def lowest_bit(_: Any, bits: Any) -> Any:
    """Number of the lowest bit that is set."""

    def emit(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(bits), emit


def _products(builder: Any, queries: Any, items: Any, dim: Any) -> list[list[Any]]:
    """Write the sums over dims, and give the variables that hold them."""
    zero = _VECTOR([0.0] * LANES)
    sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(PANELS)] for _ in range(GROUP)]
    with cgutils.for_range(builder, dim) as loop:
        across = builder.gep(items, [builder.mul(loop.index, _INT(TILE))])
        down = builder.gep(queries, [builder.mul(loop.index, _INT(GROUP))])
        panels = [_get(builder, across, p * LANES) for p in range(PANELS)]
        for r in range(GROUP):
            factor = _spread(builder, down, r)
            for total, panel in zip(sums[r], panels, strict=True):
                builder.store(_fma(builder, factor, panel, builder.load(total)), total)
    return sums


def _place(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Address of an (array, offset); a number as it is."""
    if not isinstance(kind, types.BaseTuple):
        return value
    array, offset = (builder.extract_value(value, n) for n in range(2))
    return builder.gep(context.make_array(kind[0])(context, builder, array).data, [offset])


def _get(builder: Any, place: Any, offset: int) -> Any:
    place = builder.bitcast(builder.gep(place, [_INT(offset)]), _VECTOR.as_pointer())
    return builder.load(place, align=4)


def _put(builder: Any, vector: Any, place: Any, offset: int) -> None:
    place = builder.bitcast(builder.gep(place, [_INT(offset)]), _VECTOR.as_pointer())
    builder.store(vector, place, align=4)


def _spread(builder: Any, place: Any, offset: int) -> Any:
    """The float at an address, in all lanes."""
    one, flag = builder.load(builder.gep(place, [_INT(offset)])), ir.IntType(32)
    first = builder.insert_element(_VECTOR(ir.Undefined), one, flag(0))
    return builder.shuffle_vector(first, first, ir.VectorType(flag, LANES)([flag(0)] * LANES))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """The value of a b + c, rounded once where the machine can."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@kernel
def search(
    catalogue: Catalogue, asked: Asked, first: int, last: int, k: int, scratch: Scratch
) -> None:
    """Leave the k best keys of queries [first, last) in scratch.keys[:, :k], in any order."""
    _begin(catalogue, asked, first, last, scratch)
    _bar(catalogue, asked, first, last, scratch, clear=False)
    num_tiles = len(catalogue.reach)
    near = max(1, FLOATS_NEAR // max(1, catalogue.dim * TILE))
    num_groups = (last - first + GROUP - 1) // GROUP
    for start in range(0, num_tiles, near):
        for group in range(num_groups):
            for tile in range(start, min(start + near, num_tiles)):
                if catalogue.reach[tile] < scratch.needed[group]:
                    break
                _meet(catalogue, group, tile, k, scratch)
    _bar(catalogue, asked, first, last, scratch, clear=True)
    for query in range(last - first):
        if scratch.counts[query] > k:
            _shorten(scratch.keys, query, scratch.counts[query], k)
        for n in range(scratch.counts[query], k):
            scratch.keys[query, n] = PADDING


@kernel
def _begin(catalogue: Catalogue, asked: Asked, first: int, last: int, scratch: Scratch) -> None:
    dim = catalogue.dim
    scratch.needed[:] = np.inf
    scratch.counts[:] = 0
    for place in range(QUERIES_PER_BLOCK):
        group, r, query = place // GROUP, place % GROUP, first + place
        is_asked = query < last and asked.lengths[query] > 0
        scratch.lengths[place] = asked.lengths[query] if is_asked else 0
        scratch.floors[place] = LEAST if is_asked else np.inf
        if is_asked:
            scratch.needed[group] = -1
        for k in range(dim):
            value = asked.queries[query * dim + k] if is_asked else np.float32(0)
            scratch.packed[(group * dim + k) * GROUP + r] = value


@kernel
def _bar(
    catalogue: Catalogue, asked: Asked, first: int, last: int, scratch: Scratch, clear: bool
) -> None:
    """Set, or clear, the bars of what the queries leave out."""
    for query in range(first, last):
        group, bit = (query - first) // GROUP, 1 << (query - first) % GROUP
        for n in range(asked.offsets[query], asked.offsets[query + 1]):
            row = asked.barred[n]
            place = catalogue.places[row] if 0 <= row < len(catalogue.places) else -1
            if place >= 0:
                scratch.bars[group, place] = 0 if clear else scratch.bars[group, place] | bit


@kernel
def _meet(catalogue: Catalogue, group: int, tile: int, k: int, scratch: Scratch) -> None:
    """Score a group for a tile, and keep the keys of scores at their floors."""
    dim, start = catalogue.dim, group * GROUP
    if not score_tile(
        (scratch.packed, start * dim),
        (catalogue.tiles, tile * TILE * dim),
        dim,
        (scratch.floors, start),
        (scratch.scores, 0),
        (scratch.hits, 0),
    ):
        return
    for r in range(GROUP):
        hits, count = scratch.hits[r], scratch.counts[start + r]
        while hits:
            n = lowest_bit(hits)
            hits &= hits - 1
            place = tile * TILE + n
            row = catalogue.rows[place]
            bits = np.int64(scratch.score_bits[r * TILE + n])
            scratch.keys[start + r, count] = ~(bits ^ (bits >> 63 & HIDDEN)) << 32 | row
            count += row >= 0 and not scratch.bars[group, place] >> r & 1
        scratch.counts[start + r] = count
        if count > scratch.keys.shape[1] - TILE:
            _raise_floor(start + r, k, scratch)


@kernel
def _raise_floor(query: int, k: int, scratch: Scratch) -> None:
    """Keep the k best keys of a query, and say what its group needs from now on."""
    upper = ~(_shorten(scratch.keys, query, scratch.counts[query], k) >> 32)
    scratch.counts[query] = k
    scratch.floor_bits[query] = upper ^ (upper >> 63 & HIDDEN)
    group, needed = query // GROUP, np.inf
    for other in range(group * GROUP, (group + 1) * GROUP):
        floor, length = scratch.floors[other], scratch.lengths[other]
        if length > 0:
            needed = min(needed, floor / length) if SMALL < floor < LARGE else -1.0
    scratch.needed[group] = needed


@kernel
def _shorten(keys: Array, query: int, count: int, k: int) -> int:
    """Put the k first of the `count` keys of a query in front, the k-th of them last; return it."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        a, b, c = keys[query, low], keys[query, middle], keys[query, high]
        pivot = max(min(a, b), min(max(a, b), c))
        chosen = low if pivot == a else middle if pivot == b else high
        keys[query, chosen] = c
        edge = low
        for n in range(low, high):
            key = keys[query, n]
            keys[query, n] = keys[query, edge]
            keys[query, edge] = key
            edge += key < pivot
        keys[query, high] = keys[query, edge]
        keys[query, edge] = pivot
        if edge < k:
            low = edge + 1
        if edge >= k - 1:
            high = edge - 1
    return keys[query, k - 1]
