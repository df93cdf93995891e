"""A linear layer with what follows it, for processors whose best way is AVX2: in float32, or in integers of 16 bits.

    x W^T + b,    a(x W^T + b),    r + x W^T + b

Of integers, each 128 numbers of a row have a scale (`encoders.panel_rows`), and so have the weights of an output. Their
sums are exact; what is lost is in rounding the factors, some 1e-4 of a term, less than TensorFloat32 loses. They take
two thirds of the time of float32. Shapes: m rows, I inputs, O outputs.
"""

import functools
import platform
from typing import Any

import torch
from numba.core.registry import cpu_target
from torch import Tensor

from encoders.compiling import has
from encoders.fused_linear import Activation
from encoders.panel_products import multiply
from encoders.panel_rows import GROUP, Numbers, Panels, pack
from encoders.panel_sums import COLUMNS
from encoders.tile_products import Result
from encoders.torch_threads import openmp
from encoders.trial import agrees_with_torch

LENGTH = 65_600.0
"""Of the integers of the weights of an output and of a group of inputs: times `panel_rows.LENGTH`, both rounded, it
fits 32 bits."""

HIGHEST = 32_767.0

TRIED = (70, 256, 384)
"""Rows, inputs and outputs of what the kernels are tried on."""

WORKING_ERROR = {Numbers.FLOATS: 1e-5, Numbers.INTEGERS: 1e-3}
"""How far from the formula they may be there."""


class PanelLinear:
    """The weights of a linear layer, ready to be multiplied with."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        activation: Activation = Activation.NONE,
        *,
        kind: Numbers,
        packs: bool = False,
    ) -> None:
        """Takes a matrix [O, I], both multiples of GROUP, and a bias [O], float32.

        With `packs` the results are panels of the same kind for a next layer. An activation goes with that alone.
        """
        numbers, scales = packed_weight(weight.detach().float(), kind)
        self._weights = numbers, scales, bias.detach().float().contiguous()
        self._kind, self._activation, self._packs = kind, activation, packs

    def __call__(self, inputs: Panels) -> Any:
        """[m, I] to [m, O], panels or float32."""
        outputs = len(self._weights[2])
        if self._packs:
            packed = Panels.empty(inputs.rows, outputs, self._kind)
            self._multiply(inputs, packed, Result.PACKED)
            return packed
        rows = torch.empty(inputs.rows, outputs)
        self._multiply(inputs, rows, Result.ROWS)
        return rows

    def onto(self, residual: Tensor, inputs: Panels) -> Tensor:
        """The product of inputs [m, I] added to a residual, float32 [m, O], contiguous, which is changed."""
        self._multiply(inputs, residual, Result.ONTO)
        return residual

    def _multiply(self, inputs: Panels, out: Tensor | Panels, result: Result) -> None:
        multiply(inputs, self._weights, out, (self._kind, result, self._activation))


def fits(kind: Numbers, *widths: int) -> bool:
    """Whether layers of these widths can be packed, on this processor."""
    return all(width % GROUP == 0 for width in widths) and possible(kind)


def worthwhile(kind: Numbers) -> bool:
    """Whether this processor gains by it: vectors of 512 bits multiply float32 as fast as integers.

    Where torch's threads cannot be used (`torch_threads`), its own products are faster.
    """
    return openmp() is not None and not has(cpu_target.target_context, "avx512f") and possible(kind)


def possible(kind: Numbers) -> bool:
    """Whether this processor has the instructions, and the kernels work."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    return x86 and has(cpu_target.target_context, "avx2", "fma") and work(kind)


@functools.cache
def work(kind: Numbers) -> bool:
    """Whether the kernels can be compiled, and give what torch gives."""
    of_kind, linear = functools.partial(pack, kind=kind), functools.partial(PanelLinear, kind=kind)
    return agrees_with_torch(of_kind, linear, TRIED, torch.float32, WORKING_ERROR[kind])


def packed_weight(weight: Tensor, kind: Numbers) -> tuple[Tensor, Tensor]:
    """A matrix, float32 [O, I], as products read it.

    Returns:
        float32 [O / COLUMNS, I, COLUMNS, 1] or int16 [O / COLUMNS, I / 2, COLUMNS, 2], and what integers are to be
        multiplied by, float32 [O], or nothing.
    """
    outputs, inputs = weight.shape
    scales = weight.new_empty(0)
    if kind is Numbers.INTEGERS:
        longest = weight.view(outputs, -1, GROUP).norm(dim=2).amax(dim=1)
        scales = torch.maximum(longest / LENGTH, weight.abs().amax(dim=1) / HIGHEST).clamp(min=1e-30)
        weight = (weight / scales[:, None]).round().to(kind.value)
    together = 4 // weight.itemsize
    panels = weight.reshape(outputs // COLUMNS, COLUMNS, inputs // together, together)
    return panels.permute(0, 2, 1, 3).contiguous(), scales
