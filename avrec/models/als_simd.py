"""Inner loops of the ALS kernels, on vectors of sixteen floats.

Compilers seldom find vectors in a loop over a few rows, or keep a tile of sums in registers. So
the loops that take nearly all the time are given to LLVM as vector instructions. They run
wherever LLVM does; where registers are shorter than sixteen floats, a vector takes several.

Arrays are flat float32. A *spot* is a tuple (array, offset) or (array, offset, stride), counted in
floats. A *row* is a multiple of `LANES` floats. A *panel* is `LANES` columns of a matrix, row below
row, so that walking down it reads memory in order. Rows, or panels, lie `stride` floats apart.
Sums run in the order of the rows, whatever the shape of the tile that holds them.

Numba's cache looks at the file of a kernel alone: whoever changes this one touches the others.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
GROUP = 8
TILE_HEIGHT = 8
SMALL = 2.0**-60

_INT, _FLAG = ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_QUARTERS = range(0, LANES, 4)
_FOLDS = (
    [[n + k for n in _QUARTERS for k in ks] for ks in ((0, 16, 1, 17), (2, 18, 3, 19))],
    [[n + k for n in _QUARTERS for k in ks] for ks in ((0, 1, 16, 17), (2, 3, 18, 19))],
    [[*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]],
)
_LAST_FOLD = [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]


@intrinsic
def dots(_: Any, rows: Any, width: Any, vector: Any, out: Any) -> Any:
    """Multiply `GROUP` rows by a vector of `width` floats: out[:GROUP] = rows @ vector."""

    def emit(write: "_Writer", rows: "_Spot", width: Any, vector: "_Spot", out: "_Spot") -> None:
        sums = [write.variable(_VECTOR([0.0] * LANES)) for _ in range(GROUP)]
        with write.steps(width) as k:
            factor = write.load(vector.at(k))
            for j, total in enumerate(sums):
                write.add_product(total, write.load(rows.at(k, block=j)), factor)
        write.store(write.across([write.value(total) for total in sums]), out.at())

    return types.void(rows, width, vector, out), _generator(emit)


@intrinsic
def dot(_: Any, a: Any, b: Any, width: Any) -> Any:
    """Multiply two vectors of `width` floats."""

    def emit(write: "_Writer", a: "_Spot", b: "_Spot", width: Any) -> Any:
        total = write.variable(_VECTOR([0.0] * LANES))
        with write.steps(width) as k:
            write.add_product(total, write.load(a.at(k)), write.load(b.at(k)))
        return write.fold(write.value(total))

    return types.float32(a, b, width), _generator(emit)


@intrinsic
def add_rows(_: Any, rows: Any, width: Any, factors: Any, out: Any) -> Any:
    """Add `GROUP` rows, each times its factor: out[:width] += factors[:GROUP] @ rows."""

    def emit(write: "_Writer", rows: "_Spot", width: Any, factors: "_Spot", out: "_Spot") -> None:
        each = [write.spread(factors.at(j)) for j in range(GROUP)]
        half = GROUP // 2
        with write.steps(width) as k:
            pieces = [write.load(rows.at(k, block=j)) for j in range(GROUP)]
            left, right = write.load(out.at(k)), write.product(pieces[half], each[half])
            for j in range(half):
                left = write.fma(pieces[j], each[j], left)
            for j in range(half + 1, GROUP):
                right = write.fma(pieces[j], each[j], right)
            write.store(write.sum(left, right), out.at(k))

    return types.void(rows, width, factors, out), _generator(emit)


@intrinsic
def copy(_: Any, source: Any, count: Any, out: Any) -> Any:
    """out[:count] = source[:count], for a multiple of `LANES`."""

    def emit(write: "_Writer", source: "_Spot", count: Any, out: "_Spot") -> None:
        with write.steps(count) as k:
            write.store(write.load(source.at(k)), out.at(k))

    return types.void(source, count, out), _generator(emit)


@intrinsic
def fetch(_: Any, source: Any, count: Any) -> Any:
    """Ask for `count` floats to be brought near, one cache line after another."""

    def emit(write: "_Writer", source: "_Spot", count: Any) -> None:
        with write.steps(count) as k:
            write.prefetch(source.at(k))

    return types.void(source, count), _generator(emit)


@intrinsic
def spread_panels(_: Any, row: Any, width: Any, factor: Any, plain: Any, scaled: Any) -> Any:
    """Write a row across panels, as it is and times factor[0]."""

    def emit(write: "_Writer", row: "_Spot", width: Any, *spots: "_Spot") -> None:
        factor, plain, scaled = spots
        each = write.spread(factor.at())
        with write.steps(width) as k:
            piece, panel = write.load(row.at(k)), write.shift(k)
            write.store(piece, plain.at(block=panel))
            write.store(write.product(piece, each), scaled.at(block=panel))

    return types.void(row, width, factor, plain, scaled), _generator(emit)


def _tile(height: int, panels: int, *, sign: int = 1, left_step: int = LANES) -> Any:
    """Make the update of a tile of `height` rows and `panels` panels."""

    @intrinsic
    def tile(_: Any, out: Any, left: Any, right: Any, count: Any) -> Any:
        def emit(write: "_Writer", out: "_Spot", left: "_Spot", right: "_Spot", count: Any) -> None:
            places = [out.at(r * LANES, block=q) for r in range(height) for q in range(panels)]
            sums = [write.variable(write.load(place)) for place in places]
            with write.steps(count, 1) as i:
                down = write.times(i, LANES)
                pieces = [write.load(right.at(down, block=q)) for q in range(panels)]
                for r in range(height):
                    factor = write.spread(left.at(write.times(i, left_step), r), sign)
                    for q in range(panels):
                        write.add_product(sums[r * panels + q], factor, pieces[q])
            for total, place in zip(sums, places, strict=True):
                write.store(write.value(total), place)

        return types.void(out, left, right, count), _generator(emit)

    return tile


# out[r, panel q] += sum over i < count of left[i, r] right[i, panel q]
add_tile1, add_tile2, add_tile3 = (_tile(TILE_HEIGHT, panels) for panels in (1, 2, 3))
take_tile1, take_tile2, take_tile3 = (_tile(TILE_HEIGHT, panels, sign=-1) for panels in (1, 2, 3))
# out[panel q] += sum over i < count of left[i] right[i, panel q]
add_line1, add_line4 = (_tile(1, panels, left_step=1) for panels in (1, 4))
take_line1 = _tile(1, 1, sign=-1, left_step=1)


@intrinsic
def split_triangle(_: Any, triangle: Any, inverses: Any, target: Any) -> Any:
    """Factor the `LANES` rows of a panel that hold a symmetric A: T^T T = A, T upper.

    T takes the place of A, of which the lower half is not read. inverses[:LANES] get one over the
    diagonal of T, and target[:LANES] the solution of T^T y = target. A pivot below `SMALL` counts
    as `SMALL`.
    """

    def emit(write: "_Writer", triangle: "_Spot", inverses: "_Spot", target: "_Spot") -> None:
        rows = [write.load(triangle.at(r * LANES)) for r in range(LANES)]
        right = write.load(target.at())
        for r in range(LANES):
            inverse = write.inverse_root(write.pick(rows[r], r))
            write.put(inverse, inverses.at(r))
            rows[r] = write.product(rows[r], write.fill(inverse))
            write.store(rows[r], triangle.at(r * LANES))
            value = write.builder.fmul(write.pick(right, r), inverse)
            write.put(value, target.at(r))
            right = write.fma(write.fill(value, -1), rows[r], right)
            for t in range(r + 1, LANES):
                factor = write.fill(write.pick(rows[r], t), -1)
                rows[t] = write.fma(factor, rows[r], rows[t])

    return types.void(triangle, inverses, target), _generator(emit)


@intrinsic
def undo_triangle(_: Any, triangle: Any, inverses: Any, target: Any) -> Any:
    """Solve T x = target[:LANES] in place; T and its inverses as `split_triangle` left them."""

    def emit(write: "_Writer", triangle: "_Spot", inverses: "_Spot", target: "_Spot") -> None:
        values = [write.get(target.at(r)) for r in range(LANES)]
        for r in reversed(range(LANES)):
            values[r] = write.builder.fmul(values[r], write.get(inverses.at(r)))
            write.put(values[r], target.at(r))
            for c in range(r):
                part = write.builder.fmul(values[r], write.get(triangle.at(c * LANES + r)))
                values[c] = write.builder.fsub(values[c], part)

    return types.void(triangle, inverses, target), _generator(emit)


@intrinsic
def divide_panel(_: Any, panel: Any, triangle: Any, inverses: Any) -> Any:
    """Solve T^T X = P in place, for `LANES` rows P of a panel; T as `split_triangle` left it."""

    def emit(write: "_Writer", panel: "_Spot", triangle: "_Spot", inverses: "_Spot") -> None:
        rows = [write.load(panel.at(r * LANES)) for r in range(LANES)]
        for r in range(LANES):
            rows[r] = write.product(rows[r], write.spread(inverses.at(r)))
            write.store(rows[r], panel.at(r * LANES))
            for t in range(r + 1, LANES):
                factor = write.spread(triangle.at(r * LANES + t), -1)
                rows[t] = write.fma(factor, rows[r], rows[t])

    return types.void(panel, triangle, inverses), _generator(emit)


class _Spot:
    """A place in an array, and the distance between the blocks that follow it."""

    def __init__(self, builder: Any, first: Any, stride: Any) -> None:
        self.builder, self.first, self.stride = builder, first, stride

    def at(self, *offsets: Any, block: Any = 0) -> Any:
        """Address some floats, and some blocks, further."""
        pointer = self.first
        if block != 0:
            pointer = self.builder.gep(pointer, [self.builder.mul(self.stride, _int(block))])
        for offset in offsets:
            pointer = self.builder.gep(pointer, [_int(offset)])
        return pointer


class _Writer:
    """Writes instructions on vectors at one place of a function."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def argument(self, kind: Any, value: Any) -> Any:
        """A tuple as a spot, a number as it is."""
        if not isinstance(kind, types.BaseTuple):
            return value
        array, offset, *stride = (self.builder.extract_value(value, n) for n in range(len(kind)))
        floats = self.context.make_array(kind[0])(self.context, self.builder, array).data
        first = self.builder.gep(floats, [offset])
        return _Spot(self.builder, first, stride[0] if stride else None)

    @contextmanager
    def steps(self, stop: Any, step: int = LANES) -> Iterator[Any]:
        """A loop over range(0, stop, step)."""
        with cgutils.for_range_slice(self.builder, _INT(0), stop, _INT(step), _INT) as (index, _):
            yield index

    def times(self, value: Any, factor: int) -> Any:
        """Product of integers."""
        return self.builder.mul(value, _INT(factor))

    def shift(self, floats: Any) -> Any:
        """Number of whole vectors in some floats."""
        return self.builder.sdiv(floats, _INT(LANES))

    def get(self, pointer: Any) -> Any:
        """The float that lies at an address."""
        return self.builder.load(pointer)

    def put(self, value: Any, pointer: Any) -> None:
        """Put a float at an address."""
        self.builder.store(value, pointer)

    def load(self, pointer: Any) -> Any:
        """The vector that lies at an address."""
        return self.builder.load(self.builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)

    def store(self, vector: Any, pointer: Any) -> None:
        """Put a vector at an address."""
        place = self.builder.bitcast(pointer, vector.type.as_pointer())
        self.builder.store(vector, place, align=4)

    def prefetch(self, pointer: Any) -> None:
        """Ask for the line that holds an address, to read it and keep it."""
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _FLAG, _FLAG, _FLAG])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0")
        line = self.builder.bitcast(pointer, byte)
        self.builder.call(function, [line, _FLAG(0), _FLAG(3), _FLAG(1)])

    def variable(self, vector: Any) -> Any:
        """A variable, which LLVM will keep in a register."""
        variable = cgutils.alloca_once(self.builder, _VECTOR)
        self.builder.store(vector, variable)
        return variable

    def value(self, variable: Any) -> Any:
        """What a variable holds."""
        return self.builder.load(variable)

    def add_product(self, variable: Any, a: Any, b: Any) -> None:
        """Variable += a b."""
        self.builder.store(self.fma(a, b, self.builder.load(variable)), variable)

    def spread(self, pointer: Any, sign: int = 1) -> Any:
        """The float at an address, in all lanes."""
        return self.fill(self.get(pointer), sign)

    def fill(self, one: Any, sign: int = 1) -> Any:
        """One float in all lanes, negated where the sign is -1."""
        first = self.builder.insert_element(_VECTOR(ir.Undefined), one, _FLAG(0))
        vector = self.shuffle(first, first, [0] * LANES)
        return vector if sign > 0 else self.builder.fneg(vector)

    def pick(self, vector: Any, lane: int) -> Any:
        """The float of one lane."""
        return self.builder.extract_element(vector, _FLAG(lane))

    def inverse_root(self, value: Any) -> Any:
        """One over the square root of a float that is at least `SMALL`."""
        small = ir.FloatType()(SMALL)
        is_less = self.builder.fcmp_ordered("<", value, small)
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        root = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.sqrt.f32")
        above = self.builder.select(is_less, small, value)
        return self.builder.fdiv(ir.FloatType()(1.0), self.builder.call(root, [above]))

    def shuffle(self, a: Any, b: Any, lanes: Sequence[int]) -> Any:
        """Lanes of `a`, then of `b`, by number."""
        mask = ir.VectorType(_FLAG, len(lanes))([_FLAG(n) for n in lanes])
        return self.builder.shuffle_vector(a, b, mask)

    def sum(self, a: Any, b: Any) -> Any:
        """The sum a + b."""
        return self.builder.fadd(a, b)

    def product(self, a: Any, b: Any) -> Any:
        """The product a b."""
        return self.builder.fmul(a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """The value of a b + c, rounded once where the machine can."""
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{LANES}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [a, b, c])

    def fold(self, vector: Any) -> Any:
        """Sum a vector over its lanes, by halves."""
        size = LANES
        while size > 1:
            size //= 2
            upper = self.shuffle(vector, vector, range(size, 2 * size))
            vector = self.sum(self.shuffle(vector, vector, range(size)), upper)
        return self.pick(vector, 0)

    def across(self, vectors: Sequence[Any]) -> Any:
        """Sum each of eight vectors over its lanes: a vector of eight."""
        for low, high in _FOLDS:
            vectors = [
                self.sum(self.shuffle(a, b, low), self.shuffle(a, b, high))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        (last,) = vectors
        return self.sum(*(self.shuffle(last, last, lanes) for lanes in _LAST_FOLD))


def _generator(emit: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a writer of instructions into what Numba calls to generate code."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write = _Writer(context, builder)
        result = emit(write, *map(write.argument, signature.args, args))
        return context.get_dummy_value() if result is None else result

    return generate


def _int(value: Any) -> Any:
    return _INT(value) if isinstance(value, int) else value
