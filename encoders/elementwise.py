"""What a transformer does to each number by itself, and its norms, in bfloat16 on a processor: one pass each.

Between two products of AMX, torch spends as long on these as on the products: it takes SiLU's exponential to the last
bit of a float32, and adds, normalises and rounds in a pass each. Shapes: m rows, W columns.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
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
    INT32,
    INT64,
    LANES,
    called,
    every,
    halved,
    load,
    over_lanes,
    spread,
    store,
    times_plus,
    two_to,
    widened,
)

VECTORS_AT_ONCE, ROWS_AT_ONCE = 1_024, 32
"""What a thread takes at a time."""

LOG2_E = 1.4426950408889634

LEAST = -80.0
"""Of x, in SiLU: 1e-33 of it is left there, and less below."""

TRIED = (48, 3 * LANES)
"""Rows and columns of what the kernels are tried on."""


def available() -> bool:
    """Whether this processor multiplies bfloat16 in tiles (AMX), so that these kernels matter, and they are right."""
    processor: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    return bool(processor.get("amx_bf16", False)) and work()


@functools.cache
def work() -> bool:
    """Whether the kernels can be compiled, and give what torch gives."""
    generator = torch.Generator().manual_seed(0)
    values, weight, bias = (torch.randn(shape, generator=generator) * 3 for shape in (TRIED, TRIED[1], TRIED[1]))
    more = values.bfloat16()
    activated, normed = F.silu(more), F.layer_norm(values + more.float(), TRIED[1:], weight, bias, 1e-5)
    try:
        found = [add_norm(values, more, weight, bias, 1e-5), silu_(more)]
    except Exception:  # whatever a compiler raises on an unknown processor: there is torch's way
        return False
    wanted = [normed, activated.float()]
    pairs = zip(found, wanted, strict=True)
    return all(torch.allclose(one.float(), other, rtol=2**-7, atol=2**-7) for one, other in pairs)


def silu_(values: Tensor) -> Tensor:
    """SiLU, x / (1 + exp(-x)), of bfloat16 values in place; contiguous, their number a multiple of LANES."""
    run(_silu_kernel(), values.numel() // LANES, values)
    return values


def add_norm(hidden: Tensor, more: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Add to a residual stream, and normalise its rows: bfloat16 [m, W]. All are contiguous.

    Args:
        hidden: float32 [m, W], changed; W a multiple of LANES.
        more: bfloat16 [m, W].
        weight: float32 [W].
        bias: float32 [W].
        epsilon: of the norm, torch's LayerNorm.
    """
    normed = torch.empty_like(more)
    bits = int(np.float32(epsilon).view(np.int32))
    run(_norm_kernel(), len(hidden), hidden, more, weight, bias, normed, hidden.shape[1], bits)
    return normed


@instruction
def _silu(_: Any, values: Any, vectors: Any) -> Any:
    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        values, vectors = arguments
        with cgutils.for_range(builder, vectors) as loop:
            here = builder.add(values, builder.mul(loop.index, INT64(2 * LANES)))
            value = widened(builder, load(builder, here, HALVES))
            low = builder.fcmp_ordered("<", value, every(FLOATS, LEAST))  # which what is no number is not
            value = builder.select(low, every(FLOATS, LEAST), value)
            grown = two_to(builder, builder.fmul(value, every(FLOATS, -LOG2_E)), terms=5)
            activated = builder.fdiv(value, builder.fadd(grown, every(FLOATS, 1.0)))
            store(builder, halved(builder, activated), here)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@instruction
def _norm_row(  # noqa: PLR0913
    _: Any, hidden: Any, more: Any, weight: Any, bias: Any, normed: Any, width: Any, epsilon: Any
) -> Any:
    """`add_norm` for one row; epsilon by its bits."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        hidden, more, weight, bias, normed, width, epsilon = arguments
        vectors = builder.sdiv(width, INT64(LANES))

        def at(start: Any, place: Any, size: int) -> Any:
            return builder.add(start, builder.mul(place, INT64(size * LANES)))

        def mean(term: Callable[[Any], Any]) -> Any:
            """Over the row, of what a term makes of each vector's place."""
            sums = cgutils.alloca_once_value(builder, every(FLOATS, 0.0))
            with cgutils.for_range(builder, vectors) as loop:
                builder.store(builder.fadd(builder.load(sums), term(loop.index)), sums)
            return builder.fdiv(over_lanes(builder, builder.load(sums), builder.fadd), builder.sitofp(width, FLOAT))

        def added(place: Any) -> Any:
            here = at(hidden, place, 4)
            values = widened(builder, load(builder, at(more, place, 2), HALVES))
            values = builder.fadd(load(builder, here, FLOATS), values)
            store(builder, values, here)
            return values

        def away(place: Any) -> Any:
            return builder.fsub(load(builder, at(hidden, place, 4), FLOATS), middle)

        middle = spread(builder, mean(added))
        variance = mean(lambda place: builder.fmul(away(place), away(place)))
        variance = builder.fadd(variance, builder.bitcast(builder.trunc(epsilon, INT32), FLOAT))
        scale = spread(builder, builder.fdiv(FLOAT(1.0), called(builder, "llvm.sqrt.f32", FLOAT, variance)))
        with cgutils.for_range(builder, vectors) as loop:
            gain, shift = (load(builder, at(each, loop.index, 4), FLOATS) for each in (weight, bias))
            value = times_plus(builder, builder.fmul(away(loop.index), scale), gain, shift)
            store(builder, halved(builder, value), at(normed, loop.index, 2))
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 7), emit


@functools.cache
def _silu_kernel() -> Any:
    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        vectors, values = number(block, 1), number(block, 2)
        while True:
            first = taken(block) * VECTORS_AT_ONCE
            if first >= vectors:
                return
            _silu(values + first * 2 * LANES, min(VECTORS_AT_ONCE, vectors - first))

    return all_of


@functools.cache
def _norm_kernel() -> Any:
    @kernel
    def all_of(block):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        rows, hidden, more, weight = number(block, 1), number(block, 2), number(block, 3), number(block, 4)
        bias, normed, width, epsilon = number(block, 5), number(block, 6), number(block, 7), number(block, 8)
        while True:
            first = taken(block) * ROWS_AT_ONCE
            if first >= rows:
                return
            for row in range(first, min(first + ROWS_AT_ONCE, rows)):
                apart = row * width
                _norm_row(hidden + 4 * apart, more + 2 * apart, weight, bias, normed + 2 * apart, width, epsilon)

    return all_of
