"""Rows of numbers in panels, as products by AVX2 read them: in float32, or in integers of 16 bits.

A panel has `ROWS` rows, 64 bytes of the first, 64 of the second, and so on, so that it is read from one end to the
other. Integers have a scale for every `GROUP` of a row's: block floating point. Processors that have AVX2, but no
vectors of 512 bits, multiply them half as fast again as float32, and add them up exactly. A group of numbers is scaled
so that it is `LENGTH` long, as a vector. Whatever it is multiplied with, if that is no longer than
`panel_linear.LENGTH`, no sum leaves 32 bits (Cauchy and Schwarz); and rounding to the nearest integer moves a number by
1 / 65,400 of the length of its group at most: beside a single number a thousand times as large the others of a group
are about as coarse as in bfloat16. Shapes: m rows of I numbers, in p panels, the last one filled up; g = I / `GROUP`
groups.
"""

import enum
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
"""Numbers that are multiplied and added up together, and integers that have a scale together."""

BYTES_OF_LINE = 64
"""Of a row, side by side."""

LENGTH = 32_700.0
"""Of a group of integers, before they are rounded: none of them exceeds 16 bits, even by itself."""

PANELS_AT_ONCE = 8
"""What a thread takes at a time."""

SMALLEST = 1e-30
"""The square of a length that counts as that of zeros."""


class Numbers(enum.Enum):
    """What rows and weights are kept in."""

    FLOATS = torch.float32
    INTEGERS = torch.int16

    @property
    def bytes_of_group(self) -> int:
        """Of one row."""
        return GROUP * self.value.itemsize


NUMBERS = list(Numbers)
"""Compiled code knows them by their places."""


@dataclass(frozen=True)
class Panels:
    """Rows in panels.

    Attributes:
        numbers: float32 or int16 [p, I / n, ROWS, n], where n numbers have 64 bytes.
        scales: float32 [p, g, ROWS], what the integers of a group are to be multiplied by; nothing with float32.
        rows: m.
    """

    numbers: Tensor
    scales: Tensor
    rows: int

    @classmethod
    def empty(cls, rows: int, width: int, kind: Numbers) -> "Panels":
        """Room for them, with anything in it."""
        panels, line = -(-rows // ROWS), BYTES_OF_LINE // kind.value.itemsize
        numbers = torch.empty(panels, width // line, ROWS, line, dtype=kind.value)
        groups = width // GROUP if kind is Numbers.INTEGERS else 0
        return cls(numbers, torch.empty(panels, groups, ROWS), rows)

    @property
    def width(self) -> int:
        """I."""
        return self.numbers.shape[1] * self.numbers.shape[3]

    def unpacked(self) -> Tensor:
        """float32 [m, I]."""
        rows = self.numbers.float().transpose(1, 2).reshape(-1, self.width)
        if self.numbers.dtype is Numbers.INTEGERS.value:
            rows = rows * self.scales.transpose(1, 2).reshape(len(rows), -1).repeat_interleave(GROUP, dim=1)
        return rows[: self.rows]


def pack(rows: Tensor, kind: Numbers) -> Panels:
    """Rows, float32 or bfloat16, [m, I], where I is a multiple of `GROUP`."""
    rows = rows.float().contiguous()
    packed = Panels.empty(len(rows), rows.shape[1], kind)
    packed.numbers[len(rows) // ROWS :] = 0
    packed.scales[len(rows) // ROWS :] = 0
    pieces = -(-len(packed.numbers) // PANELS_AT_ONCE)
    run(_pack_kernel(kind), pieces, rows, packed.numbers, packed.scales, *rows.shape)
    return packed


def pack_normed(hidden: Tensor, weight: Tensor, bias: Tensor, epsilon: float, kind: Numbers) -> Panels:
    """Torch's LayerNorm of rows, float32 [m, I]."""
    return pack(F.layer_norm(hidden, weight.shape, weight, bias, epsilon), kind)


def write_group(builder: Any, source: Any, numbers: Any, scale: Any, kind: Numbers) -> None:
    """Write a group of one row.

    Args:
        builder: of instructions.
        source: the address of `GROUP` float32.
        numbers: the address of the row's first line in the group.
        scale: the address of what integers are to be multiplied by.
        kind: of numbers.
    """
    values = [load(builder, builder.add(source, INT64(4 * LANES * k)), FLOATS) for k in range(GROUP // LANES)]
    if kind is Numbers.FLOATS:
        for line, value in enumerate(values):
            store(builder, value, builder.add(numbers, INT64(ROWS * BYTES_OF_LINE * line)))
        return
    square = _squared(builder, values)
    nothing = builder.fcmp_ordered("<", square, FLOAT(SMALLEST))
    length = called(builder, "llvm.sqrt.f32", FLOAT, builder.select(nothing, FLOAT(1.0), square))
    store(builder, builder.fmul(length, FLOAT(1 / LENGTH)), scale)
    by = spread(builder, builder.fdiv(FLOAT(LENGTH), length))
    for half, value in enumerate(values):
        whole = times_plus(builder, value, by, every(FLOATS, ROUNDS))  # its last 16 bits are the nearest integer
        halves = builder.trunc(builder.bitcast(whole, INTEGERS), HALVES)
        place = ROWS * BYTES_OF_LINE * (half // 2) + BYTES_OF_LINE // 2 * (half % 2)
        store(builder, halves, builder.add(numbers, INT64(place)))


def _squared(builder: Any, values: list[Any]) -> Any:
    """The sum of the squares of all numbers of some vectors."""
    sums = every(FLOATS, 0.0)
    for value in values:
        sums = times_plus(builder, value, value, sums)
    return over_lanes(builder, sums, builder.fadd)


@instruction
def _pack_row(_: Any, which: Any, source: Any, numbers: Any, scales: Any, groups: Any) -> Any:
    """A row's groups, one after the other, of a kind. Addresses, but for the groups, which are counted."""
    kind = NUMBERS[which.literal_value]

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _, source, numbers, scales, groups = arguments
        with cgutils.for_range(builder, groups) as loop:
            here = builder.add(source, builder.mul(loop.index, INT64(4 * GROUP)))
            target = builder.add(numbers, builder.mul(loop.index, INT64(ROWS * kind.bytes_of_group)))
            write_group(builder, here, target, builder.add(scales, builder.mul(loop.index, INT64(4 * ROWS))), kind)
        return context.get_dummy_value()

    return types.void(which, *(types.int64,) * 4), emit


@functools.cache
def _pack_kernel(kind: Numbers) -> Any:
    which, size = NUMBERS.index(kind), kind.bytes_of_group

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
                target = numbers + panel * groups * ROWS * size + line * BYTES_OF_LINE
                scale = scales + 4 * (panel * groups * ROWS + line)
                _pack_row(which, source + 4 * row * width, target, scale, groups)

    return all_of
