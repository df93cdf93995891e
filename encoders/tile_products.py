"""Products of packed rows with packed weights in the processor's tiles (AMX), and what follows them.

Four tiles of sums, 32 rows by 32 outputs, are added up over all inputs. They are then read as vectors, and what
follows, bias, activation and all, is computed while the next four are added up: the processor multiplies tiles and
computes with vectors at the same time. Shapes: m rows, I inputs, O outputs, in blocks of `packed_rows.SIDE` by as many.
"""

import enum
import functools
from typing import Any

import numpy as np
import torch
from numba.core import cgutils, types
from torch import Tensor

from encoders import amx
from encoders.activation_code import activated
from encoders.amx import BYTES_OF_LINE, begin_tiles, end_tiles, whole_tiles
from encoders.compiling import instruction, kernel
from encoders.fused_linear import Activation
from encoders.packed_rows import BYTES_OF_BLOCK, SIDE, Packed, line_of, write_line
from encoders.torch_threads import number, run, taken
from encoders.vector_code import FLOATS, INT64, LANES, Abreast, Several, fetch, load, store

BYTES_OF_ROWS, LEAST_BLOCKS = 2**19, 4
"""Of the rows that a thread takes at a time: they stay in its own cache while all weights pass by."""

PIECES_OF_THREAD = 4
"""At least so many, if need be with some of the outputs each, lest one thread wait for another."""

ROW_TILES, WEIGHT_TILES = (4, 5), (6, 7)
"""Behind the sums. Rows are read once for every 32 outputs, and shall not push weights out of the nearest cache."""

BYTES_OF_TILE = BYTES_OF_BLOCK // 2

ROW_OF_SUMS = 4 * SIDE

STEPS = INT64(0), INT64(4 * LANES)
"""From the start of a row of sums to its vectors."""

AT_ONCE = 2
"""Rows of a block whose activations are computed side by side."""


class Result(enum.Enum):
    """Where products go: to rows [m, O], packed, or added to rows."""

    ROWS = "rows"
    PACKED = "packed"
    ONTO = "onto"


Kind = tuple[int, Result, Activation]
"""How many bfloat16 hold a number, and what follows a product."""


def multiply(inputs: Packed, weights: tuple[Tensor, Tensor], out: Tensor, follows: tuple[Result, Activation]) -> None:
    """Multiply, and do what follows.

    Args:
        inputs: m rows of I.
        weights: a matrix as `packed_linear.packed_weight` has it, and a bias, float32 [O].
        out: what is written to, contiguous: the blocks of packed rows, or rows [m, O], float32 where it is added to
            them or where two bfloat16 hold a number, else bfloat16.
        follows: where products go, and through which activation.
    """
    (weight, bias), (result, activation), parts = weights, follows, inputs.parts
    blocks, steps, columns = inputs.blocks.shape[0], inputs.blocks.shape[1], weight.shape[0]
    tall = min(max(BYTES_OF_ROWS // (BYTES_OF_BLOCK * parts * steps), LEAST_BLOCKS), blocks)
    wanted = PIECES_OF_THREAD * torch.get_num_threads() * tall // blocks
    wide = columns // min(max(wanted, 1), columns)
    pieces = -(-blocks // tall) * -(-columns // wide)
    apart = 2 * SIDE if result is Result.PACKED else out.element_size() * SIDE * columns
    numbers = inputs.rows, steps, columns, tall, wide, apart
    run(_kernel((parts, result, activation)), pieces, _SHAPES, inputs.blocks, weight, bias, out, *numbers)


_SHAPES = whole_tiles()

_plus = amx.emitter("tdpbf16ps", "ttt", "amx-bf16")


def _add(context: Any, builder: Any, row: Any, weight: Any, parts: int) -> None:
    """Add the products of a block of rows with one of weights, whose addresses are given, to the tiles of sums."""

    def bring(tile: int, block: Any, place: int) -> None:
        read = amx.read_once if tile in ROW_TILES else amx.read
        read(context, builder, tile, builder.add(block, INT64(place * BYTES_OF_TILE)), INT64(BYTES_OF_LINE))

    def plus(*pairs: tuple[int, int]) -> None:
        for one, other in pairs:
            _plus(context, builder, 2 * one + other, ROW_TILES[one], WEIGHT_TILES[other])

    bring(WEIGHT_TILES[0], weight, 0)
    bring(ROW_TILES[0], row, 0)
    bring(WEIGHT_TILES[1], weight, 1)
    bring(ROW_TILES[1], row, 1)
    plus((0, 0), (0, 1), (1, 0), (1, 1))
    if parts == 1:
        return
    bring(WEIGHT_TILES[0], weight, 2)  # what rounding the weights left over
    plus((0, 0), (1, 0))
    bring(WEIGHT_TILES[1], weight, 3)
    plus((0, 1), (1, 1))
    bring(ROW_TILES[0], row, 2)  # what rounding the rows left over
    bring(WEIGHT_TILES[0], weight, 0)
    plus((0, 0))
    bring(WEIGHT_TILES[1], weight, 1)
    plus((0, 1))
    bring(ROW_TILES[1], row, 3)
    plus((1, 0), (1, 1))


def _follow(builder: Any, row: Any, count: int, given: tuple[Any, ...], kind: Kind) -> None:
    """What follows so many rows of a block of products, from one on.

    The given ones are the addresses of the sums, of the bias and of the first row's result, and what is between those.
    """
    (sums, bias, out, apart), (parts, result, activation) = given, kind
    rows = [builder.add(row, INT64(place)) for place in range(count)]
    targets = [builder.add(out, builder.mul(each, apart)) for each in rows]
    shifts = [load(builder, builder.add(bias, step), FLOATS) for step in STEPS]
    values = []
    for each, target in zip(rows, targets, strict=True):
        here = builder.add(sums, builder.mul(each, INT64(ROW_OF_SUMS)))
        for step, shift in zip(STEPS, shifts, strict=True):
            value = builder.fadd(load(builder, builder.add(here, step), FLOATS), shift)
            if result is Result.ONTO:
                value = builder.fadd(value, load(builder, builder.add(target, step), FLOATS))
            values.append(value)
    values = list(activated(Abreast(builder), Several(values), activation, fine=parts > 1))
    for target, lower, upper in zip(targets, values[::2], values[1::2], strict=True):
        if result is Result.PACKED:
            write_line(builder, lower, upper, target, parts)
        elif result is Result.ROWS and parts == 1:
            store(builder, line_of(builder, lower, upper), target)
        else:
            for step, value in zip(STEPS, (lower, upper), strict=True):
                store(builder, value, builder.add(target, step))


def _follow_all(builder: Any, rows: tuple[Any, Any], given: tuple[Any, ...], kind: Kind) -> None:
    """What follows rows from the first to before the last, several at once and then the rest."""
    first, last = rows
    whole = builder.mul(builder.sdiv(builder.sub(last, first), INT64(AT_ONCE)), INT64(AT_ONCE))
    middle = builder.add(first, whole)
    with cgutils.for_range_slice(builder, first, middle, INT64(AT_ONCE)) as (row, _):
        _follow(builder, row, AT_ONCE, given, kind)
    with cgutils.for_range_slice(builder, middle, last, INT64(1)) as (row, _):
        _follow(builder, row, 1, given, kind)


def _block(kind: Kind) -> Any:
    """An instruction: a block of products, and what follows an earlier one."""
    parts, result, _ = kind

    @instruction
    def multiply_block(  # noqa: PLR0913
        _: Any,
        rows: Any,
        weights: Any,
        steps: Any,
        sums: Any,
        here: Any,
        soon: Any,
        lines: Any,
        before: Any,
        bias: Any,
        out: Any,
        apart: Any,
        count: Any,
    ) -> Any:
        """Addresses, but for the steps, and for what is between rows of the results before, and how many they are.

        What will be written to `here`, and so many lines a step from `soon` on, are brought nearer meanwhile.
        """

        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            rows, weights, steps, sums, here, soon, lines, before, bias, out, apart, count = arguments
            each = builder.sdiv(builder.add(steps, INT64(SIDE - 1)), steps)
            each = builder.and_(builder.add(each, INT64(AT_ONCE - 1)), INT64(-AT_ONCE))
            for tile in range(4):
                amx.zero(context, builder, tile)
            with cgutils.for_range(builder, steps) as loop:
                step = builder.mul(loop.index, INT64(parts * BYTES_OF_BLOCK))
                _add(context, builder, builder.add(rows, step), builder.add(weights, step), parts)
                first = _least(builder, builder.mul(loop.index, each), count)
                last = _least(builder, builder.add(first, each), count)
                _follow_all(builder, (first, last), (before, bias, out, apart), kind)
                line = builder.add(soon, builder.mul(builder.mul(loop.index, lines), INT64(BYTES_OF_LINE)))
                with cgutils.for_range(builder, lines) as ahead:
                    fetch(builder, builder.add(line, builder.mul(ahead.index, INT64(BYTES_OF_LINE))), to_write=False)
                if result is not Result.PACKED:
                    with cgutils.for_range_slice(builder, first, last, INT64(1)) as (row, _):
                        fetch(builder, builder.add(here, builder.mul(row, apart)), to_write=True)
            for tile in range(4):
                place = builder.add(sums, INT64(tile // 2 * LANES * ROW_OF_SUMS + tile % 2 * BYTES_OF_LINE))
                amx.write(context, builder, tile, place, INT64(ROW_OF_SUMS))
            return context.get_dummy_value()

        return types.void(*(types.int64,) * 12), emit

    return multiply_block


def _last_block(kind: Kind) -> Any:
    """An instruction: what follows the last block."""

    @instruction
    def finish(_: Any, before: Any, bias: Any, out: Any, apart: Any, count: Any) -> Any:
        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            *given, count = arguments
            _follow_all(builder, (INT64(0), count), tuple(given), kind)
            return context.get_dummy_value()

        return types.void(*(types.int64,) * 5), emit

    return finish


def _least(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_signed("<", one, other), one, other)


@functools.cache
def _kernel(kind: Kind) -> Any:
    (parts, result, _), multiply_block, finish = kind, _block(kind), _last_block(kind)
    block_bytes, to_packed = parts * BYTES_OF_BLOCK, result is Result.PACKED
    size = 4 if parts > 1 or result is Result.ONTO else 2

    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        rows, weights, bias, out = number(block, 3), number(block, 4), number(block, 5), number(block, 6)
        count, steps, columns = number(block, 7), number(block, 8), number(block, 9)
        tall, wide, apart = number(block, 10), number(block, 11), number(block, 12)
        room = np.empty(2 * SIDE * SIDE + LANES, np.float32)
        sums = (room.ctypes.data + 63) // 64 * 64
        before = sums + 4 * SIDE * SIDE
        across = (columns + wide - 1) // wide
        begin_tiles(number(block, 2))
        while True:
            piece = taken(block)
            if piece >= number(block, 1):
                break
            top, left = piece // across * tall, piece % across * wide
            bottom = min(top + tall, (count + SIDE - 1) // SIDE)
            lines = (SIDE * parts + bottom - top - 1) // (bottom - top)  # of the next weights, with every step of this
            there, some, shift = np.int64(0), np.int64(0), np.int64(0)  # where the block before goes, and its rows
            for column in range(left, min(left + wide, columns)):
                for row in range(top, bottom):
                    weight, here = weights + column * steps * block_bytes, rows + row * steps * block_bytes
                    if to_packed:
                        target = out + (row * columns + column) * block_bytes
                    else:
                        target = out + SIDE * (row * apart + column * size)
                    soon = weight + steps * (block_bytes + (row - top) * lines * BYTES_OF_LINE)
                    multiply_block(here, weight, steps, sums, target, soon, lines, before, shift, there, apart, some)
                    sums, before = before, sums
                    shift, there, some = bias + 4 * SIDE * column, target, min(np.int64(SIDE), count - SIDE * row)
            finish(before, shift, there, apart, some)
        end_tiles()

    return all_of
