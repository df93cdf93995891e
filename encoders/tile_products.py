"""Products of packed rows with packed weights in the processor's tiles (AMX), and what follows them.

Four tiles of sums, 32 rows by 32 outputs, are added up over all inputs. They are then read as vectors, and what
follows, bias, activation and all, is computed while the next four are added up: the processor multiplies tiles and
computes with vectors at the same time. Shapes: m rows, I inputs, O outputs, in blocks of `packed_rows.SIDE` by as many.
"""

import enum
import functools
import itertools
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
from encoders.torch_threads import keep, number, run, taken
from encoders.vector_code import FLOATS, INT64, LANES, load, store

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


class Result(enum.Enum):
    """Where products go: to rows [m, O], packed, or added to rows."""

    ROWS = "rows"
    PACKED = "packed"
    ONTO = "onto"


Kind = tuple[int, Result, Activation]
"""How many bfloat16 hold a number, and what follows a product."""

KINDS: list[Kind] = list(itertools.product((1, 2), Result, Activation))
"""Compiled code knows them by their places."""


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
    down = -(-blocks // tall)
    wide = -(-columns // min(-(-PIECES_OF_THREAD * torch.get_num_threads() // down), columns))
    pieces = down * -(-columns // wide)
    apart = 2 * SIDE if result is Result.PACKED else out.element_size() * SIDE * columns
    numbers = inputs.rows, steps, columns, tall, wide, apart, down
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


def _follow(builder: Any, rows: tuple[Any, Any], given: tuple[Any, ...], kind: Kind) -> None:
    """What follows some rows of a block of products, from the first to before the last.

    The given ones are the addresses of the sums, of the bias and of the first row's result, and what is between those.
    """
    (sums, bias, out, apart), (parts, result, activation) = given, kind
    with cgutils.for_range_slice(builder, *rows, INT64(1)) as (row, _):
        here = builder.add(sums, builder.mul(row, INT64(ROW_OF_SUMS)))
        target = builder.add(out, builder.mul(row, apart))
        values = []
        for step in STEPS:
            value = builder.fadd(*(load(builder, builder.add(each, step), FLOATS) for each in (here, bias)))
            if result is Result.ONTO:
                value = builder.fadd(value, load(builder, builder.add(target, step), FLOATS))
            values.append(activated(builder, value, activation, fine=parts > 1))
        if result is Result.PACKED:
            write_line(builder, values[0], values[1], target, parts)
        elif result is Result.ROWS and parts == 1:
            store(builder, line_of(builder, values[0], values[1]), target)
        else:
            for step, value in zip(STEPS, values, strict=True):
                store(builder, value, builder.add(target, step))


@instruction
def _multiply_block(  # noqa: PLR0913
    _: Any,
    which: Any,
    rows: Any,
    weights: Any,
    steps: Any,
    sums: Any,
    before: Any,
    bias: Any,
    out: Any,
    apart: Any,
    count: Any,
) -> Any:
    """A block of products of a kind, and what follows an earlier one.

    Addresses, but for the steps, and for what is between rows of the results before, and how many these are.
    """
    kind = KINDS[which.literal_value]
    parts, _, _ = kind

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, rows, weights, steps, sums, before, bias, out, apart, count = arguments
        each = builder.sdiv(builder.add(steps, INT64(SIDE - 1)), steps)
        for tile in range(4):
            amx.zero(context, builder, tile)
        with cgutils.for_range(builder, steps) as loop:
            step = builder.mul(loop.index, INT64(parts * BYTES_OF_BLOCK))
            _add(context, builder, builder.add(rows, step), builder.add(weights, step), parts)
            first = _least(builder, builder.mul(loop.index, each), count)
            last = _least(builder, builder.add(first, each), count)
            _follow(builder, (first, last), (before, bias, out, apart), kind)
        for tile in range(4):
            place = builder.add(sums, INT64(tile // 2 * LANES * ROW_OF_SUMS + tile % 2 * BYTES_OF_LINE))
            amx.write(context, builder, tile, place, INT64(ROW_OF_SUMS))
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 9), emit


@instruction
def _finish(_: Any, which: Any, before: Any, bias: Any, out: Any, apart: Any, count: Any) -> Any:
    """What follows the last block."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, *given, count = arguments
        _follow(builder, (INT64(0), count), tuple(given), KINDS[which.literal_value])
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 5), emit


def _least(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.icmp_signed("<", one, other), one, other)


@functools.cache
def _kernel(kind: Kind) -> Any:
    (parts, result, _), which = kind, KINDS.index(kind)
    block_bytes, to_packed = parts * BYTES_OF_BLOCK, result is Result.PACKED
    size = 4 if parts > 1 or result is Result.ONTO else 2

    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        rows, weights, bias, out = number(block, 3), number(block, 4), number(block, 5), number(block, 6)
        count, steps, columns = number(block, 7), number(block, 8), number(block, 9)
        tall, wide, apart, down = number(block, 10), number(block, 11), number(block, 12), number(block, 13)
        room = np.empty(2 * SIDE * SIDE + LANES, np.float32)
        sums = (room.ctypes.data + 63) // 64 * 64
        before = sums + 4 * SIDE * SIDE
        begin_tiles(number(block, 2))
        while True:
            piece = taken(block)
            if piece >= number(block, 1):
                break
            top, left = piece % down * tall, piece // down * wide
            bottom = min(top + tall, (count + SIDE - 1) // SIDE)
            there, some, shift = np.int64(0), np.int64(0), np.int64(0)  # where the block before goes, and its rows
            for column in range(left, min(left + wide, columns)):
                for row in range(top, bottom):
                    weight, here = weights + column * steps * block_bytes, rows + row * steps * block_bytes
                    if to_packed:
                        target = out + (row * columns + column) * block_bytes
                    else:
                        target = out + SIDE * (row * apart + column * size)
                    _multiply_block(which, here, weight, steps, sums, before, shift, there, apart, some)
                    sums, before = before, sums
                    shift, there, some = bias + 4 * SIDE * column, target, min(np.int64(SIDE), count - SIDE * row)
            _finish(which, before, shift, there, apart, some)
        end_tiles()
        keep(room)

    return all_of
