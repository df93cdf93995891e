"""The processor's own vectors, in which codes, a byte each, are multiplied with queries: instructions for `kernels`.

Each is written in LLVM's terms, and is one function to what is compiled. Addresses and lengths are integers.
"""

import itertools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from build_index.search_index.nibbles import spread, sums_of_rows
from encoders.compiling import has, instruction
from encoders.vector_code import declared, load, store

LANES = 16
"""Queries in one vector."""

HALF = 8
"""Rows whose sums stay in registers."""

BYTES_AT_ONCE = 64

PLACE_BITS = 16
"""A row of a tile stands above so many bits, which hold a query's place among those that are multiplied with it."""

INT8, INT16, INT32, INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
SUMS, BYTES = ir.VectorType(INT32, LANES), ir.VectorType(INT8, BYTES_AT_ONCE)
NONE = ir.Constant(SUMS, [0] * LANES)


def _plus_products(context: Any, builder: Any, sums: Any, codes: Any, factors: Any) -> Any:
    """sums[l] + codes[4 l] factors[4 l] + ... + codes[4 l + 3] factors[4 l + 3]; codes without a sign, factors with."""
    if has(context, "avx512vnni"):
        add = declared(builder, "llvm.x86.avx512.vpdpbusd.512", SUMS, [SUMS] * 3)
        return builder.call(add, [sums, builder.bitcast(codes, SUMS), builder.bitcast(factors, SUMS)])
    if has(context, "avx2"):
        return builder.add(sums, _fours(builder, codes, factors))
    nothing = ir.Constant(BYTES, ir.Undefined)
    for place in range(4):
        every = ir.Constant(SUMS, [4 * lane + place for lane in range(LANES)])
        code = builder.zext(builder.shuffle_vector(codes, nothing, every), SUMS)
        factor = builder.sext(builder.shuffle_vector(factors, nothing, every), SUMS)
        sums = builder.add(sums, builder.mul(code, factor))
    return sums


def _fours(builder: Any, codes: Any, factors: Any) -> Any:
    """The products of bytes, added up in fours: int32 [LANES], by AVX2 in two halves.

    Two products of the largest code and factor (`scan.FACTOR`) fit 16 bits.
    """
    half, of_twos, of_fours = (ir.VectorType(*each) for each in ((INT8, 32), (INT16, 16), (INT32, 8)))
    multiply = declared(builder, "llvm.x86.avx2.pmadd.ub.sw", of_twos, [half] * 2)
    add = declared(builder, "llvm.x86.avx2.pmadd.wd", of_fours, [of_twos] * 2)
    ones, sums = ir.Constant(of_twos, [1] * 16), []
    for first in (0, 32):
        places = ir.Constant(ir.VectorType(INT32, 32), list(range(first, first + 32)))
        pair = [builder.shuffle_vector(each, each, places) for each in (codes, factors)]
        sums.append(builder.call(add, [builder.call(multiply, pair), ones]))
    return builder.shuffle_vector(*sums, ir.Constant(SUMS, list(range(LANES))))


def _tile(context: Any, builder: Any, arguments: list[Any], vectors: int) -> list[list[Any]]:
    """Sums of HALF rows with `vectors` vectors of queries, of as many at a time as stay in registers.

    The arguments are codes and their stride, packed factors and how far apart their vectors begin, and steps.
    """
    codes, stride, factors, apart, steps = arguments
    rows, some = (HALF, vectors) if has(context, "avx512f") else (HALF // 2, 1)
    found: list[list[Any]] = [[None] * vectors for _ in range(HALF)]
    for top, left in itertools.product(range(0, HALF, rows), range(0, vectors, some)):
        first = builder.add(codes, builder.mul(stride, INT64(top)))
        part = first, stride, builder.add(factors, builder.mul(apart, INT64(left))), apart, steps
        for row, sums in enumerate(_part_of_tile(context, builder, part, (rows, some))):
            found[top + row][left : left + some] = sums
    return found


def _part_of_tile(context: Any, builder: Any, arguments: tuple[Any, ...], shape: tuple[int, int]) -> list[list[Any]]:
    """Sums of some rows with some vectors of queries, which stay in registers all the while."""
    (codes, stride, factors, apart, steps), (rows, vectors) = arguments, shape
    places = [[cgutils.alloca_once(builder, SUMS) for _ in range(vectors)] for _ in range(rows)]
    for place in itertools.chain(*places):
        builder.store(NONE, place)
    with cgutils.for_range(builder, steps) as loop:
        here = builder.add(factors, builder.mul(loop.index, INT64(BYTES_AT_ONCE)))
        starts = [builder.add(here, builder.mul(apart, INT64(vector))) for vector in range(vectors)]
        lanes = [load(builder, start, BYTES) for start in starts]
        column = builder.add(codes, builder.mul(loop.index, INT64(4)))
        for row, sums in enumerate(places):
            four = load(builder, builder.add(column, builder.mul(stride, INT64(row))), INT32)
            same = builder.bitcast(spread(builder, four, LANES), BYTES)
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
            starts = [builder.add(least, INT64(vector * 4 * LANES)) for vector in range(vectors)]
            bounds = [load(builder, start, SUMS) for start in starts]
            first = counted(builder, place)
            for row, sums in enumerate(_tile(context, builder, tile, vectors)):
                for vector, (each, bound) in enumerate(zip(sums, bounds, strict=True)):
                    here = moved(builder, first, row, vector)
                    out = write_where(context, builder, builder.icmp_signed(">", each, bound), here, out)
            return out

        return types.intp(*_TILE, types.intp, types.intp, types.intp), emit

    return above


def counted(builder: Any, place: Any) -> Any:
    """The places of the lanes of a vector, from one on."""
    return builder.add(spread(builder, builder.trunc(place, INT32), LANES), ir.Constant(SUMS, list(range(LANES))))


def moved(builder: Any, places: Any, row: int, vector: int = 0) -> Any:
    """Places of a later row, and of a later vector."""
    return builder.add(places, ir.Constant(SUMS, [(row << PLACE_BITS) + LANES * vector] * LANES))


def write_where(context: Any, builder: Any, mask: Any, values: Any, out: Any) -> Any:
    """The values where the mask is set, from an address on; where the next would go."""
    bits = builder.bitcast(mask, INT16)
    if has(context, "avx512f"):  # a whole vector at a time, what counts first
        compress = declared(builder, f"llvm.x86.avx512.mask.compress.v{LANES}i32", SUMS, [SUMS, SUMS, mask.type])
        _store(builder, builder.call(compress, [values, NONE, mask]), out)
    elif has(context, "avx2"):
        for first in (0, LANES // 2):
            some = builder.trunc(builder.lshr(bits, INT16(first)), INT8)
            out = _write_half(builder, some, values, first, out)
        return out
    else:
        start = builder.inttoptr(out, SUMS.as_pointer())
        kinds = [SUMS, start.type, mask.type]
        store = declared(builder, f"llvm.masked.compressstore.v{LANES}i32", ir.VoidType(), kinds)
        with builder.if_then(builder.icmp_unsigned("!=", bits, INT16(0)), likely=False):
            builder.call(store, [values, start, mask])
    return _beyond(builder, bits, out)


def _write_half(builder: Any, bits: Any, values: Any, first: int, out: Any) -> Any:
    """The values of eight lanes whose bits are set, and others behind them: no processor could foresee a jump here."""
    half = ir.VectorType(INT32, 8)
    lanes = ir.Constant(half, list(range(first, first + 8)))
    places = builder.load(builder.gep(_places(builder), [INT32(0), builder.zext(bits, INT32)]))
    permute = declared(builder, "llvm.x86.avx2.permd", half, [half] * 2)
    some = builder.shuffle_vector(values, values, lanes)
    _store(builder, builder.call(permute, [some, builder.zext(places, half)]), out)
    return _beyond(builder, bits, out)


def _places(builder: Any) -> Any:
    """A table: of each eight bits the places of those that are set, and zeros; uint8 [256, 8]."""
    name, eight = "places_of_bits", ir.VectorType(INT8, 8)
    if name in builder.module.globals:
        return builder.module.globals[name]
    set_bits = ([lane for lane in range(8) if number >> lane & 1] for number in range(256))
    rows = [ir.Constant(eight, [*lanes, *[0] * (8 - len(lanes))]) for lanes in set_bits]
    return cgutils.global_constant(builder, name, ir.Constant(ir.ArrayType(eight, 256), rows))


def _store(builder: Any, values: Any, out: Any) -> None:
    builder.store(values, builder.inttoptr(out, values.type.as_pointer())).align = 4


def _beyond(builder: Any, bits: Any, out: Any) -> Any:
    """An address, moved by four bytes for each bit that is set."""
    return builder.add(out, builder.mul(builder.zext(builder.ctpop(bits), INT64), INT64(4)))


_TILE = (types.intp,) * 5
above_one, above_two = _above(1), _above(2)


@instruction
def write_sums(_: Any, codes: Any, stride: Any, factors: Any, apart: Any, steps: Any, out: Any) -> Any:
    """The sums of HALF rows with one vector of queries: int32 [HALF, LANES]."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        *tile, out = arguments
        for row, (sums,) in enumerate(_tile(context, builder, tile, 1)):
            store(builder, sums, builder.add(out, INT64(row * BYTES_AT_ONCE)))
        return context.get_dummy_value()

    return types.void(*_TILE, types.intp), emit


@instruction
def write_coarse_sums(_: Any, codes: Any, stride: Any, factors: Any, apart: Any, steps: Any, out: Any) -> Any:
    """As `write_sums`, of codes of 4 bits."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        codes, stride, factors, _, steps, out = arguments
        few = HALF // 2  # as many as stay in registers
        for top in range(0, HALF, few):
            rows = builder.add(codes, builder.mul(stride, INT64(top))), stride, factors, steps
            for row, sums in enumerate(sums_of_rows(context, builder, rows, (few, LANES))):
                store(builder, sums, builder.add(out, INT64((top + row) * BYTES_AT_ONCE)))
        return context.get_dummy_value()

    return types.void(*_TILE, types.intp), emit


@instruction
def write_highest(_: Any, sums: Any, out: Any) -> Any:
    """The highest of HALF sums for each query of a vector: int32 [HALF, LANES] -> [LANES]."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        sums, out = arguments
        each = [load(builder, builder.add(sums, INT64(row * BYTES_AT_ONCE)), SUMS) for row in range(HALF)]
        highest = each[0]
        for other in each[1:]:
            highest = builder.select(builder.icmp_signed(">", other, highest), other, highest)
        builder.store(highest, builder.inttoptr(out, SUMS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit


@instruction
def turn(_: Any, addresses: Any, offset: Any, out: Any) -> Any:
    """BYTES_AT_ONCE from each of LANES addresses and an offset, four bytes of each side by side: int32 [LANES, LANES].

    Squares of 1, 2, 4 and 8 change places with those across the diagonal.
    """

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        addresses, offset, out = arguments
        starts = [load(builder, builder.add(addresses, INT64(8 * lane)), INT64) for lane in range(LANES)]
        rows = [load(builder, builder.add(start, offset), SUMS) for start in starts]
        for side in (1, 2, 4, 8):
            upper = [lane if not lane & side else LANES + lane - side for lane in range(LANES)]
            lower = [lane + side if not lane & side else LANES + lane for lane in range(LANES)]
            for row in range(LANES):
                if not row & side:
                    pair = rows[row], rows[row + side]
                    rows[row], rows[row + side] = (
                        builder.shuffle_vector(*pair, ir.Constant(SUMS, places)) for places in (upper, lower)
                    )
        for lane, row in enumerate(rows):
            here = builder.add(out, INT64(lane * BYTES_AT_ONCE))
            builder.store(row, builder.inttoptr(here, SUMS.as_pointer())).align = 4
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), emit


@instruction
def prefetch(_: Any, start: Any, length: Any) -> Any:
    """Ask for so many bytes before they are needed, all lines in which any of them is; nothing has to lie there."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        start, length = arguments
        address = ir.IntType(8).as_pointer()
        fetch = declared(builder, "llvm.prefetch.p0", ir.VoidType(), [address, INT32, INT32, INT32])
        first, end = builder.and_(start, INT64(-BYTES_AT_ONCE)), builder.add(start, length)
        with cgutils.for_range_slice(builder, first, end, INT64(BYTES_AT_ONCE)) as (here, _):
            line = builder.inttoptr(here, address)
            builder.call(fetch, [line, INT32(0), INT32(3), INT32(1)])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit
