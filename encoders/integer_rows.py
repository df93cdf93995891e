"""Rows of numbers as integers of 16 bits, with a scale for every 128 of them: block floating point.

Processors that have AVX2, but no vectors of 512 bits, multiply such integers nearly twice as fast as float32, and add
them up exactly. A group of numbers is scaled so that it is `LENGTH` long, as a vector. Whatever it is multiplied with,
if that is no longer than `integer_linear.LENGTH`, no sum leaves 32 bits (Cauchy and Schwarz); and rounding to the
nearest integer moves a number by 1 / 65,400 of the length of its group at most: beside a single number a thousand times
as large the others of a group are about as coarse as in bfloat16. Shapes: m rows of I numbers, in p panels of `ROWS`,
the last one filled up; g = I / `GROUP` groups.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from numba.core import cgutils, types
from torch import Tensor

from encoders.compiling import instruction, kernel
from encoders.torch_threads import number, run, taken
from encoders.vector_code import (
    FLOAT,
    FLOATS,
    HALVES,
    INT64,
    INTEGERS,
    LANES,
    ROUNDS,
    called,
    every,
    load,
    over_lanes,
    spread,
    store,
    times_plus,
)

ROWS = 6
"""Of a panel: as many as have their sums in registers at a time."""

GROUP = 128
"""Numbers that have a scale together."""

LENGTH = 32_700.0
"""Of a group of integers, before they are rounded: none of them exceeds 16 bits, even by itself."""

BYTES_OF_GROUP = 2 * GROUP
"""Of one row."""

PANELS_AT_ONCE = 8
"""What a thread takes at a time."""

SMALLEST = 1e-30
"""The square of a length that counts as that of zeros."""


@dataclass(frozen=True)
class Integers:
    """Rows as integers.

    Attributes:
        numbers: int16 [p, g, ROWS, GROUP].
        scales: float32 [p, g, ROWS], what the integers of a group are to be multiplied by.
        rows: m.
    """

    numbers: Tensor
    scales: Tensor
    rows: int

    @classmethod
    def empty(cls, rows: int, width: int) -> "Integers":
        """Room for them, with anything in it."""
        panels = -(-rows // ROWS)
        numbers = torch.empty(panels, width // GROUP, ROWS, GROUP, dtype=torch.int16)
        return cls(numbers, torch.empty(panels, width // GROUP, ROWS), rows)

    @property
    def width(self) -> int:
        """I."""
        return self.numbers.shape[1] * GROUP

    def unpacked(self) -> Tensor:
        """float32 [m, I]."""
        groups = self.numbers.float() * self.scales[..., None]
        return groups.transpose(1, 2).reshape(-1, self.width)[: self.rows]


def pack(rows: Tensor) -> Integers:
    """Rows, float32 or bfloat16, [m, I], where I is a multiple of `GROUP`."""
    rows = rows.float().contiguous()
    packed = Integers.empty(len(rows), rows.shape[1])
    packed.numbers[len(rows) // ROWS :] = 0
    packed.scales[len(rows) // ROWS :] = 0
    panels = len(packed.numbers)
    run(_pack_kernel(), -(-panels // PANELS_AT_ONCE), rows, packed.numbers, packed.scales, *rows.shape)
    return packed


def pack_normed(hidden: Tensor, weight: Tensor, bias: Tensor, epsilon: float, _: torch.dtype) -> Integers:
    """Torch's LayerNorm of rows, float32 [m, I]."""
    return pack(F.layer_norm(hidden, weight.shape, weight, bias, epsilon))


def squared(builder: Any, values: list[Any]) -> Any:
    """The sum of the squares of all numbers of some vectors."""
    sums = every(FLOATS, 0.0)
    for value in values:
        sums = times_plus(builder, value, value, sums)
    return over_lanes(builder, sums, builder.fadd)


def write_group(builder: Any, source: Any, square: Any, numbers: Any, scale: Any) -> None:
    """Write a group of one row as integers, and what they are to be multiplied by.

    Args:
        builder: of instructions.
        source: the address of `GROUP` float32.
        square: the sum of their squares.
        numbers: the address of the integers.
        scale: the address of the scale.
    """
    nothing = builder.fcmp_ordered("<", square, FLOAT(SMALLEST))
    length = called(builder, "llvm.sqrt.f32", FLOAT, builder.select(nothing, FLOAT(1.0), square))
    store(builder, builder.fmul(length, FLOAT(1 / LENGTH)), scale)
    by = spread(builder, builder.fdiv(FLOAT(LENGTH), length))
    for vector in range(GROUP // LANES):
        value = load(builder, builder.add(source, INT64(4 * LANES * vector)), FLOATS)
        whole = times_plus(builder, value, by, every(FLOATS, ROUNDS))  # its last 16 bits are the nearest integer
        halves = builder.trunc(builder.bitcast(whole, INTEGERS), HALVES)
        store(builder, halves, builder.add(numbers, INT64(2 * LANES * vector)))


@instruction
def _pack_row(_: Any, source: Any, numbers: Any, scales: Any, groups: Any) -> Any:
    """A row's groups, one after the other. Addresses, but for the groups, which are counted."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        source, numbers, scales, groups = arguments
        with cgutils.for_range(builder, groups) as loop:
            here = builder.add(source, builder.mul(loop.index, INT64(4 * GROUP)))
            values = [load(builder, builder.add(here, INT64(4 * LANES * k)), FLOATS) for k in range(GROUP // LANES)]
            target = builder.add(numbers, builder.mul(loop.index, INT64(ROWS * BYTES_OF_GROUP)))
            scale = builder.add(scales, builder.mul(loop.index, INT64(4 * ROWS)))
            write_group(builder, here, squared(builder, values), target, scale)
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 4), emit


@functools.cache
def _pack_kernel() -> Any:
    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        source, numbers, scales = number(block, 2), number(block, 3), number(block, 4)
        rows, width = number(block, 5), number(block, 6)
        groups, some = width // GROUP, PANELS_AT_ONCE * ROWS
        while True:
            piece = taken(block)
            if piece >= number(block, 1):
                return
            for row in range(piece * some, min((piece + 1) * some, rows)):
                panel, line = row // ROWS, row % ROWS
                target = numbers + (panel * groups * ROWS + line) * BYTES_OF_GROUP
                _pack_row(source + 4 * row * width, target, scales + 4 * (panel * groups * ROWS + line), groups)

    return all_of
