"""CLIP's text transformer over a tree of beginnings, with nothing computed that no caption needs.

The same numbers as open_clip's own text tower to float rounding, at a fraction of the work: no padding, each distinct
beginning once (`encoders.prefixes`), attention over tiles of the tree (`encoders.tree_tiles`), and in the last block
only the positions that are read out. Weights may be bfloat16; the residual stream and the norms stay float32. Shapes:
n captions, m nodes at M places, g tiles of T places with k keys, W channels, H heads of d.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from encoders.fused_linear import Activation, FusedLinear
from encoders.prefixes import Prefixes
from encoders.tree_tiles import TILE, WIDE_TILE, TileGroup, cut_tiles

QUICK = 1.702
"""QuickGELU is x times the sigmoid of 1.702 x, so silu(1.702 x) / 1.702: the factors go into the weights around it."""


@dataclass(frozen=True)
class Layer:
    """The weights of one block, its layer scales and the factors of its activation inside the matrices."""

    norm_1: tuple[Tensor, Tensor, float]
    query: FusedLinear
    key_value: FusedLinear
    out: FusedLinear
    norm_2: tuple[Tensor, Tensor, float]
    expand: FusedLinear
    contract: FusedLinear
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


class CausalText:
    """A causal text tower: a tree of captions in, their vectors out."""

    def __init__(self, tower: Any, device: str, dtype: torch.dtype = torch.float32) -> None:
        """Takes the weights of a tower for which `understands` holds; what stays as it is, is shared."""
        self._device, self._dtype, self._tile = device, dtype, tile_for(device, dtype)
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
        tiles = cut_tiles(tree, self._tile)
        groups = [self._group(group) for group in tiles.groups]
        nodes = _padded(tiles.nodes)  # [M]
        tokens, positions = (self._on_device(each[nodes]) for each in (tree.tokens, tree.positions))
        ends, captions = np.unique(tiles.places[tree.ends], return_inverse=True)
        read_out = self._on_device(_padded(ends))  # [e]
        hidden = self._words[tokens] + self._positions[positions]  # [M, W]
        for layer in self._layers[:-1]:
            normed = self._normed(hidden, layer.norm_1)
            mixed = mix(layer.query(normed), layer.key_value(normed), groups, layer.heads)
            hidden = self._leave(layer, hidden, mixed)
        last = self._layers[-1]
        normed = self._normed(hidden, last.norm_1)
        asking = torch.zeros_like(normed)
        asking[read_out] = last.query(normed[read_out])
        mixed = mix(asking, last.key_value(normed), groups, last.heads)
        read = self._leave(last, hidden[read_out], mixed[read_out])  # [e, W], of captions that differ
        read = F.layer_norm(read, read.shape[-1:], *self._last_norm)
        read = read if self._projection is None else F.linear(read, self._projection, self._projection_bias)
        return read[self._on_device(captions)]

    def _leave(self, layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        """A block after its attention, which was mixed; what came into it may be overwritten: [M, W] to [M, W]."""
        hidden = layer.out.onto(hidden, mixed)
        return layer.contract.onto(hidden, layer.expand(self._normed(hidden, layer.norm_2)))  # through [M, 4 W]

    def _normed(self, hidden: Tensor, norm: tuple[Tensor, Tensor, float]) -> Tensor:
        weight, bias, epsilon = norm
        return F.layer_norm(hidden, hidden.shape[-1:], weight, bias, epsilon).to(self._dtype)

    def _group(self, tiles: TileGroup) -> Group:
        visible = self._on_device(tiles.visible)
        mask = torch.zeros(visible.shape, dtype=self._dtype, device=self._device).masked_fill_(~visible, -torch.inf)
        return Group(tiles.places, self._on_device(tiles.keys.ravel()), mask[:, None])

    def _on_device(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def tile_for(device: str, dtype: torch.dtype) -> int:
    """Nodes of a tile that suit a device and a precision."""
    processor: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch does not say
    wide = device == "cpu" and dtype is torch.bfloat16 and processor.get("amx_bf16", False)
    return WIDE_TILE if wide else TILE


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


def layer_of(block: Any, device: str, dtype: torch.dtype) -> Layer:
    """The weights of an open_clip block as they are used here."""
    quick = type(block.mlp.gelu) is QuickGELU
    before, after = (QUICK, 1 / QUICK) if quick else (1.0, 1.0)

    def linear(
        layer: tuple[Tensor, Tensor], gain: Any = 1.0, scale: float = 1.0, activation: Activation = Activation.NONE
    ) -> FusedLinear:
        """The activation of `gain * (weight (scale * x) + bias)`, where a gain is a number or [out]."""
        weight, bias = layer
        gain = torch.as_tensor(gain, device=weight.device)
        matrix, shift = weight * scale * gain.reshape(-1, 1), bias * gain
        return FusedLinear(matrix.to(device, dtype), shift.to(device, dtype), activation)

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
