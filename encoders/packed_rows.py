"""Rows of numbers as the processor's tiles read them (AMX), and how they come to lie so.

32 rows by 32 numbers of bfloat16, 2 KB without a gap, are two tiles. A float32 is packed as two bfloat16, the nearest
one and the nearest one to what that leaves over, which hold 16 of its 24 bits; products of such pairs are right to
1e-5 of their terms (`encoders.packed_linear`). Shapes: m rows of I numbers, both up to the next multiple of `SIDE`,
in b = m / SIDE by c = I / SIDE blocks.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from torch import Tensor

from encoders.compiling import instruction, kernel
from encoders.torch_threads import number, run, taken
from encoders.vector_code import (
    FLOAT,
    FLOATS,
    HALVES,
    INT32,
    INT64,
    INTEGERS,
    LANES,
    called,
    declared,
    every,
    load,
    over_lanes,
    spread,
    store,
    times_plus,
    widened,
)

SIDE = 32
"""Rows and numbers of a block; the numbers are a line of a tile."""

BYTES_OF_BLOCK = 2 * SIDE * SIDE

ROWS_AT_ONCE = 32
"""What a thread takes at a time."""

BYTES_OF_FLOAT = 4


@dataclass(frozen=True)
class Packed:
    """Rows in blocks.

    Attributes:
        blocks: bfloat16 [b, c, p, SIDE, SIDE], where p is 1 for numbers of bfloat16 and 2 for those of float32.
        rows: m.
    """

    blocks: Tensor
    rows: int

    @classmethod
    def empty(cls, rows: int, width: int, parts: int) -> "Packed":
        """Room for them, with anything in it."""
        return cls(torch.empty(-(-rows // SIDE), width // SIDE, parts, SIDE, SIDE, dtype=torch.bfloat16), rows)

    @property
    def parts(self) -> int:
        """How many bfloat16 hold a number."""
        return self.blocks.shape[2]

    @property
    def width(self) -> int:
        """I."""
        return self.blocks.shape[1] * SIDE

    def unpacked(self) -> Tensor:
        """float32 [m, I]."""
        rows = self.blocks.float().sum(dim=2).transpose(1, 2).reshape(-1, self.width)  # the parts come apart exactly
        return rows[: self.rows]


def parts_of(dtype: torch.dtype) -> int:
    """How many bfloat16 hold a number of a kind."""
    return 1 if dtype is torch.bfloat16 else 2


def pack(rows: Tensor) -> Packed:
    """Rows, bfloat16 or float32, [m, I], where I is a multiple of `SIDE`."""
    rows = rows.contiguous()
    packed = Packed.empty(len(rows), rows.shape[1], parts_of(rows.dtype))
    run(_pack_kernel(), len(rows), rows, packed.blocks, rows.shape[1], packed.parts)
    return packed


def pack_normed(hidden: Tensor, weight: Tensor, bias: Tensor, epsilon: float, dtype: torch.dtype) -> Packed:
    """Torch's LayerNorm of rows, rounded to bfloat16 or not.

    Args:
        hidden: float32 [m, I], contiguous, I a multiple of `SIDE`.
        weight: float32 [I].
        bias: float32 [I].
        epsilon: of the norm.
        dtype: of the result.
    """
    packed = Packed.empty(len(hidden), hidden.shape[1], parts_of(dtype))
    bits = int(np.float32(epsilon).view(np.int32))
    run(_norm_kernel(), len(hidden), hidden, weight, bias, packed.blocks, hidden.shape[1], packed.parts, bits)
    return packed


class _Bfloat(ir.Type):  # type: ignore[misc]  # llvmlite has no types
    """LLVM's, of which llvmlite does not know."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


LINE = ir.VectorType(_Bfloat(), SIDE)


def line_of(builder: Any, lower: Any, upper: Any) -> Any:
    """Two vectors of float32 as a line of bfloat16."""
    function = declared(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", LINE, [FLOATS] * 2)
    return builder.bitcast(builder.call(function, [upper, lower]), ir.VectorType(INT32, LANES))


def write_line(builder: Any, lower: Any, upper: Any, address: Any, parts: int) -> None:
    """32 numbers to their place in a block, and what rounding leaves over to the block behind it."""
    line = line_of(builder, lower, upper)
    store(builder, line, address)
    if parts > 1:
        halves = builder.bitcast(line, ir.VectorType(HALVES.element, SIDE))
        rests = []
        for start, value in ((0, lower), (LANES, upper)):
            places = ir.Constant(INTEGERS, list(range(start, start + LANES)))
            rests.append(builder.fsub(value, widened(builder, builder.shuffle_vector(halves, halves, places))))
        store(builder, line_of(builder, *rests), builder.add(address, INT64(BYTES_OF_BLOCK)))


def _over_lines(builder: Any, width: Any, target: Any, parts: int, value: Callable[[Any], Any]) -> None:
    """Write a row whose first line's address is given; `value` gives the vector at a place."""
    with cgutils.for_range(builder, builder.sdiv(width, INT64(SIDE))) as loop:
        place = builder.mul(loop.index, INT64(2))
        pair = value(place), value(builder.add(place, INT64(1)))
        write_line(builder, *pair, builder.add(target, builder.mul(loop.index, INT64(parts * BYTES_OF_BLOCK))), parts)


def _at(builder: Any, start: Any, place: Any, size: int = BYTES_OF_FLOAT) -> Any:
    return builder.add(start, builder.mul(place, INT64(size * LANES)))


def _pack_row(parts: int) -> Any:
    @instruction
    def pack_row(_: Any, row: Any, target: Any, width: Any) -> Any:
        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            row, target, width = arguments
            lines = ir.VectorType(INT32, LANES)
            if parts > 1:
                _over_lines(
                    builder, width, target, parts, lambda place: load(builder, _at(builder, row, place), FLOATS)
                )
                return context.get_dummy_value()
            with cgutils.for_range(builder, builder.sdiv(width, INT64(SIDE))) as loop:
                line = load(builder, builder.add(row, builder.mul(loop.index, INT64(2 * SIDE))), lines)
                store(builder, line, builder.add(target, builder.mul(loop.index, INT64(BYTES_OF_BLOCK))))
            return context.get_dummy_value()

        return types.void(*(types.int64,) * 3), emit

    return pack_row


def _norm_row(parts: int) -> Any:
    @instruction
    def norm_row(_: Any, hidden: Any, weight: Any, bias: Any, target: Any, width: Any, epsilon: Any) -> Any:
        """Addresses, but for the width and epsilon's bits."""

        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            hidden, weight, bias, target, width, epsilon = arguments

            def mean(term: Callable[[Any], Any]) -> Any:
                """Over the row, of what a term makes of each vector."""
                sums = cgutils.alloca_once_value(builder, every(FLOATS, 0.0))
                with cgutils.for_range(builder, builder.sdiv(width, INT64(LANES))) as loop:
                    value = load(builder, _at(builder, hidden, loop.index), FLOATS)
                    builder.store(builder.fadd(builder.load(sums), term(value)), sums)
                return builder.fdiv(over_lanes(builder, builder.load(sums), builder.fadd), builder.sitofp(width, FLOAT))

            def away(value: Any) -> Any:
                return builder.fsub(value, middle)

            def normed(place: Any) -> Any:
                value, gain, shift = (
                    load(builder, _at(builder, each, place), FLOATS) for each in (hidden, weight, bias)
                )
                return times_plus(builder, builder.fmul(away(value), scale), gain, shift)

            middle = spread(builder, mean(lambda value: value))
            variance = mean(lambda value: builder.fmul(away(value), away(value)))
            variance = builder.fadd(variance, builder.bitcast(builder.trunc(epsilon, INT32), FLOAT))
            scale = spread(builder, builder.fdiv(FLOAT(1.0), called(builder, "llvm.sqrt.f32", FLOAT, variance)))
            _over_lines(builder, width, target, parts, normed)
            return context.get_dummy_value()

        return types.void(*(types.int64,) * 6), emit

    return norm_row


_pack_half, _pack_whole = _pack_row(1), _pack_row(2)
_norm_to_half, _norm_to_whole = _norm_row(1), _norm_row(2)


@functools.cache
def _pack_kernel() -> Any:
    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        rows, source, target = number(block, 1), number(block, 2), number(block, 3)
        width, parts = number(block, 4), number(block, 5)
        while True:
            first = taken(block) * ROWS_AT_ONCE
            if first >= rows:
                return
            for row in range(first, min(first + ROWS_AT_ONCE, rows)):
                line = target + row // SIDE * SIDE * width * 2 * parts + row % SIDE * 2 * SIDE
                if parts > 1:
                    _pack_whole(source + row * width * BYTES_OF_FLOAT, line, width)
                else:
                    _pack_half(source + row * width * 2, line, width)

    return all_of


@functools.cache
def _norm_kernel() -> Any:
    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        rows, hidden, weight, bias = number(block, 1), number(block, 2), number(block, 3), number(block, 4)
        target, width, parts, epsilon = number(block, 5), number(block, 6), number(block, 7), number(block, 8)
        while True:
            first = taken(block) * ROWS_AT_ONCE
            if first >= rows:
                return
            for row in range(first, min(first + ROWS_AT_ONCE, rows)):
                source = hidden + row * width * BYTES_OF_FLOAT
                line = target + row // SIDE * SIDE * width * 2 * parts + row % SIDE * 2 * SIDE
                if parts > 1:
                    _norm_to_whole(source, weight, bias, line, width, epsilon)
                else:
                    _norm_to_half(source, weight, bias, line, width, epsilon)

    return all_of
