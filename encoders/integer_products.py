"""Products of rows of integers with weights of integers (`encoders.integer_rows`), and what follows them.

The sums of a panel of rows and of `COLUMNS` outputs stay in registers, as integers, over a group of inputs; then they
become float32, times the group's scale. A thread takes a block of panels and of outputs at a time: sixteen outputs'
weights stay in the nearest cache while the panels pass by. What follows, the bias, an activation, a residual, is
computed when the sums of the block are complete. Shapes: m rows, I inputs, O outputs.
"""

import functools
import itertools
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from torch import Tensor

from encoders.activation_code import activated
from encoders.compiling import instruction, kernel
from encoders.fused_linear import Activation
from encoders.integer_rows import BYTES_OF_GROUP, GROUP, ROWS, Integers, squared, write_group
from encoders.tile_products import Result
from encoders.torch_threads import number, run, taken
from encoders.vector_code import FLOAT, FLOATS, INT16, INT32, INT64, LANES, declared, load, store, times_plus

COLUMNS = 16
"""Outputs that have their sums in registers at a time, in two vectors."""

VECTORS, SUMS = 2, ir.VectorType(INT32, 8)
EIGHT = ir.VectorType(FLOAT, 8)
FACTORS = ir.VectorType(INT16, 16)

PAIR = 4
"""Bytes of two integers, which are multiplied together."""

PANELS = 8
"""Of a block; its outputs are a group of what comes next."""

GROUPS_AT_ONCE = 4
"""Groups of inputs whose weights, for `COLUMNS` outputs, stay in the nearest cache together: 16 KB."""

BYTES_OF_LINE = 4 * GROUP
"""Of a row of the sums of a block."""

BYTES_OF_WEIGHTS = COLUMNS * BYTES_OF_GROUP
"""Of a group of inputs and `COLUMNS` outputs."""

Kind = tuple[Result, Activation]

KINDS: list[Kind] = list(itertools.product(Result, Activation))
"""Compiled code knows them by their places."""


def multiply(inputs: Integers, weights: tuple[Tensor, Tensor, Tensor], out: Tensor | Integers, kind: Kind) -> None:
    """Multiply, and do what follows.

    Args:
        inputs: m rows of I.
        weights: a matrix as `integer_linear.packed_weight` has it, its scales and a bias, float32 [O] both.
        out: what is written to: integers, or rows, float32 [m, O], contiguous.
        kind: where products go, and through which activation.
    """
    panels, groups = inputs.scales.shape[:2]
    blocks = len(weights[1]) // GROUP
    there = (out.numbers, out.scales) if isinstance(out, Integers) else (out, out)
    pieces = -(-panels // PANELS) * blocks
    given = inputs.numbers, inputs.scales, *weights, *there
    run(_kernel(kind), pieces, *given, inputs.rows, groups, blocks, panels)


@instruction
def _multiply_panel(_: Any, rows: Any, scales: Any, weights: Any, sums: Any, groups: Any) -> Any:
    """Add the products of a panel with the weights of `COLUMNS` outputs, over some groups, to sums in float32.

    Addresses, but for the groups, which are counted.
    """

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        rows, scales, weights, sums, groups = arguments
        zero = ir.Constant(SUMS, [0] * 8)
        places = [[cgutils.alloca_once_value(builder, zero) for _ in range(VECTORS)] for _ in range(ROWS)]
        with cgutils.for_range(builder, groups) as group:
            for place in itertools.chain(*places):
                builder.store(zero, place)
            left = builder.add(rows, builder.mul(group.index, INT64(ROWS * BYTES_OF_GROUP)))
            right = builder.add(weights, builder.mul(group.index, INT64(BYTES_OF_WEIGHTS)))
            with cgutils.for_range(builder, INT64(GROUP // 2)) as pair:
                row = builder.add(left, builder.mul(pair.index, INT64(PAIR)))
                _add_pairs(builder, row, builder.add(right, builder.mul(pair.index, INT64(PAIR * COLUMNS))), places)
            for row, vectors in enumerate(places):
                place = builder.add(builder.mul(group.index, INT64(4 * ROWS)), INT64(4 * row))
                scale = _eight(builder, load(builder, builder.add(scales, place), FLOAT), EIGHT)
                for vector, of_vector in enumerate(vectors):
                    target = builder.add(sums, INT64(row * BYTES_OF_LINE + 32 * vector))
                    before, product = load(builder, target, EIGHT), builder.sitofp(builder.load(of_vector), EIGHT)
                    plus = declared(builder, "llvm.fma.v8f32", EIGHT, [EIGHT] * 3)
                    store(builder, builder.call(plus, [product, scale, before]), target)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 5), emit


def _add_pairs(builder: Any, row: Any, weight: Any, places: list[list[Any]]) -> None:
    """Add the products of two inputs, whose addresses are given, to sums."""
    factors = [load(builder, builder.add(weight, INT64(32 * vector)), FACTORS) for vector in range(VECTORS)]
    of_pairs = declared(builder, "llvm.x86.avx2.pmadd.wd", SUMS, [FACTORS] * 2)
    for line, vectors in enumerate(places):
        pair = load(builder, builder.add(row, INT64(BYTES_OF_GROUP * line)), INT32)
        pair = builder.bitcast(_eight(builder, pair, SUMS), FACTORS)
        for factor, place in zip(factors, vectors, strict=True):
            builder.store(builder.add(builder.load(place), builder.call(of_pairs, [pair, factor])), place)


def _eight(builder: Any, value: Any, kind: Any) -> Any:
    """A number, eight times."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, INT32(0))
    return builder.shuffle_vector(one, one, ir.Constant(SUMS, [0] * 8))


@instruction
def _follow(_: Any, which: Any, sums: Any, scales: Any, bias: Any, out: Any, more: Any) -> Any:
    """What follows a row of sums of a block, of a kind; the sums may be something else afterwards.

    Addresses: of the sums, of the weights' scales, of the bias, of the row's result, and, for integers, of their scale.
    """
    result, activation = KINDS[which.literal_value]

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, sums, scales, bias, out, more = arguments
        values = []
        places = [INT64(4 * LANES * vector) for vector in range(GROUP // LANES)]
        for place in places:
            one, scale, shift = (load(builder, builder.add(each, place), FLOATS) for each in (sums, scales, bias))
            value = activated(builder, times_plus(builder, one, scale, shift), activation, fine=True)
            if result is Result.PACKED:
                store(builder, value, builder.add(sums, place))
                values.append(value)
                continue
            target = builder.add(out, place)
            if result is Result.ONTO:
                value = builder.fadd(value, load(builder, target, FLOATS))
            store(builder, value, target)
        if values:
            write_group(builder, sums, squared(builder, values), out, more)
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 5), emit


@functools.cache
def _kernel(kind: Kind) -> Any:
    which = KINDS.index(kind)
    tall, size = (ROWS, BYTES_OF_GROUP) if kind[0] is Result.PACKED else (1, BYTES_OF_LINE)  # of a panel, of a line

    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        rows, row_scales = number(block, 2), number(block, 3)
        weights, scales, bias = number(block, 4), number(block, 5), number(block, 6)
        out, out_scales = number(block, 7), number(block, 8)
        count, groups, blocks, panels = number(block, 9), number(block, 10), number(block, 11), number(block, 12)
        room = np.zeros(PANELS * ROWS * GROUP, np.float32)
        sums = room.ctypes.data
        while True:
            piece = taken(block)
            if piece >= number(block, 1):
                return
            top, left = piece // blocks * PANELS, piece % blocks
            bottom = min(top + PANELS, panels)
            for column in range(GROUP // COLUMNS):
                for group in range(0, groups, GROUPS_AT_ONCE):
                    some = min(np.int64(GROUPS_AT_ONCE), groups - group)
                    weight = weights + ((left * (GROUP // COLUMNS) + column) * groups + group) * BYTES_OF_WEIGHTS
                    for panel in range(top, bottom):
                        place = (panel * groups + group) * ROWS
                        target = sums + (panel - top) * ROWS * BYTES_OF_LINE + 4 * COLUMNS * column
                        _multiply_panel(rows + place * BYTES_OF_GROUP, row_scales + 4 * place, weight, target, some)
            shift = BYTES_OF_LINE * left
            for row in range(top * ROWS, min(bottom * ROWS, (count + tall - 1) // tall * tall)):
                place = (row // tall * blocks + left) * tall + row % tall
                here, there = sums + (row - top * ROWS) * BYTES_OF_LINE, out + place * size
                _follow(which, here, scales + shift, bias + shift, there, out_scales + 4 * place)
            room[:] = 0

    return all_of
