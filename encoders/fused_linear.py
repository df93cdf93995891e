"""A linear layer with its activation and its residual in one go: on a processor by oneDNN, elsewhere as it is written.

    x W^T + b,    a(x W^T + b),    x W^T + b + r

oneDNN is inside torch, but torch reaches its fused products, with weights laid out beforehand, only when it compiles a
network. The operators are private, so each kind is tried on a small product first, and where one is missing or gives
other numbers, the formula is computed as it stands. Shapes: m rows, I inputs, O outputs.
"""

import enum
import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TRIED = (24, 40, 56)
"""Rows, inputs and outputs of the small product: no multiples of 16, so that the ends of vectors are tried, too."""

WORKING_ERROR = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
"""How far from the formula a sum y of `TRIED` terms may be, in parts of 1 + |y|. Measured: 1e-7 in float32, and 0.007
in bfloat16, where the formula rounds twice and oneDNN once."""


class Activation(enum.Enum):
    """What follows a product; the values are oneDNN's names."""

    NONE = "none"
    GELU = "gelu"
    SILU = "swish"


class FusedLinear:
    """The weights of a linear layer, ready to be multiplied with."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: Activation = Activation.NONE) -> None:
        """Takes a matrix [O, I] and a bias [O] on one device and in one precision: that of the inputs, too.

        The matrix is kept once: as it is, or as oneDNN lays it out.
        """
        self._bias, self._activation = bias.detach(), activation
        self.is_fused = weight.device.type == "cpu" and works(weight.dtype, activation)
        self._weight = _packed(weight.detach()) if self.is_fused else weight.detach()

    def __call__(self, inputs: Tensor) -> Tensor:
        """[m, I] to [m, O]."""
        if self.is_fused:
            return _fused(inputs, self._weight, self._bias, self._activation)
        return literal(inputs, self._weight, self._bias, self._activation)

    def onto(self, residual: Tensor, inputs: Tensor) -> Tensor:
        """The product of inputs [m, I] added to a residual [m, O], which may be overwritten: [m, O] as the residual."""
        if self.is_fused and self._activation is Activation.NONE and residual.dtype is inputs.dtype:
            return _fused_onto(residual, inputs, self._weight, self._bias)
        return residual.add_(self(inputs))


def literal(inputs: Tensor, weight: Tensor, bias: Tensor, activation: Activation) -> Tensor:
    """The formula as it stands: a(x W^T + b)."""
    outputs = F.linear(inputs, weight, bias)
    if activation is Activation.GELU:
        return F.gelu(outputs)
    return F.silu(outputs, inplace=True) if activation is Activation.SILU else outputs


@functools.cache
def works(dtype: torch.dtype, activation: Activation) -> bool:
    """Whether this torch and this processor have the fused products of a kind, and they are right."""
    if dtype not in WORKING_ERROR or not torch.backends.mkldnn.enabled:
        return False
    generator = torch.Generator().manual_seed(0)
    rows, width, outputs = TRIED
    shapes = ((rows, width), (outputs, width), (outputs,), (rows, outputs))
    inputs, weight, bias, residual = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    weight = weight / width**0.5
    right = literal(inputs, weight, bias, activation)
    try:
        packed = _packed(weight)
        found = [_fused(inputs, packed, bias, activation), _fused_onto(residual, inputs, packed, bias)]
    except (AttributeError, RuntimeError):  # no such operator, or not on this processor
        return False
    wanted = [right, residual + literal(inputs, weight, bias, Activation.NONE)]
    error = WORKING_ERROR[dtype]
    return all(torch.allclose(*pair, rtol=error, atol=error) for pair in zip(found, wanted, strict=True))


def _packed(weight: Tensor) -> Tensor:
    """A matrix as oneDNN likes it best."""
    packed: Tensor = _operators()._reorder_linear_weight(weight.contiguous())
    return packed


def _fused(inputs: Tensor, packed: Tensor, bias: Tensor, activation: Activation) -> Tensor:
    """A product and its activation; of the two forms of GELU the exact one."""
    outputs: Tensor = _operators()._linear_pointwise(inputs, packed, bias, activation.value, [], "none")
    return outputs


def _fused_onto(residual: Tensor, inputs: Tensor, packed: Tensor, bias: Tensor) -> Tensor:
    """A product and what it is added to."""
    outputs: Tensor = _operators()._linear_pointwise.binary(inputs, residual, packed, bias, "add")
    return outputs


def _operators() -> Any:
    return torch.ops.mkldnn
