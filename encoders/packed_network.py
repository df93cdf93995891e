"""Linear layers of a network that sees pictures, multiplied by the fastest way of `encoders.packing`.

The network stays as its library made it, and its weights stay where they are; every linear layer that fits keeps them a
second time, packed, and uses these where nobody asks for gradients. Numbers differ from those without by some 1e-5 in
the processor's tiles (AMX), and by some 1e-4 in integers (AVX2 alone).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.packing import packing_for_pictures

PACKED = "packed_weights"
"""The attribute of modules that have them: how rows are packed, and a layer that takes packed ones."""

LEAST_ROWS = 8
"""Fewer are not worth it."""


class PackedLayer(nn.Linear):
    """A linear layer that has its weights packed, too."""

    def forward(self, input: Tensor) -> Tensor:  # torch's name
        """As torch's."""
        return linear(self, input, self.weight, self.bias)


def pack_layers(network: nn.Module) -> None:
    """Have a network's linear layers multiplied as packed ones: those of float32 on a processor whose sizes fit."""
    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            _pack(module, module.in_proj_weight, module.in_proj_bias)
        elif isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward:
            _pack(module, module.weight, module.bias)
            if hasattr(module, PACKED):
                module.__class__ = PackedLayer


def linear(module: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product by torch, or by what a module has packed of this weight: [..., I] to [..., O]."""
    packed: Any = getattr(module, PACKED, None)
    rows = inputs.numel() // max(inputs.shape[-1], 1)
    if packed is None or torch.is_grad_enabled() or inputs.dtype is not torch.float32 or rows < LEAST_ROWS:
        return F.linear(inputs, weight, bias)
    pack, layer = packed
    outputs: Tensor = layer(pack(inputs.reshape(rows, -1)))
    return outputs.view(*inputs.shape[:-1], -1)


def _pack(module: Any, weight: Tensor, bias: Tensor | None) -> None:
    """Where it fits."""
    if weight.device.type == "cpu" and weight.dtype is torch.float32 and (way := packing_for_pictures(*weight.shape)):
        shift = weight.new_zeros(len(weight)) if bias is None else bias
        setattr(module, PACKED, (way.pack, way.linear(weight, shift)))
