"""Looking into lists of 8-bit codes, in the processor's own vectors.

A product of a code and a factor is an integer, so sums of them are exact: what is found for the same factors depends
neither on the queries beside them nor on the processor. Where it multiplies whole tiles (AMX), 16 rows are multiplied
with up to 64 queries at a time, 64 values each in one instruction; elsewhere eight rows with 16 or 32 queries, four
values in one instruction where there is one (VNNI). Sums are compared where they are: nothing is kept of the rows that
are too low, which are nearly all.

Rows are told apart in three steps. `look` multiplies all centroids with all queries and, where a product is high
enough, the rows of that list with that query, but only over the first directions: these stand in the order of their
variance, so the first say most about a product. What is still high enough is gathered, and `multiply_rows` multiplies
it over all directions.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled, has_tiles, instruction, pointer

ROWS, LANES = 16, 16
"""Rows that are multiplied at a time, and queries in one vector."""

HALF = 8
"""Rows whose sums stay in registers."""

VECTORS = 4
"""Vectors of queries that a tile of rows is multiplied with at a time; the processor has eight tiles."""

BYTES_AT_ONCE = 64

LEAST_TILE = 32
"""Bytes of a row that a tile must hold to be worth it."""

FEW_BLOCKS = 8
"""Blocks that are added without a loop: with a loop for four, looking took a tenth longer."""

AHEAD = ROWS
"""Rows of a list that are asked for before they are looked at."""

SOON = 16
"""Rows that looked good and are asked for before they are multiplied."""

ROW_BITS = 38
"""A key holds a product in its upper 26 bits and a row in its lower 38."""

PLACE_BITS = 16
"""A row of a tile stands above so many bits, which hold a query's place among those that are multiplied with it."""

NOBODY = np.int32(np.iinfo(np.int32).max)
"""A threshold that no product exceeds."""


class Stored(NamedTuple):
    """Lists where they lie.

    Attributes:
        centroids: uint8 [lists, w], w a multiple of four; lists a multiple of ROWS, the last ones empty.
        codes: int64 [lists], address of the codes of the first directions, uint8 [rows, first].
        rows: int64 [lists], address of the rows' numbers, int64 [rows].
        sizes: int64 [lists], rows in each.
        first: how many directions these are.
        values: address of the codes of all directions of all rows, uint8 [n, d].
        width: d.
        tiles: whether whole tiles are multiplied (`tiles_allowed`).
    """

    centroids: NDArray[np.uint8]
    codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    first: int
    values: int
    width: int
    tiles: bool


class Asked(NamedTuple):
    """Queries, and what they ask for.

    Attributes:
        near: int8 [n, w], multiplied with centroids.
        opened: int32 [n], what the product of a centroid must exceed for its list to be looked into.
        factors: int8 [n, d], multiplied with codes.
        first: int32 [n], what the sum over the first directions must exceed.
        least: int32 [n], what the sum over all directions must exceed.

    Both kinds of factors have zeros behind them, up to a multiple of `BYTES_AT_ONCE`.
    """

    near: NDArray[np.int8]
    opened: NDArray[np.int32]
    factors: NDArray[np.int8]
    first: NDArray[np.int32]
    least: NDArray[np.int32]


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
    """Sums of HALF rows with `vectors` vectors of queries.

    The arguments are codes and their stride, packed factors and how far apart their vectors begin, and steps.
    """
    codes, stride, factors, apart, steps = arguments
    places = [[cgutils.alloca_once_value(builder, _NONE) for _ in range(vectors)] for _ in range(HALF)]
    with cgutils.for_range(builder, steps) as loop:
        here = builder.add(factors, builder.mul(loop.index, _INT64(BYTES_AT_ONCE)))
        starts = [builder.add(here, builder.mul(apart, _INT64(vector))) for vector in range(vectors)]
        lanes = [_load(builder, start, _BYTES) for start in starts]
        column = builder.add(codes, builder.mul(loop.index, _INT64(4)))
        for row, sums in enumerate(places):
            four = _load(builder, builder.add(column, builder.mul(stride, _INT64(row))), _INT32)
            same = builder.bitcast(_spread(builder, four), _BYTES)
            for place, factor in zip(sums, lanes, strict=True):
                builder.store(_plus_products(context, builder, builder.load(place), same, factor), place)
    return [[builder.load(place) for place in sums] for sums in places]


def _above(vectors: int) -> Any:
    """An instruction: which sums of HALF rows exceed what their queries ask for.

    It writes 2^16 row + lane for each, int32, from `out` on, and gives where the next would go; what it writes behind
    that, less than a vector, means nothing. The first row and lane is `place`.
    """

    @instruction
    def above(  # noqa: PLR0913
        _: Any, codes: Any, stride: Any, factors: Any, apart: Any, steps: Any, least: Any, place: Any, out: Any
    ) -> Any:
        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            *tile, least, place, out = arguments
            starts = [builder.add(least, _INT64(vector * 4 * LANES)) for vector in range(vectors)]
            bounds = [_load(builder, start, _SUMS) for start in starts]
            first = _counted(builder, place)
            for row, sums in enumerate(_tile(context, builder, tile, vectors)):
                for vector, (each, bound) in enumerate(zip(sums, bounds, strict=True)):
                    here = _moved(builder, first, row, vector)
                    out = _write_where(context, builder, builder.icmp_signed(">", each, bound), here, out)
            return out

        return types.intp(*_TILE, types.intp, types.intp, types.intp), emit

    return above


def _counted(builder: Any, place: Any) -> Any:
    """The places of the lanes of a vector, from one on."""
    return builder.add(_spread(builder, builder.trunc(place, _INT32)), ir.Constant(_SUMS, list(range(LANES))))


def _moved(builder: Any, places: Any, row: int, vector: int = 0) -> Any:
    """Places of a later row, and of a later vector."""
    return builder.add(places, ir.Constant(_SUMS, [(row << PLACE_BITS) + LANES * vector] * LANES))


def _write_where(context: Any, builder: Any, mask: Any, values: Any, out: Any) -> Any:
    """The values where the mask is set, from an address on; where the next would go."""
    bits = builder.bitcast(mask, _INT16)
    start = builder.inttoptr(out, _SUMS.as_pointer())
    if "+avx512f" in context.codegen().magic_tuple()[2]:  # a whole vector at a time, what counts first
        compress = _declared(builder, f"llvm.x86.avx512.mask.compress.v{LANES}i32", _SUMS, [_SUMS, _SUMS, mask.type])
        builder.store(builder.call(compress, [values, _NONE, mask]), start).align = 4
    else:
        kinds = [_SUMS, start.type, mask.type]
        store = _declared(builder, f"llvm.masked.compressstore.v{LANES}i32", ir.VoidType(), kinds)
        with builder.if_then(builder.icmp_unsigned("!=", bits, _INT16(0)), likely=False):
            builder.call(store, [values, start, mask])
    count = builder.zext(builder.ctpop(bits), _INT64)
    return builder.add(out, builder.mul(count, _INT64(4)))


_TILE = (types.intp,) * 5
_above_one, _above_two = _above(1), _above(2)


@instruction
def _sums(_: Any, codes: Any, stride: Any, factors: Any, apart: Any, steps: Any, out: Any) -> Any:
    """The sums of HALF rows with one vector of queries: int32 [HALF, LANES]."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        *tile, out = arguments
        for row, (sums,) in enumerate(_tile(context, builder, tile, 1)):
            here = builder.add(out, _INT64(row * BYTES_AT_ONCE))
            builder.store(sums, builder.inttoptr(here, _SUMS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(*_TILE, types.intp), emit


@instruction
def _highest(_: Any, sums: Any, out: Any) -> Any:
    """The highest of HALF sums for each query of a vector: int32 [HALF, LANES] -> [LANES]."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        sums, out = arguments
        each = [_load(builder, builder.add(sums, _INT64(row * BYTES_AT_ONCE)), _SUMS) for row in range(HALF)]
        highest = each[0]
        for other in each[1:]:
            highest = builder.select(builder.icmp_signed(">", other, highest), other, highest)
        builder.store(highest, builder.inttoptr(out, _SUMS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit


@instruction
def _turn(_: Any, addresses: Any, offset: Any, out: Any) -> Any:
    """BYTES_AT_ONCE from each of LANES addresses and an offset, four bytes of each side by side: int32 [LANES, LANES].

    Squares of 1, 2, 4 and 8 change places with those across the diagonal.
    """

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        addresses, offset, out = arguments
        starts = [_load(builder, builder.add(addresses, _INT64(8 * lane)), _INT64) for lane in range(LANES)]
        rows = [_load(builder, builder.add(start, offset), _SUMS) for start in starts]
        for side in (1, 2, 4, 8):
            upper = [lane if not lane & side else LANES + lane - side for lane in range(LANES)]
            lower = [lane + side if not lane & side else LANES + lane for lane in range(LANES)]
            for row in range(LANES):
                if not row & side:
                    pair = rows[row], rows[row + side]
                    rows[row], rows[row + side] = (
                        builder.shuffle_vector(*pair, ir.Constant(_SUMS, places)) for places in (upper, lower)
                    )
        for lane, row in enumerate(rows):
            here = builder.add(out, _INT64(lane * BYTES_AT_ONCE))
            builder.store(row, builder.inttoptr(here, _SUMS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), emit


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
def _prefetch(_: Any, start: Any, length: Any) -> Any:
    """Ask for so many bytes before they are needed; nothing has to lie there."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        start, length = arguments
        address = ir.IntType(8).as_pointer()
        fetch = _declared(builder, "llvm.prefetch.p0", ir.VoidType(), [address, _INT32, _INT32, _INT32])
        with cgutils.for_range_slice(builder, _INT64(0), length, _INT64(BYTES_AT_ONCE)) as (offset, _):
            here = builder.inttoptr(builder.add(start, offset), address)
            builder.call(fetch, [here, _INT32(0), _INT32(3), _INT32(1)])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit


# --- in tiles --------------------------------------------------------------------------------------------------------


def _tiles(name: str, arguments: str) -> Any:
    """What emits one of the processor's instructions for tiles, or nothing where it has none.

    Args:
        name: of the instruction.
        arguments: "t" for each tile's number, "a" for an address, "n" for a number of bytes.
    """
    kinds = {"t": _INT8, "a": _INT8.as_pointer(), "n": _INT64}

    def emit(context: Any, builder: Any, *given: Any) -> None:
        if not has_tiles(context):
            return
        wanted = [kinds[each] for each in arguments]
        instruction = _declared(builder, f"llvm.x86.{name}", ir.VoidType(), wanted)
        builder.call(
            instruction,
            [
                kind(each) if isinstance(each, int) else builder.inttoptr(each, kind) if kind.is_pointer else each
                for kind, each in zip(wanted, given, strict=True)
            ],
        )

    return emit


_configure, _release, _zero = _tiles("ldtilecfg", "a"), _tiles("tilerelease", ""), _tiles("tilezero", "t")
_read, _write, _plus = _tiles("tileloadd64", "tan"), _tiles("tilestored64", "tan"), _tiles("tdpbusd", "ttt")


@instruction
def _begin_tiles(_: Any, shapes: Any) -> Any:
    """Set the shapes of the tiles, as `_shapes` has them; this thread has them until it releases them."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _configure(context, builder, *arguments)
        return context.get_dummy_value()

    return types.void(types.intp), emit


@instruction
def _end_tiles(_: Any) -> Any:
    def emit(context: Any, builder: Any, _: Any, __: list[Any]) -> Any:
        _release(context, builder)
        return context.get_dummy_value()

    return types.void(), emit


def _multiply_tiles(vectors: int) -> Any:
    """An instruction: the sums of ROWS rows with so many vectors of queries, int32 [vectors, ROWS, LANES]."""

    @instruction
    def multiply(  # noqa: PLR0913
        _: Any, codes: Any, stride: Any, factors: Any, apart: Any, block: Any, steps: Any, out: Any
    ) -> Any:
        """Codes in blocks of so many bytes, and factors as `_above` has them."""

        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            codes, stride, factors, apart, block, steps, out = arguments
            row = VECTORS  # the tile of codes; those of sums stand before it, and those of factors behind it
            for vector in range(vectors):
                _zero(context, builder, vector)
            with cgutils.for_range(builder, steps) as loop:
                column = builder.mul(loop.index, block)
                _read(context, builder, row, builder.add(codes, column), stride)
                here = builder.add(factors, builder.mul(column, _INT64(LANES)))
                for vector in range(vectors):
                    lanes = row + 1 + vector % (7 - row)
                    start = builder.add(here, builder.mul(apart, _INT64(vector)))
                    _read(context, builder, lanes, start, BYTES_AT_ONCE)
                    _plus(context, builder, vector, row, lanes)
            for vector in range(vectors):
                place = builder.add(out, _INT64(vector * ROWS * BYTES_AT_ONCE))
                _write(context, builder, vector, place, BYTES_AT_ONCE)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 7), emit

    return multiply


_multiply_one, _multiply_four = _multiply_tiles(1), _multiply_tiles(VECTORS)


@instruction
def _pick(_: Any, sums: Any, least: Any, place: Any, out: Any) -> Any:
    """Of the sums of ROWS rows with one vector of queries, what `_above` writes."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        sums, least, place, out = arguments
        bound, first = _load(builder, least, _SUMS), _counted(builder, place)
        for row in range(ROWS):
            each = _load(builder, builder.add(sums, _INT64(row * BYTES_AT_ONCE)), _SUMS)
            above = builder.icmp_signed(">", each, bound)
            out = _write_where(context, builder, above, _moved(builder, first, row), out)
        return out

    return types.intp(*(types.intp,) * 4), emit


# --- functions of arrays ---------------------------------------------------------------------------------------------


@compiled
def _at(array: NDArray[Any]) -> Any:
    """Its address, with a sign: what is added to a number without one is made a float."""
    return np.int64(array.ctypes.data)


@compiled
def _pack(factors: NDArray[np.int8], queries: NDArray[np.int32], steps: int, packed: NDArray[np.int32]) -> None:
    """Factors as tiles read them, four of each query of a vector side by side; behind the last query stands any.

    Args:
        factors: int8 [n, f], f a multiple of `BYTES_AT_ONCE`.
        queries: int32 [m], at least one.
        steps: fours that are wanted.
        packed: int32 [vectors, at least the steps, LANES], filled.
    """
    addresses, last = np.empty(LANES, np.int64), len(queries) - 1
    for vector in range(-(-len(queries) // LANES)):
        for lane in range(LANES):
            addresses[lane] = _at(factors) + queries[min(vector * LANES + lane, last)] * factors.shape[1]
        for block in range(-(-steps // LANES)):
            _turn(_at(addresses), block * BYTES_AT_ONCE, _at(packed[vector]) + block * LANES * BYTES_AT_ONCE)


@compiled
def _lines(count: int) -> NDArray[np.int32]:
    """Whole lines of the memory, int32 [count, LANES]: tiles are read in half the time from where these begin."""
    some = np.empty((count + 1) * LANES, np.int32)
    first = -_at(some) % BYTES_AT_ONCE // 4
    return some[first : first + count * LANES].reshape((count, LANES))


@compiled
def _room(queries: int, steps: int) -> NDArray[np.int32]:
    """For packed factors: int32 [vectors, the steps or a few more, LANES]."""
    vectors, fours = -(-queries // LANES), -(-steps // LANES) * LANES
    return _lines(vectors * fours).reshape((vectors, fours, LANES))


@compiled
def _packed(factors: NDArray[np.int8], steps: int) -> NDArray[np.int32]:
    """Those of all queries."""
    packed = _room(len(factors), steps)
    if len(factors):
        _pack(factors, np.arange(len(factors)).astype(np.int32), steps, packed)
    return packed


@compiled
def products(codes: NDArray[np.uint8], factors: NDArray[np.int8]) -> NDArray[np.int32]:
    """All products of rows and queries.

    Args:
        codes: uint8 [n, d], contiguous, n a multiple of ROWS and d of four.
        factors: int8 [m, d], with zeros behind them up to a multiple of `BYTES_AT_ONCE`.

    Returns:
        int32 [m, n].
    """
    steps = codes.shape[1] // 4
    packed, sums = _packed(factors, steps), np.empty((HALF, LANES), np.int32)
    out = np.empty((len(factors), len(codes)), np.int32)
    for top in range(0, len(codes), HALF):
        for vector in range(len(packed)):
            _sums(_at(codes[top:]), codes.shape[1], _at(packed[vector]), 0, steps, _at(sums))
            for lane in range(min(LANES, len(factors) - vector * LANES)):
                for row in range(HALF):
                    out[vector * LANES + lane, top + row] = sums[row, lane]
    return out


@compiled
def _shapes(steps: int, shapes: NDArray[np.uint8]) -> int:
    """The shapes of tiles of ROWS rows and of LANES queries, as the processor reads them: uint8 [64], filled.

    Args:
        steps: fours of directions.
        shapes: 1, and from byte 16 on the bytes in a line of each tile, two bytes each, from byte 48 on its lines.

    Returns:
        How many bytes of a row a tile holds: the most that divide all.
    """
    fours = min(steps, LANES)
    while steps % fours:
        fours -= 1
    shapes[0] = 1
    for tile in range(8):
        shapes[16 + 2 * tile] = 4 * fours if tile == VECTORS else BYTES_AT_ONCE
        shapes[48 + tile] = fours if tile > VECTORS else ROWS
    return 4 * fours


@compiled
def _multiplied(tile: tuple[int, int, int], packed: NDArray[np.int32], vector: int, steps: int, sums: Any) -> int:
    """The sums of ROWS rows with VECTORS vectors of queries, or with one where tiles or vectors are missing.

    Args:
        tile: address of the rows' codes, how long they are, and how many bytes a tile holds of each, or 0.
        packed: int32 [vectors, at least the steps, LANES].
        vector: the first one.
        steps: fours of directions.
        sums: int32 [VECTORS * ROWS, LANES], filled.

    Returns:
        How many vectors these were.
    """
    (codes, width, block), apart, out = tile, packed.shape[1] * BYTES_AT_ONCE, _at(sums)
    factors = _at(packed) + vector * apart
    if not block:
        for row in range(0, ROWS, HALF):
            _sums(codes + row * width, width, factors, apart, steps, out + row * BYTES_AT_ONCE)
        return 1
    if vector + VECTORS <= len(packed):
        _multiply_four(codes, width, factors, apart, block, 4 * steps // block, out)
        return VECTORS
    _multiply_one(codes, width, factors, apart, block, 4 * steps // block, out)
    return 1


@compiled
def highest_of_blocks(codes: NDArray[np.uint8], factors: NDArray[np.int8], tiles: Any) -> NDArray[np.int32]:
    """The highest product of every HALF rows, without the last directions that are no multiple of 4.

    Args:
        codes: uint8 [n, d], contiguous; rows after the last ROWS are left out.
        factors: int8 [m, d], with zeros behind them up to a multiple of `BYTES_AT_ONCE`.
        tiles: whether whole tiles are multiplied.

    Returns:
        int32 [m, n // ROWS * ROWS // HALF].
    """
    width, steps, halves = codes.shape[1], codes.shape[1] // 4, ROWS // HALF
    packed, blocks = _packed(factors, steps), len(codes) // ROWS
    out = np.empty((len(factors), blocks * halves), np.int32)
    sums, best, shapes = _lines(VECTORS * ROWS), np.empty(LANES, np.int32), np.zeros(64, np.uint8)
    bytes_of_tile = _begin(tiles, steps, shapes)
    for block in range(blocks):
        tile, vector = (_at(codes[block * ROWS :]), width, bytes_of_tile), 0
        while vector < len(packed):
            vectors = _multiplied(tile, packed, vector, steps, sums)
            for half in range(halves * vectors):
                _highest(_at(sums[half * HALF :]), _at(best))
                query = (vector + half // halves) * LANES
                for lane in range(min(LANES, len(factors) - query)):
                    out[query + lane, block * halves + half % halves] = best[lane]
            vector += vectors
    _end(tiles)
    return out


@compiled
def _above_bounds(
    tile: tuple[int, int, int], packed: NDArray[np.int32], steps: int, bounds: NDArray[np.int32], room: tuple[Any, Any]
) -> int:
    """Which products of a tile exceed their bounds.

    Args:
        tile: address of ROWS rows of codes, how long they are, and how many bytes a tile holds of each, or 0.
        packed: int32 [vectors, at least the steps, LANES].
        steps: fours of directions.
        bounds: int32 [at least the vectors * LANES].
        room: int32 [(ROWS * vectors + 1) * LANES], filled with rows and lanes, and [VECTORS * ROWS, LANES].

    Returns:
        How many there are.
    """
    (codes, width, block), (high, sums), vectors = tile, room, len(packed)
    apart, out, vector = packed.shape[1] * BYTES_AT_ONCE, _at(high), 0
    while block and vector < vectors:
        last = vector + _multiplied(tile, packed, vector, steps, sums)
        for there in range(last - vector):
            least, place = _at(bounds) + vector * 4 * LANES, vector * LANES
            out = _pick(_at(sums[there * ROWS :]), least + there * 4 * LANES, place + there * LANES, out)
        vector = last
    while vector < vectors:
        factors, least = _at(packed) + vector * apart, _at(bounds) + vector * 4 * LANES
        for row in range(0, ROWS, HALF):
            rows, place = codes + row * width, (row << PLACE_BITS) + vector * LANES
            if vector + 1 < vectors:
                out = _above_two(rows, width, factors, apart, steps, least, place, out)
            else:
                out = _above_one(rows, width, factors, apart, steps, least, place, out)
        vector += 2
    return (out - _at(high)) // 4


@compiled
def _begin(tiles: Any, steps: int, shapes: NDArray[np.uint8]) -> int:
    """Set the shapes of this thread's tiles, if they are worth it: how many bytes of a row one holds, or 0."""
    block = _shapes(steps, shapes) if tiles and steps else 0
    if block < LEAST_TILE:
        return 0
    _begin_tiles(_at(shapes))
    return block


@compiled
def _end(tiles: Any) -> None:
    """Have no tiles any more, which need not be kept then when threads change."""
    if tiles:
        _end_tiles()


@compiled
def _bound(least: NDArray[np.int32], queries: NDArray[np.int32], bounds: NDArray[np.int32]) -> None:
    """What each lane's query asks for, `NOBODY` behind the last."""
    for place in range(len(queries)):
        bounds[place] = least[queries[place]]
    for place in range(len(queries), -(-len(queries) // LANES) * LANES):
        bounds[place] = NOBODY


@compiled
def _copy(start: int, count: int, places: NDArray[np.uint8]) -> None:
    """So many bytes from an address on. An assignment to a slice takes seconds to compile."""
    some = numba.carray(pointer(start), (count,), np.uint8)
    for place in range(count):
        places[place] = some[place]


@compiled
def _look_into(
    stored: Stored,
    asked: Asked,
    place: tuple[int, int],
    room: tuple[Any, Any, Any, Any, Any, Any],
    found: NDArray[np.int64],
    count: Any,
) -> tuple[Any, Any]:
    """One list from a row on, until there may be no room for what is found: what is found by then, and the next row."""
    (number, start), (mine, packed, bounds, (high, sums), last, block) = place, room
    codes, size, width = stored.codes[number], stored.sizes[number], stored.first
    some = packed[: -(-len(mine) // LANES)]
    numbers = numba.carray(pointer(stored.rows[number]), (size,), np.int64)
    _pack(asked.factors, mine, width // 4, some)
    _bound(asked.first, mine, bounds)
    for top in range(start, size, ROWS):
        here = min(ROWS, size - top)
        if count + here * len(mine) >= len(found):
            return count, top
        tile = codes + top * width
        _prefetch(tile + AHEAD * width, ROWS * width)
        if here < ROWS:
            _copy(tile, here * width, last)
            tile = _at(last)
        for each in high[: _above_bounds((tile, width, block), some, width // 4, bounds, (high, sums))]:
            row = top + (each >> PLACE_BITS)
            found[count] = (numbers[min(row, size - 1)] << PLACE_BITS) + mine[each & ((1 << PLACE_BITS) - 1)]
            count += np.int64(row < size)
    return count, size


@compiled
def _opened(
    stored: Stored, tile: int, near: NDArray[np.int32], bounds: NDArray[np.int32], mine: NDArray[np.int32], room: Any
) -> NDArray[np.int64]:
    """Which queries look into each of ROWS lists.

    Args:
        stored: all lists.
        tile: the first of these, in ROWS.
        near: packed factors of centroids.
        bounds: int32 [vectors * LANES], what their products must exceed.
        mine: int32 [ROWS, n], filled: the queries of each.
        room: as `_above_bounds` asks for it, and uint8 [64].

    Returns:
        How many of these count: int64 [ROWS].
    """
    wide, (high, sums, shapes), sizes = stored.centroids.shape[1], room, np.zeros(ROWS, np.int64)
    block = _begin(stored.tiles, wide // 4, shapes)
    rows = _at(stored.centroids) + tile * ROWS * wide, wide, block
    for each in high[: _above_bounds(rows, near, wide // 4, bounds, (high, sums))]:
        one = each >> PLACE_BITS
        mine[one, sizes[one]] = each & ((1 << PLACE_BITS) - 1)
        sizes[one] += 1
    return sizes


@compiled
def look(
    stored: Stored, asked: Asked, tiles: NDArray[np.int64], place: tuple[int, Any], found: NDArray[np.int64]
) -> tuple[int, tuple[int, int]]:
    """Find the rows of some lists whose first sums are high enough, as far as there is room for them.

    Args:
        stored: all lists.
        asked: the queries, at most 2^PLACE_BITS.
        tiles: int64 [t], which ROWS lists to look into: the first ROWS, the second, and so on.
        place: where to begin, a list, counted along the tiles, and one of its rows.
        found: int64 [f], filled with rows, and queries in the lower `PLACE_BITS`; room for ROWS rows of every query and
            one more.

    Returns:
        How many were found, and where to go on; at ROWS t if this is all.
    """
    count: Any = np.int64(0)  # a plain 0 is a type of its own to Numba, and all would be compiled twice
    queries, steps = len(asked.factors), stored.first // 4
    near = _packed(asked.near, stored.centroids.shape[1] // 4)
    opened, bounds = np.empty(len(near) * LANES, np.int32), np.empty(len(near) * LANES, np.int32)
    _bound(asked.opened, np.arange(queries).astype(np.int32), opened)
    high, sums = np.empty((ROWS * len(near) + 1) * LANES, np.int32), _lines(VECTORS * ROWS)
    packed, last, shapes = _room(queries, steps), np.zeros(ROWS * stored.first, np.uint8), np.zeros(64, np.uint8)
    mine, sizes = np.empty((ROWS, queries), np.int32), np.zeros(ROWS, np.int64)
    position, row = place
    tile: Any = np.int64(-1)
    block: Any = np.int64(0)
    while position < ROWS * len(tiles):
        if tile != position // ROWS:
            tile = position // ROWS
            sizes = _opened(stored, tiles[tile], near, opened, mine, (high, sums, shapes))
            block = _begin(stored.tiles, steps, shapes)
        one = position % ROWS
        number = tiles[tile] * ROWS + one
        if sizes[one] and stored.sizes[number]:
            room = mine[one, : sizes[one]], packed, bounds, (high, sums), last, block
            count, row = _look_into(stored, asked, (number, row), room, found, count)
            if row < stored.sizes[number]:
                break
        position, row = position + 1, np.int64(0)
    _end(stored.tiles)
    return count, (position, row)


@compiled
def multiply_rows(
    stored: Stored, asked: Asked, found: NDArray[np.int64], queries: NDArray[np.int32], keys: NDArray[np.int64]
) -> int:
    """Multiply rows with queries over all directions, and keep those whose products are high enough.

    Args:
        stored: all rows.
        asked: the queries.
        found: int64 [f], as `look` fills it; best about in the order of the rows.
        queries: int32 [f], filled.
        keys: int64 [f], filled: the highest product has the lowest key, and of equal ones the lowest row.

    Returns:
        How many are left.
    """
    count: Any = np.int64(0)
    factors, apart = _at(asked.factors), asked.factors.shape[1]
    for place in range(len(found)):
        later = found[min(place + SOON, len(found) - 1)] >> PLACE_BITS
        _prefetch(stored.values + later * stored.width, stored.width)
        row, query = found[place] >> PLACE_BITS, found[place] & ((1 << PLACE_BITS) - 1)
        product = _product(stored.values + row * stored.width, factors + query * apart, stored.width)
        queries[count], keys[count] = query, np.int64(product) * -(1 << ROW_BITS) + row
        count += np.int64(product > asked.least[query])  # instead of a jump that no processor foresees
    return count
