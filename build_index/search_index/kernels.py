"""Looking into lists of 8-bit codes, in the processor's own vectors.

A product of a code and a factor is an integer, so sums of them are exact: what is found for the same factors depends
neither on the queries beside them nor on the processor. Eight rows are multiplied with 16 or 32 queries at a time, four
values in one instruction where the processor has it (VNNI), and compared while their sums are in registers: nothing is
written for the rows that are too low, which are nearly all.

Rows are told apart in two steps. The directions stand in the order of their variance, so the first of them say most
about a product; only a row whose first part is high enough for its query is multiplied with the rest.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled, instruction, pointer

ROWS, LANES = 8, 16
"""Rows that are multiplied at a time, and queries in one vector."""

BYTES_AT_ONCE = 64

FEW_BLOCKS = 8
"""Blocks that are added without a loop: with a loop for four, looking took a tenth longer."""

ROW_BITS = 38
"""A key holds a product in its upper 26 bits and a row in its lower 38."""

NOBODY = np.int32(np.iinfo(np.int32).max)
"""A threshold that no product exceeds."""


class Stored(NamedTuple):
    """Lists where they lie.

    Attributes:
        codes: int64 [lists], address of the codes, uint8 [rows, d].
        rows: int64 [lists], address of the rows' numbers, int64 [rows].
        sizes: int64 [lists], rows in each.
        width: d.
    """

    codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    width: int


class Asked(NamedTuple):
    """Queries, and what each looks into.

    Attributes:
        factors: int8 [n, d], multiplied with codes; with zeros behind them up to a multiple of four.
        first: int32 [n], what the sum over the first directions must exceed.
        least: int32 [n], what the sum over all directions must exceed.
        queries: int32 [o], the queries that look into the first list, the second, and so on.
        starts: int64 [lists + 1], where a list's queries begin.
    """

    factors: NDArray[np.int8]
    first: NDArray[np.int32]
    least: NDArray[np.int32]
    queries: NDArray[np.int32]
    starts: NDArray[np.int64]


# --- in registers ----------------------------------------------------------------------------------------------------

_INT8, _INT16, _INT32, _INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_SUMS, _BYTES = ir.VectorType(_INT32, LANES), ir.VectorType(_INT8, BYTES_AT_ONCE)
_NONE = ir.Constant(_SUMS, [0] * LANES)


def _declared(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def _load(builder: Any, address: Any, kind: Any) -> Any:
    """From an address that need not be a multiple of anything."""
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 1
    return loaded


def _load_bytes(builder: Any, address: Any, count: Any = None) -> Any:
    """BYTES_AT_ONCE of them, or only the first ones, and zeros behind these; what lies there is not touched."""
    if count is None:
        return _load(builder, address, _BYTES)
    start, places = builder.inttoptr(address, _BYTES.as_pointer()), ir.Constant(_BYTES, list(range(BYTES_AT_ONCE)))
    one = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), builder.trunc(count, _INT8), _INT32(0))
    every = ir.Constant(ir.VectorType(_INT32, BYTES_AT_ONCE), [0] * BYTES_AT_ONCE)
    wanted = builder.icmp_unsigned("<", places, builder.shuffle_vector(one, one, every))
    kinds = [start.type, _INT32, wanted.type, _BYTES]
    load = _declared(builder, f"llvm.masked.load.v{BYTES_AT_ONCE}i8.p0", _BYTES, kinds)
    return builder.call(load, [start, _INT32(1), wanted, ir.Constant(_BYTES, [0] * BYTES_AT_ONCE)])


def _spread(builder: Any, value: Any) -> Any:
    """int32 -> int32 [LANES]."""
    nothing = ir.Constant(_SUMS, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(nothing, value, _INT32(0)), nothing, _NONE)


def _plus_products(context: Any, builder: Any, sums: Any, codes: Any, factors: Any) -> Any:
    """sums[l] + codes[4 l] factors[4 l] + ... + codes[4 l + 3] factors[4 l + 3]; codes without a sign, factors with."""
    if "+avx512vnni" in context.codegen().magic_tuple()[2]:
        add = _declared(builder, "llvm.x86.avx512.vpdpbusd.512", _SUMS, [_SUMS] * 3)
        return builder.call(add, [sums, builder.bitcast(codes, _SUMS), builder.bitcast(factors, _SUMS)])
    nothing = ir.Constant(_BYTES, ir.Undefined)
    for place in range(4):
        every = ir.Constant(_SUMS, [4 * lane + place for lane in range(LANES)])
        code = builder.zext(builder.shuffle_vector(codes, nothing, every), _SUMS)
        factor = builder.sext(builder.shuffle_vector(factors, nothing, every), _SUMS)
        sums = builder.add(sums, builder.mul(code, factor))
    return sums


def _tile(context: Any, builder: Any, arguments: list[Any], vectors: int) -> list[list[Any]]:
    """Sums of ROWS rows with `vectors` vectors of queries: codes and their stride, packed factors and their steps."""
    codes, stride, factors, steps = arguments
    places = [[cgutils.alloca_once_value(builder, _NONE) for _ in range(vectors)] for _ in range(ROWS)]
    with cgutils.for_range(builder, steps) as loop:
        of_vector = [builder.add(builder.mul(steps, _INT64(vector)), loop.index) for vector in range(vectors)]
        starts = [builder.add(factors, builder.mul(each, _INT64(BYTES_AT_ONCE))) for each in of_vector]
        lanes = [_load(builder, start, _BYTES) for start in starts]
        column = builder.add(codes, builder.mul(loop.index, _INT64(4)))
        for row, sums in enumerate(places):
            four = _load(builder, builder.add(column, builder.mul(stride, _INT64(row))), _INT32)
            same = builder.bitcast(_spread(builder, four), _BYTES)
            for place, factor in zip(sums, lanes, strict=True):
                builder.store(_plus_products(context, builder, builder.load(place), same, factor), place)
    return [[builder.load(place) for place in sums] for sums in places]


def _above(vectors: int) -> Any:
    """An instruction: which sums of ROWS rows exceed what their queries ask for, a bit each, uint32 [ROWS]."""

    @instruction
    def above(_: Any, codes: Any, stride: Any, factors: Any, steps: Any, least: Any, hits: Any) -> Any:
        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            *tile, least, hits = arguments
            starts = [builder.add(least, _INT64(vector * 4 * LANES)) for vector in range(vectors)]
            bounds = [_load(builder, start, _SUMS) for start in starts]
            for row, sums in enumerate(_tile(context, builder, tile, vectors)):
                bits = _INT32(0)
                for vector, (each, bound) in enumerate(zip(sums, bounds, strict=True)):
                    mask = builder.bitcast(builder.icmp_signed(">", each, bound), _INT16)
                    bits = builder.or_(bits, builder.shl(builder.zext(mask, _INT32), _INT32(LANES * vector)))
                builder.store(bits, builder.inttoptr(builder.add(hits, _INT64(4 * row)), _INT32.as_pointer()))
            return context.get_dummy_value()

        return types.void(*_TILE, types.intp, types.intp), emit

    return above


_TILE = (types.intp,) * 4
_above_one, _above_two = _above(1), _above(2)


@instruction
def _highest(_: Any, codes: Any, stride: Any, factors: Any, steps: Any, out: Any) -> Any:
    """The highest sum of ROWS rows for each query of a vector, int32 [LANES]."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        *tile, out = arguments
        (highest,), *others = _tile(context, builder, tile, 1)
        for (each,) in others:
            highest = builder.select(builder.icmp_signed(">", each, highest), each, highest)
        builder.store(highest, builder.inttoptr(out, _SUMS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(*_TILE, types.intp), emit


@instruction
def _product(_: Any, codes: Any, factors: Any, length: Any) -> Any:
    """The sum of products of one row and one query, int32; arrays would be counted as in use, which takes longer."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        codes, factors, length = arguments
        place = cgutils.alloca_once_value(builder, _NONE)

        def add_block(offset: Any, count: Any = None) -> None:
            some = [_load_bytes(builder, builder.add(start, offset), count) for start in (codes, factors)]
            builder.store(_plus_products(context, builder, builder.load(place), *some), place)

        done = builder.append_basic_block("done")
        for number in range(FEW_BLOCKS):
            following = builder.append_basic_block("block")
            enough = builder.icmp_signed(">=", length, _INT64((number + 1) * BYTES_AT_ONCE))
            builder.cbranch(enough, following, done)
            builder.position_at_end(following)
            add_block(_INT64(number * BYTES_AT_ONCE))
        builder.branch(done)
        builder.position_at_end(done)
        whole = builder.and_(length, _INT64(-BYTES_AT_ONCE))
        more = _INT64(FEW_BLOCKS * BYTES_AT_ONCE)
        with cgutils.for_range_slice(builder, more, whole, _INT64(BYTES_AT_ONCE)) as (offset, _):
            add_block(offset)
        rest = builder.sub(length, whole)
        with builder.if_then(builder.icmp_signed(">", rest, _INT64(0)), likely=False):
            add_block(whole, rest)
        add = _declared(builder, f"llvm.vector.reduce.add.v{LANES}i32", _INT32, [_SUMS])
        return builder.call(add, [builder.load(place)])

    return types.int32(types.intp, types.intp, types.intp), emit


@instruction
def _lowest_bit(_: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; there must be one."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        return builder.zext(builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1)), _INT64)

    return types.intp(types.uint32), emit


# --- functions of arrays ---------------------------------------------------------------------------------------------


@compiled
def _at(array: NDArray[Any]) -> Any:
    """Its address, with a sign: what is added to a number without one is made a float."""
    return np.int64(array.ctypes.data)


@compiled
def _packed(factors: NDArray[np.int8], queries: NDArray[np.int32], steps: int) -> NDArray[np.int32]:
    """Factors as tiles read them, four of each query of a vector side by side: int32 [vectors, steps, LANES]."""
    fours = factors.view(np.int32)
    packed = np.zeros((-(-len(queries) // LANES), steps, LANES), np.int32)
    for place in range(len(queries)):
        vector, lane = packed[place // LANES], place % LANES
        for step in range(steps):
            vector[step, lane] = fours[queries[place], step]
    return packed


@compiled
def products(codes: NDArray[np.uint8], factors: NDArray[np.int8]) -> NDArray[np.int32]:
    """All products of rows and queries, one by one: uint8 [n, d] and int8 [m, d] -> int32 [m, n]."""
    out = np.empty((len(factors), len(codes)), np.int32)
    length, wide = codes.shape[1], factors.shape[1]
    for query in range(len(factors)):
        for row in range(len(codes)):
            out[query, row] = _product(_at(codes) + row * length, _at(factors) + query * wide, length)
    return out


@compiled
def turned(queries: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products float32 [n, D] and [d, D] -> [n, d], one by one: a matrix product rounds by the neighbours."""
    out = np.empty((len(queries), len(directions)), np.float32)
    for number in range(len(queries)):
        for direction in range(len(directions)):
            total = np.float32(0)
            for place in range(queries.shape[1]):
                total += queries[number, place] * directions[direction, place]
            out[number, direction] = total
    return out


@compiled
def highest_of_blocks(codes: NDArray[np.uint8], factors: NDArray[np.int8]) -> NDArray[np.int32]:
    """The highest product of every ROWS rows, without the last directions that are no multiple of 4.

    Args:
        codes: uint8 [n, d], contiguous; rows after the last whole block are left out.
        factors: int8 [m, d], with zeros behind them up to a multiple of four.

    Returns:
        int32 [m, n // ROWS].
    """
    steps, blocks = codes.shape[1] // 4, len(codes) // ROWS
    packed = _packed(factors, np.arange(len(factors)).astype(np.int32), steps)
    out, sums = np.empty((len(factors), blocks), np.int32), np.empty(LANES, np.int32)
    for block in range(blocks):
        rows = _at(codes[block * ROWS :])
        for vector in range(len(packed)):
            _highest(rows, codes.shape[1], _at(packed[vector]), steps, _at(sums))
            for lane in range(min(LANES, len(factors) - vector * LANES)):
                out[vector * LANES + lane, block] = sums[lane]
    return out


@compiled
def _keep(asked: Asked, bits: Any, lane: int, row: tuple[int, int, int], found: tuple[Any, Any], count: Any) -> Any:
    """Multiply a row with the queries whose bits are set, and note it where the product is high enough.

    Args:
        asked: the queries.
        bits: which queries, the lowest bit for the one at `lane`.
        lane: a place in `asked.queries`.
        row: address of the codes, how many they are, and the row's number.
        found: what is filled.
        count: how much of it is.
    """
    (codes, length, number), (queries, keys) = row, found
    while bits:
        query = asked.queries[lane + _lowest_bit(bits)]
        bits &= np.uint32(bits - np.uint32(1))
        product = _product(codes, _at(asked.factors) + query * asked.factors.shape[1], length)
        queries[count], keys[count] = query, np.int64(product) * -(1 << ROW_BITS) + number
        count += np.int64(product > asked.least[query])  # instead of a jump that no processor foresees
    return count


@compiled
def _thresholds(asked: Asked, mine: NDArray[np.int32]) -> NDArray[np.int32]:
    """What each lane's query asks of the first directions: int32 [vectors * LANES], `NOBODY` behind the last."""
    least = np.full(-(-len(mine) // LANES) * LANES, NOBODY, np.int32)
    for place in range(len(mine)):
        least[place] = asked.first[mine[place]]
    return least


@compiled
def _copy(start: int, count: int, places: NDArray[np.uint8]) -> None:
    """So many bytes from an address on. An assignment to a slice takes seconds to compile."""
    some = numba.carray(pointer(start), (count,), np.uint8)
    for place in range(count):
        places[place] = some[place]


@compiled
def _look_into(
    stored: Stored, asked: Asked, steps: int, place: tuple[int, int], found: tuple[Any, Any], count: int
) -> tuple[int, int]:
    """One list from a row on, until there may be no room for what is found: what is found by then, and the next row."""
    number, first = place
    start, stop = asked.starts[number], asked.starts[number + 1]
    mine = asked.queries[start:stop]
    packed, least, hits = _packed(asked.factors, mine, steps), _thresholds(asked, mine), np.empty(ROWS, np.uint32)
    codes, rows, size, width = stored.codes[number], stored.rows[number], stored.sizes[number], stored.width
    numbers = numba.carray(pointer(rows), (size,), np.int64)
    last = np.zeros(ROWS * width, np.uint8)
    for top in range(first, size, ROWS):
        here = min(ROWS, size - top)
        if count + here * len(mine) >= len(found[0]):
            return count, top
        tile = codes + top * width
        if here < ROWS:
            _copy(tile, here * width, last)
            tile = _at(last)
        for vector in range(0, len(packed), 2):
            factors = _at(packed) + vector * steps * BYTES_AT_ONCE
            bounds = _at(least) + vector * 4 * LANES
            if vector + 1 < len(packed):
                _above_two(tile, width, factors, steps, bounds, _at(hits))
            else:
                _above_one(tile, width, factors, steps, bounds, _at(hits))
            for row in range(here):
                if hits[row]:
                    one = tile + row * width, width, numbers[top + row]
                    count = _keep(asked, hits[row], start + vector * LANES, one, found, count)
    return count, size


@compiled
def look(
    stored: Stored,
    asked: Asked,
    steps: int,
    numbers: NDArray[np.int64],
    place: tuple[int, int],
    found: tuple[NDArray[np.int32], NDArray[np.int64]],
) -> tuple[int, tuple[int, int]]:
    """Find the rows of some lists whose products are high enough, as far as there is room for them.

    Args:
        stored: all lists.
        asked: the queries.
        steps: fours of directions that are looked at first.
        numbers: int64 [l], the lists to look into.
        place: where to begin, a place in `numbers` and a row of that list.
        found: int32 [f] and int64 [f], filled with queries and keys; room for ROWS rows of every query and one more.

    Returns:
        How many were found, and where to go on; at l if this is all.
    """
    count: Any = np.int64(0)  # a plain 0 is a type of its own to Numba, and all would be compiled twice
    number, row = place
    while number < len(numbers):
        one = numbers[number]
        if asked.starts[one] < asked.starts[one + 1]:
            count, row = _look_into(stored, asked, steps, (one, row), found, count)
            if row < stored.sizes[one]:
                return count, (number, row)
        number, row = number + 1, 0
    return count, (number, row)
