"""Sums of products of a panel's rows with the weights of sixteen outputs, by AVX2.

Twelve vectors of sums stay in registers over a group of inputs. At a time, four bytes of each row, a float32 or two
integers of 16 bits, are multiplied with 64 bytes of weights: float32 are multiplied and added in one instruction,
integers multiplied in one that adds each two products, and added by another.
"""

import itertools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from encoders.compiling import instruction
from encoders.panel_rows import BYTES_OF_LINE, GROUP, NUMBERS, ROWS, Numbers
from encoders.vector_code import FLOAT, INT16, INT32, INT64, declared, load, store

COLUMNS = 16
"""Outputs that have their sums in registers at a time, in two vectors."""

VECTORS, BYTES = 2, 32
"""Of the sums of a row, and of one of them."""

EIGHT, WHOLE = ir.VectorType(FLOAT, 8), ir.VectorType(INT32, 8)
FACTORS = ir.VectorType(INT16, 16)

STEP = 4
"""Bytes of a row that are multiplied at a time."""

TOGETHER = {Numbers.FLOATS: BYTES_OF_LINE // STEP, Numbers.INTEGERS: 2}
"""Steps that are written out one after the other: of more, LLVM adds integers in an order that needs more registers."""

BYTES_OF_SUMS = 4 * GROUP
"""Of a row of the sums of a block, whose outputs are a group of what comes next."""

AHEAD = 2
"""Lines of other weights that are fetched with each line of rows."""


def bytes_of_weights(kind: Numbers) -> int:
    """Of a group of inputs and `COLUMNS` outputs."""
    return COLUMNS * kind.bytes_of_group


@instruction
def add_products(  # noqa: PLR0913
    _: Any, which: Any, rows: Any, scales: Any, weights: Any, sums: Any, groups: Any, ahead: Any
) -> Any:
    """Add the products of a panel with the weights of `COLUMNS` outputs, over some groups, to sums in float32.

    Addresses, but for the groups, which are counted; `ahead` is that of weights which are wanted soon.
    """
    kind = NUMBERS[which.literal_value]
    lines = kind.bytes_of_group // BYTES_OF_LINE
    of_weights = bytes_of_weights(kind) // lines  # bytes that are multiplied with a line
    together = TOGETHER[kind]
    zero = ir.Constant(EIGHT, [0.0] * 8) if kind is Numbers.FLOATS else ir.Constant(WHOLE, [0] * 8)

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, rows, scales, weights, sums, groups, ahead = arguments
        places = [[cgutils.alloca_once_value(builder, zero) for _ in range(VECTORS)] for _ in range(ROWS)]
        with cgutils.for_range(builder, groups) as group:
            for place in itertools.chain(*places):
                builder.store(zero, place)
            before = builder.mul(group.index, INT64(lines))
            with cgutils.for_range(builder, INT64(lines)) as loop:
                line = builder.add(before, loop.index)
                row = builder.add(rows, builder.mul(line, INT64(ROWS * BYTES_OF_LINE)))
                weight = builder.add(weights, builder.mul(line, INT64(of_weights)))
                soon = builder.add(ahead, builder.mul(line, INT64(AHEAD * BYTES_OF_LINE)))
                for place in range(AHEAD):
                    _fetch(builder, builder.add(soon, INT64(BYTES_OF_LINE * place)))
                with cgutils.for_range(builder, INT64(BYTES_OF_LINE // STEP // together)) as steps:
                    left = builder.add(row, builder.mul(steps.index, INT64(STEP * together)))
                    right = builder.add(weight, builder.mul(steps.index, INT64(VECTORS * BYTES * together)))
                    for step in range(together):
                        here = builder.add(left, INT64(STEP * step))
                        _add_step(builder, here, builder.add(right, INT64(VECTORS * BYTES * step)), places, kind)
            scale = builder.add(scales, builder.mul(group.index, INT64(4 * ROWS)))
            _leave(builder, places, scale, sums, kind)
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 6), emit


def _add_step(builder: Any, row: Any, weight: Any, places: list[list[Any]], kind: Numbers) -> None:
    """Add the products of a step, whose addresses are given, to sums."""
    factors = [load(builder, builder.add(weight, INT64(BYTES * vector)), EIGHT) for vector in range(VECTORS)]
    for line, vectors in enumerate(places):
        one = _eight(builder, load(builder, builder.add(row, INT64(BYTES_OF_LINE * line)), FLOAT))
        for factor, place in zip(factors, vectors, strict=True):
            before = builder.load(place)
            if kind is Numbers.FLOATS:
                after = _plus(builder, one, factor, before)
            else:
                pair, others = (builder.bitcast(each, FACTORS) for each in (one, factor))
                of_pairs = declared(builder, "llvm.x86.avx2.pmadd.wd", WHOLE, [FACTORS] * 2)
                after = builder.add(before, builder.call(of_pairs, [pair, others]))
            builder.store(after, place)


def _leave(builder: Any, places: list[list[Any]], scales: Any, sums: Any, kind: Numbers) -> None:
    """Add the sums of a group to those in float32; integers times the scales of their rows."""
    for row, vectors in enumerate(places):
        scale = None
        if kind is Numbers.INTEGERS:
            scale = _eight(builder, load(builder, builder.add(scales, INT64(4 * row)), FLOAT))
        for vector, place in enumerate(vectors):
            target = builder.add(sums, INT64(row * BYTES_OF_SUMS + BYTES * vector))
            before, more = load(builder, target, EIGHT), builder.load(place)
            if scale is None:
                after = builder.fadd(before, more)
            else:
                after = _plus(builder, builder.sitofp(more, EIGHT), scale, before)
            store(builder, after, target)


def _plus(builder: Any, one: Any, other: Any, more: Any) -> Any:
    """One * other + more, eight at a time."""
    return builder.call(declared(builder, "llvm.fma.v8f32", EIGHT, [EIGHT] * 3), [one, other, more])


def _eight(builder: Any, value: Any) -> Any:
    """A float32, eight times."""
    one = builder.insert_element(ir.Constant(EIGHT, ir.Undefined), value, INT32(0))
    return builder.shuffle_vector(one, one, ir.Constant(WHOLE, [0] * 8))


def _fetch(builder: Any, address: Any) -> None:
    """Have 64 bytes brought into the nearest cache; the address may be anywhere."""
    pointer = ir.IntType(8).as_pointer()
    fetch = declared(builder, "llvm.prefetch.p0i8", ir.VoidType(), [pointer, INT32, INT32, INT32])
    builder.call(fetch, [builder.inttoptr(address, pointer), INT32(0), INT32(3), INT32(1)])
