"""Codes of 4 bits, two in a byte, in the processor's own vectors: instructions for `kernels`.

Bytes are multiplied and added in twos, in 16 bits, for which every processor of the last ten years has an instruction
(AVX2, AVX-512); of codes up to 15 many such sums fit 16 bits before they must be widened, which is most of the work
where codes have 8 bits. LLVM takes other instructions where there is none.

The first value of two stands in the lower bits, as FAISS has them.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from encoders.compiling import has, instruction
from encoders.vector_code import declared, load, store

CODE = 15
"""The highest one."""

ROWS_OF_BLOCK = 32
"""Rows whose bits fit a mask."""

QUERIES_AT_ONCE = 4
"""Queries whose sums with a block of rows stay in registers."""

GROUP = 16
"""Bytes of a row that change places at a time."""

STEPS = 16
"""Products that are added in 16 bits, in twos: 2 * 16 * 15 * 64 < 2^15."""

FEW_BLOCKS = 8
"""Blocks of `DIRECTIONS` that are added without a loop: with a loop for four, looking took a tenth longer."""

DIRECTIONS = 64
"""Directions of a block of 32 bytes; their factors lie in the order in which they come out of it (`in_order`)."""

INT1, INT8, INT16, INT32, INT64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


def vector(kind: Any, count: int) -> Any:
    """The type of so many numbers side by side."""
    return ir.VectorType(kind, count)


def every(kind: Any, value: int) -> Any:
    """A vector of one number."""
    return ir.Constant(kind, [value] * kind.count)


def part(builder: Any, values: Any, first: int, count: int) -> Any:
    """Some values of a vector, or with another one behind it."""
    one, other = values if isinstance(values, tuple) else (values, values)
    return builder.shuffle_vector(one, other, ir.Constant(vector(INT32, count), list(range(first, first + count))))


def spread(builder: Any, value: Any, count: int) -> Any:
    """A number to so many places."""
    one = builder.insert_element(ir.Constant(vector(value.type, count), ir.Undefined), value, INT32(0))
    return builder.shuffle_vector(one, one, every(vector(INT32, count), 0))


def twos(context: Any, builder: Any, codes: Any, factors: Any) -> Any:
    """codes[2 l] factors[2 l] + codes[2 l + 1] factors[2 l + 1] in 16 bits, which they must fit."""
    count = codes.type.count
    longest = 64 if has(context, "avx512bw") else 32
    if has(context, "avx2") and count > longest:
        parts = [[part(builder, each, first, longest) for each in (codes, factors)] for first in (0, longest)]
        return part(builder, tuple(twos(context, builder, *some) for some in parts), 0, count // 2)
    kinds = vector(INT16, count // 2), [codes.type] * 2
    if has(context, "avx2"):
        name = "avx512.pmaddubs.w.512" if count == 64 else "avx2.pmadd.ub.sw"
        return builder.call(declared(builder, f"llvm.x86.{name}", *kinds), [codes, factors])
    products = []
    for place in (0, 1):
        places = ir.Constant(vector(INT32, count // 2), list(range(place, count, 2)))
        code, factor = (builder.shuffle_vector(each, each, places) for each in (codes, factors))
        products.append(builder.mul(builder.zext(code, kinds[0]), builder.sext(factor, kinds[0])))
    return builder.add(*products)


def fours(context: Any, builder: Any, sums: Any) -> Any:
    """int16 -> int32, each two added."""
    kind, narrow = vector(INT32, sums.type.count // 2), 16
    if has(context, "avx2") and sums.type.count > narrow:
        parts = [fours(context, builder, part(builder, sums, first, narrow)) for first in (0, narrow)]
        return part(builder, tuple(parts), 0, kind.count)
    if has(context, "avx2"):
        add = declared(builder, "llvm.x86.avx2.pmadd.wd", kind, [sums.type] * 2)
        return builder.call(add, [sums, every(sums.type, 1)])
    some = []
    for place in (0, 1):
        places = ir.Constant(vector(INT32, kind.count), list(range(place, sums.type.count, 2)))
        some.append(builder.sext(builder.shuffle_vector(sums, sums, places), kind))
    return builder.add(*some)


def apart(builder: Any, codes: Any) -> Any:
    """Bytes of two codes each to bytes of one, in their order: uint8 [n] -> [2 n]."""
    wide = vector(INT16, codes.type.count)
    words = builder.zext(codes, wide)
    both = builder.and_(builder.or_(words, builder.shl(words, every(wide, 4))), every(wide, 0x0F0F))
    return builder.bitcast(both, vector(INT8, 2 * codes.type.count))


def halves(builder: Any, codes: Any) -> tuple[Any, Any]:
    """The first codes of bytes, and the second ones: uint8 [n] each."""
    return builder.and_(codes, every(codes.type, CODE)), builder.lshr(codes, every(codes.type, 4))


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Of 2^k vectors of as many values, which change places across the diagonal.

    Each step puts the values of two vectors side by side, one of this, one of that; after k steps all are in place.
    """
    count = len(rows)
    half = count // 2
    mixed = [number // 2 + count * (number % 2) for number in range(count)]
    lower, upper = mixed, [half + number for number in mixed]
    for _ in range(count.bit_length() - 1):
        pairs = [(rows[number], rows[half + number]) for number in range(half)]
        rows = [
            builder.shuffle_vector(*pair, ir.Constant(vector(INT32, count), places))
            for pair in pairs
            for places in (lower, upper)
        ]
    return rows


@instruction
def turn_rows(_: Any, addresses: Any, offset: Any, out: Any) -> Any:
    """GROUP bytes of each of ROWS_OF_BLOCK rows from an offset on, the codes of each byte side by side.

    int64 addresses of the rows -> uint8 [GROUP, ROWS_OF_BLOCK, 2].
    """

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        addresses, offset, out = arguments
        for top in range(0, ROWS_OF_BLOCK, GROUP):
            starts = [load(builder, builder.add(addresses, INT64(8 * (top + row))), INT64) for row in range(GROUP)]
            rows = [load(builder, builder.add(start, offset), vector(INT8, GROUP)) for start in starts]
            for place, codes in enumerate(transposed(builder, rows)):
                here = builder.add(out, INT64(2 * (ROWS_OF_BLOCK * place + top)))
                store(builder, apart(builder, codes), here)
        return context.get_dummy_value()

    return types.void(*(types.intp,) * 3), emit


@instruction
def take_apart(_: Any, codes: Any, count: Any, out: Any) -> Any:
    """So many bytes of two codes each to bytes of one, as `dot` takes them: uint8 [a multiple of DIRECTIONS]."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        codes, count, out = arguments
        some = vector(INT8, DIRECTIONS // 2)

        def write(offset: Any, both: Any) -> None:
            start = builder.add(out, builder.shl(offset, INT64(1)))
            for number, each in enumerate(halves(builder, both)):
                store(builder, each, builder.add(start, INT64(some.count * number)))

        whole = builder.and_(count, INT64(-some.count))
        with cgutils.for_range_slice(builder, INT64(0), whole, INT64(some.count)) as (offset, _):
            write(offset, load(builder, builder.add(codes, offset), some))
        rest = builder.sub(count, whole)
        with builder.if_then(builder.icmp_signed(">", rest, INT64(0)), likely=False):
            write(whole, _first_bytes(builder, builder.add(codes, whole), rest, some))
        return context.get_dummy_value()

    return types.void(*(types.intp,) * 3), emit


def _above(count: int) -> Any:
    """An instruction: which of the first rows of a block have a product that is not negative, for some queries."""

    @instruction
    def above(_: Any, rows: Any, steps: Any, factors: Any, begins: Any, out: Any) -> Any:
        """A mask of each of QUERIES_AT_ONCE queries.

        Args:
            rows: address of codes as `turn_rows` writes them, uint8 [steps, ROWS_OF_BLOCK, 2].
            steps: pairs of directions.
            factors: address of the addresses of each query's factors, int8 [steps, 2, 2], every pair twice.
            begins: address of what each query's sums begin with, int16 [QUERIES_AT_ONCE, 2], twice the same.
            out: address of the masks, int32 [QUERIES_AT_ONCE].
        """

        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            rows, steps, factors, begins, out = arguments
            sums, both = vector(INT16, count), vector(INT8, 2 * count)
            places = []
            for query in range(QUERIES_AT_ONCE):
                begin = spread(builder, load(builder, builder.add(begins, INT64(4 * query)), INT32), count // 2)
                places.append(cgutils.alloca_once_value(builder, builder.bitcast(begin, sums)))
            starts = [load(builder, builder.add(factors, INT64(8 * query)), INT64) for query in range(QUERIES_AT_ONCE)]
            with cgutils.for_range(builder, steps) as loop:
                codes = load(builder, builder.add(rows, builder.mul(loop.index, INT64(2 * ROWS_OF_BLOCK))), both)
                column = builder.mul(loop.index, INT64(4))
                for start, place in zip(starts, places, strict=True):
                    pair = load(builder, builder.add(start, column), INT32)
                    more = twos(context, builder, codes, builder.bitcast(spread(builder, pair, count // 2), both))
                    builder.store(builder.add(builder.load(place), more), place)
            for query, place in enumerate(places):
                high = builder.bitcast(
                    builder.icmp_signed(">=", builder.load(place), every(sums, 0)), ir.IntType(count)
                )
                mask = high if count == ROWS_OF_BLOCK else builder.zext(high, INT32)
                store(builder, mask, builder.add(out, INT64(4 * query)))
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 5), emit

    return above


above_in_block, above_in_half = _above(ROWS_OF_BLOCK), _above(ROWS_OF_BLOCK // 2)


def sums_of_rows(context: Any, builder: Any, tile: tuple[Any, ...], shape: tuple[int, int]) -> list[Any]:
    """Products of rows of codes, a byte each, and packed queries, added in 16 bits as long as they fit.

    Args:
        context: of the compiler.
        builder: writes the instructions.
        tile: address of the codes and how far apart rows are, of the factors, int8 [steps, queries, 4], and steps.
        shape: rows and queries.

    Returns:
        int32 [queries] of each row.
    """
    (codes, stride, factors, steps), (rows, queries) = tile, shape
    narrow, wide, both = vector(INT16, 2 * queries), vector(INT32, queries), vector(INT8, 4 * queries)
    totals = [cgutils.alloca_once_value(builder, every(wide, 0)) for _ in range(rows)]
    sums = [cgutils.alloca_once(builder, narrow) for _ in range(rows)]
    with cgutils.for_range_slice(builder, INT64(0), steps, INT64(STEPS)) as (first, _):
        for place in sums:
            builder.store(every(narrow, 0), place)
        beyond = builder.add(first, INT64(STEPS))
        last = builder.select(builder.icmp_signed("<", beyond, steps), beyond, steps)
        with cgutils.for_range_slice(builder, first, last, INT64(1)) as (step, _):
            here = load(builder, builder.add(factors, builder.mul(step, INT64(both.count))), both)
            column = builder.add(codes, builder.mul(step, INT64(4)))
            for row, place in enumerate(sums):
                four = load(builder, builder.add(column, builder.mul(stride, INT64(row))), INT32)
                more = twos(context, builder, builder.bitcast(spread(builder, four, queries), both), here)
                builder.store(builder.add(builder.load(place), more), place)
        for total, place in zip(totals, sums, strict=True):
            more = fours(context, builder, builder.load(place))
            builder.store(builder.add(builder.load(total), more), total)
    return [builder.load(total) for total in totals]


@instruction
def lowest_bit(_: Any, mask: Any) -> Any:
    """Where the lowest bit of an int32 stands that is set."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        return builder.zext(builder.cttz(arguments[0], INT1(1)), INT64)

    return types.int64(types.int32), emit


@instruction
def dot(_: Any, codes: Any, factors: Any, length: Any) -> Any:
    """The sum of products of one row and one query, int32; arrays would be counted as in use, which takes longer.

    Args:
        codes: address of so many bytes, of two codes each.
        factors: address of int8, in the order of `in_order`.
        length: bytes.
    """

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        codes, factors, length = arguments
        some, narrow, wide = (
            vector(INT8, DIRECTIONS // 2),
            vector(INT16, DIRECTIONS // 4),
            vector(INT32, DIRECTIONS // 8),
        )
        total, sums = (
            cgutils.alloca_once_value(builder, every(wide, 0)),
            cgutils.alloca_once_value(builder, every(narrow, 0)),
        )

        def add_block(offset: Any, codes_there: Any) -> None:
            for number, each in enumerate(halves(builder, codes_there)):
                start = builder.add(builder.add(factors, builder.shl(offset, INT64(1))), INT64(some.count * number))
                more = twos(context, builder, each, load(builder, start, some))
                builder.store(builder.add(builder.load(sums), more), sums)

        def widen() -> None:
            more = fours(context, builder, builder.load(sums))
            builder.store(builder.add(builder.load(total), more), total)
            builder.store(every(narrow, 0), sums)

        done = builder.append_basic_block("done")
        for number in range(FEW_BLOCKS):
            following = builder.append_basic_block("block")
            builder.cbranch(builder.icmp_signed(">=", length, INT64((number + 1) * some.count)), following, done)
            builder.position_at_end(following)
            offset = INT64(number * some.count)
            add_block(offset, load(builder, builder.add(codes, offset), some))
        builder.branch(done)
        builder.position_at_end(done)
        widen()
        whole = builder.and_(length, INT64(-some.count))
        with cgutils.for_range_slice(builder, INT64(FEW_BLOCKS * some.count), whole, INT64(some.count)) as (offset, _):
            add_block(offset, load(builder, builder.add(codes, offset), some))
            widen()
        rest = builder.sub(length, whole)
        with builder.if_then(builder.icmp_signed(">", rest, INT64(0)), likely=False):
            add_block(whole, _first_bytes(builder, builder.add(codes, whole), rest, some))
            widen()
        add = declared(builder, f"llvm.vector.reduce.add.v{wide.count}i32", INT32, [wide])
        return builder.call(add, [builder.load(total)])

    return types.int32(types.intp, types.intp, types.intp), emit


def _first_bytes(builder: Any, address: Any, count: Any, kind: Any) -> Any:
    """So many bytes, and zeros behind them; what lies there is not touched."""
    start, places = builder.inttoptr(address, kind.as_pointer()), ir.Constant(kind, list(range(kind.count)))
    wanted = builder.icmp_unsigned("<", places, spread(builder, builder.trunc(count, INT8), kind.count))
    kinds = [start.type, INT32, wanted.type, kind]
    masked = declared(builder, f"llvm.masked.load.v{kind.count}i8.p0", kind, kinds)
    return builder.call(masked, [start, INT32(1), wanted, every(kind, 0)])
