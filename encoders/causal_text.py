"""CLIP's text transformer over a tree of beginnings, with nothing computed that no caption needs.

The same numbers as open_clip's own text tower to float rounding, or to 1e-5 where layers are packed
(`encoders.packing`), at a fraction of the work: no padding, each distinct beginning once (`encoders.prefixes`),
attention along paths of the tree (`encoders.path_attention`) or in tiles of it (`encoders.tree_tiles`), and in the last
block only the positions that are read out. Weights may be bfloat16; the residual stream and the norms stay float32.
Shapes: n captions, m nodes at M places, g tiles of T places with k keys, W channels, H heads of d.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from encoders import path_attention
from encoders.fused_linear import Activation, FusedLinear
from encoders.packing import Packing, packing_of
from encoders.prefixes import Prefixes
from encoders.presets import Precision
from encoders.tree_tiles import TILE, TileGroup, cut_tiles

QUICK = 1.702
"""QuickGELU is x times the sigmoid of 1.702 x, so silu(1.702 x) / 1.702: the factors go into the weights around it."""

Norm = tuple[Tensor, Tensor, float]
Rows = Any
"""As a linear layer takes them: a tensor [m, W], or packed if the layers of a tower are (`encoders.packing`)."""


class Linear(Protocol):
    """`FusedLinear`, or what a packing has in its place."""

    def __call__(self, inputs: Any) -> Any:
        """[m, I] to [m, O]."""

    def onto(self, residual: Tensor, inputs: Any) -> Tensor:
        """The product of inputs [m, I] added to a residual [m, O], which may be overwritten."""


@dataclass(frozen=True)
class Layer:
    """The weights of one block, its layer scales and the factors of its activation inside the matrices."""

    norm_1: Norm
    query: Linear
    key_value: Linear
    out: Linear
    norm_2: Norm
    expand: Linear
    contract: Linear
    heads: int


@dataclass(frozen=True)
class Group:
    """Tiles that attention is run over together.

    Attributes:
        places: which of M are theirs.
        keys: [g k], what they look at.
        mask: [g, 1, T, k], 0 where a place sees a key and minus infinity where it does not.
    """

    places: slice
    keys: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Asked:
    """A tree of captions on the device, with all that a tower needs to know of it.

    Attributes:
        attention: along its paths.
        tokens: int64 [M], at every place.
        positions: int64 [M], likewise.
        read: int64 [e], places that are read out, of captions that differ.
        captions: int64 [n], which of them is the end of each caption.
    """

    attention: "TiledAttention | PathAttention"
    tokens: Tensor
    positions: Tensor
    read: Tensor
    captions: Tensor


class CausalText:
    """A causal text tower: captions in, their vectors out."""

    def __init__(self, tower: Any, device: str, precision: Precision = Precision.FP32) -> None:
        """Takes the weights of a tower for which `understands` holds; what stays as it is, is shared."""
        self._device, self._dtype = device, torch.bfloat16 if precision is Precision.BF16 else torch.float32
        self._packing = packing_of(precision, *widths_of(tower)) if device == "cpu" else None
        self._words = tower.token_embedding.weight.to(device)
        self._positions = tower.positional_embedding.to(device)
        self._layers = [layer_of(block, device, self._dtype, self._packing) for block in tower.transformer.resblocks]
        self._last_norm = _norm(tower.ln_final, device)
        projection = tower.text_projection
        bias = projection.bias if isinstance(projection, nn.Linear) else None
        matrix = (
            projection.weight if isinstance(projection, nn.Linear) else None if projection is None else projection.T
        )
        self._projection = None if matrix is None else matrix.to(device)
        self._projection_bias = None if bias is None else bias.to(device)

    def asked(self, tree: Prefixes) -> Asked:
        """What is to be known of captions before a tower runs; that of the next ones while a GPU computes."""
        attention = self._attention(tree)
        ends, captions = np.unique(attention.places[tree.ends], return_inverse=True)
        arrays = tree.tokens[attention.nodes], tree.positions[attention.nodes], _padded(ends), captions
        return Asked(attention, *(on_device(array, self._device) for array in arrays))

    @torch.inference_mode()
    def __call__(self, asked: Asked) -> Tensor:
        """Vectors before they are scaled to unit length: float32 [n, d]. Nothing in here waits for a GPU."""
        attention, read = asked.attention, asked.read
        hidden = self._words[asked.tokens] + self._positions[asked.positions]  # the residual stream, float32 [M, W]
        for layer in self._layers[:-1]:
            normed = self._normed(hidden, layer.norm_1)
            hidden = self._leave(layer, hidden, attention.of_all(layer.query(normed), layer.key_value(normed)))
        last = self._layers[-1]
        key_value, hidden = last.key_value(self._normed(hidden, last.norm_1)), hidden[read]  # [e, W]
        mixed = attention.of_some(read, last.query(self._normed(hidden, last.norm_1)), key_value)
        hidden = self._leave(last, hidden, mixed)
        leaving = F.layer_norm(hidden, hidden.shape[-1:], *self._last_norm)
        if self._projection is not None:
            leaving = F.linear(leaving, self._projection, self._projection_bias)
        return leaving[asked.captions]

    def _normed(self, hidden: Tensor, norm: Norm) -> Rows:
        if self._packing is not None:
            return self._packing.pack_normed(hidden, *norm, self._dtype)
        weight, bias, epsilon = norm
        return F.layer_norm(hidden, weight.shape, weight, bias, epsilon).to(self._dtype)

    def _leave(self, layer: Layer, hidden: Tensor, mixed: Rows) -> Tensor:
        """A block after its attention, which was mixed; the residual stream [m, W] is changed."""
        hidden = layer.out.onto(hidden, mixed)
        return layer.contract.onto(hidden, layer.expand(self._normed(hidden, layer.norm_2)))

    def _attention(self, tree: Prefixes) -> "TiledAttention | PathAttention":
        heads, width = self._layers[0].heads, self._words.shape[1]
        if self._device == "cpu" and path_attention.available(width, heads):
            return PathAttention(tree, self._packing)
        return TiledAttention(tree, heads, self._device, self._dtype, self._packing)


class PathAttention:
    """Attention of nodes where they stand, by `path_attention`.

    Attributes:
        nodes: int64 [M], the node at every place; behind the last one, that once again.
        places: int64 [m], the place of every node.
    """

    def __init__(self, tree: Prefixes, packing: Packing | None = None) -> None:
        """With a packing the results are packed."""
        paths = path_attention.Paths(tree)
        self._attend: Callable[..., Rows] = partial(packing.attend, paths) if packing else paths.attend
        self.places = np.arange(len(tree.tokens))
        self.nodes = _padded(self.places)

    def of_all(self, query: Tensor, key_value: Tensor) -> Rows:
        """Of every place: [M, W] and [M, 2 W], keys and then values, to [M, W]."""
        return self._attend(query, key_value)

    def of_some(self, places: Tensor, query: Tensor, key_value: Tensor) -> Rows:
        """Of some places, int64 [e], with queries [e, W]: to [e, W]."""
        return self._attend(query, key_value, places.numpy())


class TiledAttention:
    """Attention of nodes in tiles, by `tree_tiles`; attributes and functions are those of `PathAttention`."""

    def __init__(
        self, tree: Prefixes, heads: int, device: str, dtype: torch.dtype, packing: Packing | None = None
    ) -> None:
        tiles = cut_tiles(tree)
        self._heads, self._device, self._dtype, self._packing = heads, device, dtype, packing
        self._groups = [self._group(group) for group in tiles.groups]
        self.places, self.nodes = tiles.places, _padded(tiles.nodes)

    def of_all(self, query: Tensor, key_value: Tensor) -> Rows:
        """Of every place."""
        mixed = mix(query, key_value, self._groups, self._heads)
        return self._packing.pack(mixed) if self._packing else mixed

    def of_some(self, places: Tensor, query: Tensor, key_value: Tensor) -> Rows:
        """Of some places, though all are computed."""
        asking = query.new_zeros(len(self.nodes), query.shape[1])
        asking[places] = query
        mixed = mix(asking, key_value, self._groups, self._heads)[places]
        return self._packing.pack(mixed) if self._packing else mixed

    def _group(self, tiles: TileGroup) -> Group:
        visible = on_device(tiles.visible, self._device)
        mask = torch.zeros(visible.shape, dtype=self._dtype, device=self._device).masked_fill_(~visible, -torch.inf)
        return Group(tiles.places, on_device(tiles.keys.ravel(), self._device), mask[:, None])


def on_device(array: NDArray[Any], device: str) -> Tensor:
    """A copy that is waited for: Apple's GPUs read others later, when the memory may hold something else already."""
    return torch.from_numpy(array).to(device)


def rows_for(count: int) -> int:
    """Rows to compute for so many: one of four numbers in every octave, and a multiple of a tile.

    oneDNN keeps 0.7 MB of compiled code for each number of rows that it has multiplied with a matrix, up to a thousand
    times over; left as they are, the rows of the last batches and those that are read out are ever new numbers.

    >>> [rows_for(count) for count in (1, 33, 200, 300, 1_100, 2_016)]
    [32, 64, 224, 320, 1280, 2048]
    """
    step = max(TILE, (1 << (count - 1).bit_length()) // 8)
    return -(-count // step) * step


def _padded(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """With the last of them once again, and again: int64 [n] to [`rows_for(n)`]."""
    return np.pad(rows, (0, rows_for(len(rows)) - len(rows)), "edge")


def mix(query: Tensor, key_value: Tensor, groups: list[Group], heads: int) -> Tensor:
    """Attention of every place to the beginning of its caption, itself included.

    Args:
        query: [M, W].
        key_value: [M, 2 W], keys and then values.
        groups: of tiles; together they have every place once, up to where there is only padding.
        heads: H.

    Returns:
        [M, W], 0 for padding.
    """
    mixed = torch.empty_like(query)
    mixed[groups[-1].places.stop :] = 0
    for group in groups:
        tile = group.mask.shape[2]
        (asking,) = _heads(query[group.places], 1, tile, heads)  # [g, H, T, d]
        key, value = _heads(key_value.index_select(0, group.keys), 2, group.mask.shape[-1], heads)  # [g, H, k, d]
        answer = F.scaled_dot_product_attention(asking, key, value, attn_mask=group.mask)
        _heads(mixed[group.places], 1, tile, heads)[0].copy_(answer)
    return mixed


def _heads(rows: Tensor, parts: int, length: int, heads: int) -> tuple[Tensor, ...]:
    """[g length, parts W] to that many times [g, H, length, d], views all."""
    return tuple(rows.view(-1, length, parts, heads, rows.shape[1] // (parts * heads)).permute(2, 0, 3, 1, 4))


def understands(tower: Any) -> bool:
    """Whether this file knows every part of a causal tower's blocks."""
    blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
    return bool(len(blocks)) and all(_is_plain(block) for block in blocks)


def _is_plain(block: Any) -> bool:
    if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
        return False
    activation = block.mlp.gelu
    return type(activation) is QuickGELU or (type(activation) is nn.GELU and activation.approximate == "none")


def widths_of(tower: Any) -> set[int]:
    """The numbers of inputs and outputs that layers of a tower's blocks have."""
    return {size for block in tower.transformer.resblocks for size in block.mlp.c_fc.weight.shape}


def layer_of(block: Any, device: str, dtype: torch.dtype, packing: Packing | None = None) -> Layer:
    """The weights of an open_clip block as they are used here, packed or not."""
    quick = type(block.mlp.gelu) is QuickGELU
    before, after = (QUICK, 1 / QUICK) if quick else (1.0, 1.0)

    def linear(
        layer: tuple[Tensor, Tensor], gain: Any = 1.0, scale: float = 1.0, activation: Activation = Activation.NONE
    ) -> Linear:
        """The activation of `gain * (weight (scale * x) + bias)`, where a gain is a number or [out]."""
        weight, bias = layer
        gain = torch.as_tensor(gain, device=weight.device)
        matrix, shift = weight * scale * gain.reshape(-1, 1), bias * gain
        matrix, shift = matrix.to(device, dtype), shift.to(device, dtype)
        if packing:
            return packing.linear(matrix, shift, activation, packs=activation is not Activation.NONE)
        return FusedLinear(matrix, shift, activation)

    gains = [getattr(scale, "gamma", 1.0) for scale in (block.ls_1, block.ls_2)]
    inward = block.attn.in_proj_weight, block.attn.in_proj_bias
    width = block.attn.embed_dim
    with torch.no_grad():
        return Layer(
            norm_1=_norm(block.ln_1, device),
            query=linear((inward[0][:width], inward[1][:width])),
            key_value=linear((inward[0][width:], inward[1][width:])),
            out=linear((block.attn.out_proj.weight, block.attn.out_proj.bias), gains[0]),
            norm_2=_norm(block.ln_2, device),
            expand=linear(
                (block.mlp.c_fc.weight, block.mlp.c_fc.bias),
                before,
                activation=Activation.SILU if quick else Activation.GELU,
            ),
            contract=linear((block.mlp.c_proj.weight, block.mlp.c_proj.bias), gains[1], after),
            heads=block.attn.num_heads,
        )


def _norm(norm: Any, device: str) -> tuple[Tensor, Tensor, float]:
    return norm.weight.detach().to(device), norm.bias.detach().to(device), norm.eps
