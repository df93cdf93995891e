"""A linear layer with what follows it, multiplied in the processor's tiles (AMX).

    x W^T + b,    a(x W^T + b),    r + x W^T + b

In bfloat16 as it is. In float32 each number is two of bfloat16, x = x1 + x2 (`encoders.packed_rows`), and a product

    x w = x1 w1 + x1 w2 + x2 w1,

with sums in float32: what torch calls float32 matrix products of precision "high". It leaves out x2 w2 and what two
bfloat16 cannot hold, some 1e-5 of a term, and takes a half to a third of the time of float32's own products.
Shapes: m rows, I inputs, O outputs.
"""

import functools
from typing import Any

import torch
from torch import Tensor

from encoders import amx
from encoders.fused_linear import Activation
from encoders.packed_rows import SIDE, Packed, pack, parts_of
from encoders.tile_products import Result, multiply
from encoders.trial import agrees_with_torch
from encoders.vector_code import LANES

TRIED = (70, 96, 160)
"""Rows, inputs and outputs of what the kernels are tried on."""


class PackedLinear:
    """The weights of a linear layer, ready to be multiplied with."""

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: Activation = Activation.NONE, *, packs: bool = False
    ) -> None:
        """Takes a matrix [O, I], both multiples of SIDE, and a bias [O], in the inputs' precision, bfloat16 or float32.

        With `packs` the results are packed for a next layer. An activation goes with that alone.
        """
        self._dtype, self._parts = weight.dtype, parts_of(weight.dtype)
        self._outputs = len(weight)
        self._weight, self._bias = packed_weight(weight.detach()), bias.detach().float().contiguous()
        self._activation, self._packs = activation, packs

    def __call__(self, inputs: Packed) -> Any:
        """[m, I] to [m, O], packed or not."""
        if self._packs:
            packed = Packed.empty(inputs.rows, self._outputs, self._parts)
            self._multiply(inputs, packed.blocks, Result.PACKED)
            return packed
        rows = torch.empty(inputs.rows, self._outputs, dtype=self._dtype)
        self._multiply(inputs, rows, Result.ROWS)
        return rows

    def onto(self, residual: Tensor, inputs: Packed) -> Tensor:
        """The product of inputs [m, I] added to a residual, float32 [m, O], contiguous, which is changed."""
        self._multiply(inputs, residual, Result.ONTO)
        return residual

    def _multiply(self, inputs: Packed, out: Tensor, result: Result) -> None:
        multiply(inputs, (self._weight, self._bias), out, (result, self._activation))


def fits(*widths: int) -> bool:
    """Whether layers of these widths can be packed, on this processor and as this process may use it."""
    return all(width % SIDE == 0 for width in widths) and amx.allowed("amx-bf16", "avx512bf16") and work()


@functools.cache
def work() -> bool:
    """Whether the kernels can be compiled, and give what torch gives."""
    kinds = (torch.float32, 1e-4), (torch.bfloat16, 2**-5)
    return all(agrees_with_torch(pack, PackedLinear, TRIED, dtype, error) for dtype, error in kinds)


def packed_weight(weight: Tensor) -> Tensor:
    """A matrix [O, I] in tiles of 16 pairs of inputs by 16 outputs: bfloat16 [O / 32, I / 32, p, 2, 16, 16, 2]."""
    near = weight.bfloat16()
    parts = [near] if weight.dtype is torch.bfloat16 else [near, (weight - near.float()).bfloat16()]
    outputs, inputs = weight.shape
    tiles = [part.view(outputs // SIDE, 2, LANES, inputs // SIDE, LANES, 2) for part in parts]
    return torch.stack([tile.permute(0, 3, 1, 4, 2, 5) for tile in tiles], dim=2).contiguous()
