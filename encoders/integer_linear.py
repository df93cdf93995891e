"""A linear layer with what follows it, multiplied in integers of 16 bits, on processors that have no better way (AVX2).

    x W^T + b,    a(x W^T + b),    r + x W^T + b

Each 128 numbers of a row have a scale (`encoders.integer_rows`), and so have the weights of an output. Sums of integers
are exact; what is lost is in rounding the factors, some 1e-4 of a term, less than TensorFloat32 loses. It takes little
more than half the time of float32's own products. Shapes: m rows, I inputs, O outputs.
"""

import functools
import platform
from typing import Any

import torch
from numba.core.registry import cpu_target
from torch import Tensor

from encoders.compiling import has
from encoders.fused_linear import Activation
from encoders.integer_products import COLUMNS, multiply
from encoders.integer_rows import GROUP, Integers, pack
from encoders.tile_products import Result
from encoders.torch_threads import openmp
from encoders.trial import agrees_with_torch

LENGTH = 65_600.0
"""Of the weights of an output and of a group of inputs: times `integer_rows.LENGTH`, both rounded, it fits 32 bits."""

HIGHEST = 32_767.0

TRIED = (70, 256, 384)
"""Rows, inputs and outputs of what the kernels are tried on."""


class IntegerLinear:
    """The weights of a linear layer, ready to be multiplied with."""

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: Activation = Activation.NONE, *, packs: bool = False
    ) -> None:
        """Takes a matrix [O, I], both multiples of GROUP, and a bias [O], float32.

        With `packs` the results are integers for a next layer. An activation goes with that alone.
        """
        numbers, scales = packed_weight(weight.detach().float())
        self._weights = numbers, scales, bias.detach().float().contiguous()
        self._activation, self._packs = activation, packs

    def __call__(self, inputs: Integers) -> Any:
        """[m, I] to [m, O], integers or float32."""
        outputs = len(self._weights[1])
        if self._packs:
            packed = Integers.empty(inputs.rows, outputs)
            multiply(inputs, self._weights, packed, (Result.PACKED, self._activation))
            return packed
        rows = torch.empty(inputs.rows, outputs)
        multiply(inputs, self._weights, rows, (Result.ROWS, self._activation))
        return rows

    def onto(self, residual: Tensor, inputs: Integers) -> Tensor:
        """The product of inputs [m, I] added to a residual, float32 [m, O], contiguous, which is changed."""
        multiply(inputs, self._weights, residual, (Result.ONTO, self._activation))
        return residual


def fits(*widths: int) -> bool:
    """Whether layers of these widths can be packed, on this processor."""
    return all(width % GROUP == 0 for width in widths) and possible()


def worthwhile() -> bool:
    """Whether this processor gains by it: vectors of 512 bits multiply float32 as fast, and many of them bfloat16.

    Where torch's threads cannot be used (`torch_threads`), its own products are faster.
    """
    return openmp() is not None and not has(cpu_target.target_context, "avx512f") and possible()


def possible() -> bool:
    """Whether this processor has the instructions, and the kernels work."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    return x86 and has(cpu_target.target_context, "avx2", "fma") and work()


@functools.cache
def work() -> bool:
    """Whether the kernels can be compiled, and give what torch gives."""
    return agrees_with_torch(pack, IntegerLinear, TRIED, torch.float32, 1e-3)


def packed_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [O, I] as integers, and what they are to be multiplied by.

    Returns:
        int16 [O / COLUMNS, I / 2, COLUMNS, 2], and float32 [O].
    """
    outputs, inputs = weight.shape
    longest = weight.view(outputs, -1, GROUP).norm(dim=2).amax(dim=1)
    scales = torch.maximum(longest / LENGTH, weight.abs().amax(dim=1) / HIGHEST).clamp(min=1e-30)
    numbers = (weight / scales[:, None]).round().to(torch.int16)
    panels = numbers.view(outputs // COLUMNS, COLUMNS, inputs // 2, 2)
    return panels.permute(0, 2, 1, 3).contiguous(), scales
