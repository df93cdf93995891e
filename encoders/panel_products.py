"""Products of rows in panels (`encoders.panel_rows`) with weights, and what follows them.

A thread takes a block of panels and of outputs at a time: the weights of sixteen outputs and some groups of inputs stay
in the nearest cache while the panels pass by (`encoders.panel_sums`), and the panels' share of these inputs in the next
one while the outputs do. What follows, the bias, an activation, a residual, is computed when the sums of the block are
complete. Shapes: m rows, I inputs, O outputs.
"""

import functools
import itertools
from typing import Any

import numpy as np
from numba.core import types
from torch import Tensor

from encoders.activation_code import activated
from encoders.compiling import instruction, kernel
from encoders.fused_linear import Activation
from encoders.panel_rows import BYTES_OF_LINE, GROUP, NUMBERS, ROWS, Numbers, Panels, write_group
from encoders.panel_sums import AHEAD, BYTES_OF_SUMS, COLUMNS, add_products, bytes_of_weights
from encoders.tile_products import Result
from encoders.torch_threads import keep, number, run, taken
from encoders.vector_code import FLOATS, INT64, LANES, load, store, times_plus

PANELS = 8
"""Of a block; its outputs are a group of what comes next."""

BYTES_AT_ONCE = 16_384
"""Of the weights of `COLUMNS` outputs, which stay in the nearest cache together."""

Kind = tuple[Numbers, Result, Activation]

KINDS: list[Kind] = list(itertools.product(Numbers, Result, Activation))
"""Compiled code knows them by their places."""


def multiply(inputs: Panels, weights: tuple[Tensor, Tensor, Tensor], out: Tensor | Panels, kind: Kind) -> None:
    """Multiply, and do what follows.

    Args:
        inputs: m rows of I.
        weights: a matrix as `panel_linear.packed_weight` has it, its scales and a bias, float32 [O] both.
        out: what is written to: panels, or rows, float32 [m, O], contiguous.
        kind: of numbers, where products go, and through which activation.
    """
    panels, groups, blocks = len(inputs.numbers), inputs.width // GROUP, len(weights[2]) // GROUP
    there = (out.numbers, out.scales) if isinstance(out, Panels) else (out, out)
    given = inputs.numbers, inputs.scales, *weights, *there
    run(_kernel(kind), -(-panels // PANELS) * blocks, *given, inputs.rows, groups, blocks, panels)


@instruction
def _follow(_: Any, which: Any, sums: Any, scales: Any, bias: Any, out: Any, more: Any) -> Any:
    """What follows a row of sums of a block, of a kind; the sums may be something else afterwards.

    Addresses: of the sums, of the weights' scales, of the bias, of the row's result, and, for integers, of their scale.
    """
    numbers, result, activation = KINDS[which.literal_value]

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, sums, scales, bias, out, more = arguments
        for place in (INT64(4 * LANES * vector) for vector in range(GROUP // LANES)):
            value, shift = (load(builder, builder.add(each, place), FLOATS) for each in (sums, bias))
            if numbers is Numbers.INTEGERS:
                value = times_plus(builder, value, load(builder, builder.add(scales, place), FLOATS), shift)
            else:
                value = builder.fadd(value, shift)
            value = activated(builder, value, activation, fine=True)
            target = builder.add(sums if result is Result.PACKED else out, place)
            if result is Result.ONTO:
                value = builder.fadd(value, load(builder, target, FLOATS))
            store(builder, value, target)
        if result is Result.PACKED:
            write_group(builder, sums, out, more, numbers)
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 5), emit


@functools.cache
def _kernel(kind: Kind) -> Any:
    which, numbers, packs = KINDS.index(kind), NUMBERS.index(kind[0]), kind[1] is Result.PACKED
    of_group, of_weights = ROWS * kind[0].bytes_of_group, bytes_of_weights(kind[0])  # bytes
    groups_at_once, of_columns = BYTES_AT_ONCE // of_weights, GROUP // COLUMNS
    fetched = AHEAD * kind[0].bytes_of_group  # bytes of weights with a group of a panel

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
                break
            top, left = piece // blocks * PANELS, piece % blocks
            bottom = min(top + PANELS, panels)
            for group in range(0, groups, groups_at_once):
                some = min(np.int64(groups_at_once), groups - group)
                for column in range(of_columns):
                    weight = weights + ((left * of_columns + column) * groups + group) * of_weights
                    ahead = weight + groups * of_weights  # of the next outputs
                    for panel in range(top, bottom):
                        place, target = panel * groups + group, sums + (panel - top) * ROWS * BYTES_OF_SUMS
                        row, scale = rows + place * of_group, row_scales + 4 * ROWS * place
                        add_products(numbers, row, scale, weight, target + 4 * COLUMNS * column, some, ahead)
                        ahead += some * fetched
            shift = BYTES_OF_SUMS * left
            for row in range(top * ROWS, bottom * ROWS if packs else min(bottom * ROWS, count)):
                here, panel, line = sums + (row - top * ROWS) * BYTES_OF_SUMS, row // ROWS * blocks + left, row % ROWS
                there = panel * of_group + line * BYTES_OF_LINE if packs else row * blocks * BYTES_OF_SUMS + shift
                scale = out_scales + 4 * (ROWS * panel + line)
                _follow(which, here, scales + shift, bias + shift, out + there, scale)
            room[:] = 0
        keep(room)

    return all_of
