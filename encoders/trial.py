"""Compiled linear layers are tried on a small product before they are used: a processor may be one nobody has seen."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders.fused_linear import Activation


def agrees_with_torch(
    pack: Callable[[Tensor], Any],
    linear: Callable[..., Any],
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    error: float,
) -> bool:
    """Whether the layers of a packing can be compiled, and give what torch gives.

    Args:
        pack: rows [m, I] to packed ones.
        linear: a layer, as `packing.Packing` has them.
        shape: rows, inputs and outputs to try.
        dtype: of rows and weights.
        error: how far from the formula results may be, absolutely and as a share.
    """
    generator = torch.Generator().manual_seed(0)
    rows, width, outputs = shape
    sizes = ((rows, width), (outputs, width), (outputs,), (rows, outputs))
    inputs, weight, bias, residual = (torch.randn(size, generator=generator) for size in sizes)
    inputs, weight, bias = (each.to(dtype) for each in (inputs, weight / width**0.5, bias))
    right = F.linear(inputs.float(), weight.float(), bias.float())
    try:
        packed, layer = pack(inputs), linear(weight, bias)
        ways = {each: linear(weight, bias, each, packs=True)(packed).unpacked() for each in Activation}
        found = layer(packed).float(), layer.onto(residual.clone(), packed)
    except Exception:  # whatever a compiler raises on an unknown processor: there is torch's way
        return False
    pairs = [(found[0], right), (found[1], residual + right), (ways[Activation.NONE], right)]
    pairs += [(ways[Activation.GELU], F.gelu(right)), (ways[Activation.SILU], F.silu(right))]
    return all(torch.allclose(*pair, rtol=error, atol=error) for pair in pairs)
