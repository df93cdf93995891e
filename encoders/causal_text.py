"""CLIP's text transformer over a tree of beginnings, with nothing computed that no caption needs.

The same numbers as open_clip's own text tower to float rounding, at a fraction of the work: no padding, each distinct
beginning once (`encoders.prefixes`), and in the last block only the position that is read out. Weights may be bfloat16;
the residual stream and the norms stay float32. Shapes: n captions of at most l tokens, m nodes, W channels, H heads.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from encoders.prefixes import Prefixes

QUICK = 1.702
"""QuickGELU is x times the sigmoid of 1.702 x, so silu(1.702 x) / 1.702: the factors go into the weights around it."""

GROUP_LENGTHS = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
"""Attention runs over captions of similar length: each group is as long as the first of these that holds it."""


@dataclass(frozen=True)
class Layer:
    """The weights of one block, its layer scales and the factors of its activation inside the matrices."""

    norm_1: tuple[Tensor, Tensor, float]
    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    norm_2: tuple[Tensor, Tensor, float]
    expand: tuple[Tensor, Tensor]
    contract: tuple[Tensor, Tensor]
    quick: bool
    heads: int


@dataclass(frozen=True)
class Group:
    """Captions of similar length.

    Attributes:
        rows: [g], which captions.
        nodes: [g, l], their nodes; 0 behind the end.
        inside: bool [g, 1, 1, l], what is not behind the end.
        source: places in the flattened [g, l] at which a node occurs for the first time ...
        target: ... and those nodes.
    """

    rows: Tensor
    nodes: Tensor
    inside: Tensor
    source: Tensor
    target: Tensor


class CausalText:
    """A causal text tower: a tree of captions in, their vectors out."""

    def __init__(self, tower: Any, device: str, dtype: torch.dtype = torch.float32) -> None:
        """Takes the weights of a tower for which `understands` holds; float32 weights on their device are shared."""
        self._device, self._dtype = device, dtype
        self._words = tower.token_embedding.weight.to(device)
        self._positions = tower.positional_embedding.to(device)
        self._layers = [layer_of(block, device, dtype) for block in tower.transformer.resblocks]
        self._last_norm = _norm(tower.ln_final, device)
        projection = tower.text_projection
        bias = projection.bias if isinstance(projection, nn.Linear) else None
        matrix = (
            projection.weight if isinstance(projection, nn.Linear) else None if projection is None else projection.T
        )
        self._projection = None if matrix is None else matrix.to(device)
        self._projection_bias = None if bias is None else bias.to(device)

    @torch.inference_mode()
    def __call__(self, tree: Prefixes) -> Tensor:
        """Vectors before they are scaled to unit length: float32 [n, d]."""
        tokens, positions = self._on_device(tree.tokens), self._on_device(tree.positions)
        ends = self._on_device(tree.ends)
        groups = [self._group(tree, rows, longest) for rows, longest in groups_of(tree.lengths)]
        hidden = self._words[tokens] + self._positions[positions]  # [m, W]
        for layer in self._layers[:-1]:
            hidden.add_(F.linear(self._attend(layer, hidden, groups), *layer.out))
            self._mlp(layer, hidden)
        last = self._layers[-1]
        attended = self._read_out(last, hidden, ends, groups)
        read = hidden[ends].add_(F.linear(attended, *last.out))  # [n, W]
        self._mlp(last, read)
        read = F.layer_norm(read, read.shape[-1:], *self._last_norm)
        return read if self._projection is None else F.linear(read, self._projection, self._projection_bias)

    def _attend(self, layer: Layer, hidden: Tensor, groups: list[Group]) -> Tensor:
        """Causal attention: [m, W] to [m, W]."""
        width = hidden.shape[1]
        projected = F.linear(self._normed(hidden, layer.norm_1), *layer.qkv)  # [m, 3 W]
        attended = torch.empty_like(projected[:, :width])
        for group in groups:
            query, key, value = _heads(projected[group.nodes], 3, layer.heads)
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            mixed = mixed.transpose(1, 2).reshape(-1, width)  # [g l, W]
            attended[group.target] = mixed[group.source]
        return attended

    def _read_out(self, layer: Layer, hidden: Tensor, ends: Tensor, groups: list[Group]) -> Tensor:
        """The attention of the last positions alone: [m, W] to [n, W]."""
        width = hidden.shape[1]
        normed = self._normed(hidden, layer.norm_1)
        weight, bias = layer.qkv
        query = F.linear(normed[ends], weight[:width], bias[:width])  # [n, W]
        projected = F.linear(normed, weight[width:], bias[width:])  # [m, 2 W]
        attended = torch.empty_like(query)
        for group in groups:
            key, value = _heads(projected[group.nodes], 2, layer.heads)
            (asking,) = _heads(query[group.rows][:, None], 1, layer.heads)  # [g, H, 1, d]
            mixed = F.scaled_dot_product_attention(asking, key, value, attn_mask=group.inside)
            attended[group.rows] = mixed.flatten(1)
        return attended

    def _mlp(self, layer: Layer, hidden: Tensor) -> None:
        """The second half of a block, in place."""
        expanded = F.linear(self._normed(hidden, layer.norm_2), *layer.expand)  # [m, 4 W]
        expanded = F.silu(expanded, inplace=True) if layer.quick else F.gelu(expanded)
        hidden.add_(F.linear(expanded, *layer.contract))

    def _normed(self, hidden: Tensor, norm: tuple[Tensor, Tensor, float]) -> Tensor:
        weight, bias, epsilon = norm
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, epsilon).to(self._dtype)

    def _group(self, tree: Prefixes, rows: NDArray[np.int64], longest: int) -> Group:
        nodes, fresh = tree.nodes[rows, :longest], tree.fresh[rows, :longest]
        inside = np.arange(longest) < tree.lengths[rows, None]
        source = np.flatnonzero(fresh)
        arrays = (rows, nodes, inside[:, None, None], source, nodes.ravel()[source])
        return Group(*(self._on_device(array) for array in arrays))

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def understands(tower: Any) -> bool:
    """Whether this file knows every part of a causal tower's blocks."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
    return bool(len(blocks)) and all(_is_plain(block) for block in blocks)


def _is_plain(block: Any) -> bool:
    if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
        return False
    activation = block.mlp.gelu
    return type(activation) is QuickGELU or (type(activation) is nn.GELU and activation.approximate == "none")


def layer_of(block: Any, device: str, dtype: torch.dtype) -> Layer:
    """The weights of an open_clip block as they are used here."""
    quick = type(block.mlp.gelu) is QuickGELU
    before, after = (QUICK, 1 / QUICK) if quick else (1.0, 1.0)

    def matrix(weight: Tensor, bias: Tensor, gain: Any = 1.0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """Of `gain * (weight (scale * x) + bias)`, where a gain is a number or [out]."""
        gain = torch.as_tensor(gain, device=weight.device)
        return (weight * scale * gain.reshape(-1, 1)).to(device, dtype), (bias * gain).to(device, dtype)

    gains = [getattr(scale, "gamma", 1.0) for scale in (block.ls_1, block.ls_2)]
    with torch.no_grad():
        return Layer(
            norm_1=_norm(block.ln_1, device),
            qkv=matrix(block.attn.in_proj_weight, block.attn.in_proj_bias),
            out=matrix(block.attn.out_proj.weight, block.attn.out_proj.bias, gains[0]),
            norm_2=_norm(block.ln_2, device),
            expand=matrix(block.mlp.c_fc.weight, block.mlp.c_fc.bias, before),
            contract=matrix(block.mlp.c_proj.weight, block.mlp.c_proj.bias, gains[1], after),
            quick=quick,
            heads=block.attn.num_heads,
        )


def groups_of(lengths: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], int]]:
    """Rows of similar length, and the length that holds them: what attention is run over together."""
    edges = np.array(GROUP_LENGTHS)
    group = np.searchsorted(edges, lengths)
    found = [np.flatnonzero(group == number) for number in np.unique(group)]
    return [(rows, int(lengths[rows].max())) for rows in found]


def _norm(norm: Any, device: str) -> tuple[Tensor, Tensor, float]:
    return norm.weight.detach().to(device), norm.bias.detach().to(device), norm.eps


def _heads(projected: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """[g, l, parts W] to that many times [g, H, l, d]."""
    apart = projected.view(*projected.shape[:2], parts, heads, -1)
    return tuple(apart.permute(2, 0, 3, 1, 4))
