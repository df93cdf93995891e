"""What the methods need of a transformer, whichever library built it: its blocks taken apart, and one picture in them.

Shapes: B pictures, T tokens of which the first may stand for the whole picture, W channels, H heads of d channels.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaBlockPostNorm
from torch import Tensor, nn

from encoders.packed_network import linear

REMEMBERED = 6  # blocks before whose entry the tokens are kept: no method goes further back


class Block(Protocol):
    """A residual block, taken apart: `tokens + joined(attention)`, and then `mlp` of that."""

    def normed(self, tokens: Tensor) -> Tensor:
        """What the attention sees: [B, T, W] to [B, T, W]."""
        ...

    def query_key_value(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, W] to three times [B, H, T, d], positions turned into them where the block does that."""
        ...

    def joined(self, heads: Tensor) -> Tensor:
        """Heads side by side, then whatever comes before they are added: [B, H, T, d] to [B, T, W]."""
        ...

    def mlp(self, tokens: Tensor) -> Tensor:
        """The second half of the block, with its residual: [B, T, W] to [B, T, W]."""
        ...


class OpenClipBlock:
    """open_clip's `ResidualAttentionBlock`."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        self._block: Any = block

    def normed(self, tokens: Tensor) -> Tensor:
        """As `Block.normed`."""
        return self._block.ln_1(tokens)

    def query_key_value(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Block.query_key_value`."""
        attn = self._block.attn
        projected = linear(attn, normed, attn.in_proj_weight, attn.in_proj_bias)
        heads = projected.view(*normed.shape[:2], 3, attn.num_heads, attn.head_dim)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        return query, key, value

    def joined(self, heads: Tensor) -> Tensor:
        """As `Block.joined`."""
        return self._block.ls_1(self._block.attn.out_proj(side_by_side(heads)))

    def mlp(self, tokens: Tensor) -> Tensor:
        """As `Block.mlp`."""
        block = self._block
        return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


class TimmBlock:
    """timm's `Block` and `EvaBlock`, the latter with the rotary positions of the grid at hand."""

    def __init__(self, block: Any, rope: Tensor | None = None) -> None:
        """Takes a block and, where it turns queries and keys, the angles for every patch: [N, 2 d]."""
        self._block = block
        self._rope = rope

    def normed(self, tokens: Tensor) -> Tensor:
        """As `Block.normed`."""
        return self._block.norm1(tokens)

    def query_key_value(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Block.query_key_value`."""
        attn = self._block.attn
        query, key, value = (apart(part, attn.num_heads) for part in _projected(attn, normed))
        return self._turned(attn.q_norm(query)), self._turned(attn.k_norm(key)), value

    def joined(self, heads: Tensor) -> Tensor:
        """As `Block.joined`."""
        attn = self._block.attn
        return _scaled(self._block, 1, attn.proj(attn.norm(side_by_side(heads))))

    def mlp(self, tokens: Tensor) -> Tensor:
        """As `Block.mlp`."""
        return tokens + _scaled(self._block, 2, self._block.mlp(self._block.norm2(tokens)))

    def _turned(self, side: Tensor) -> Tensor:
        """Rotary positions, on patches only: [B, H, T, d] to the same."""
        if self._rope is None:
            return side
        attn = self._block.attn
        prefix, patches = side[:, :, : attn.num_prefix_tokens], side[:, :, attn.num_prefix_tokens :]
        turned = apply_rot_embed_cat(patches, self._rope, half=getattr(attn, "rotate_half", False))
        return torch.cat([prefix, turned], dim=2).type_as(side)


class PostNormBlock(TimmBlock):
    """timm's `EvaBlockPostNorm`, of EVA02-E: norms stand behind the attention and the MLP, not before."""

    def normed(self, tokens: Tensor) -> Tensor:
        """As `Block.normed`: the tokens as they are."""
        return tokens

    def joined(self, heads: Tensor) -> Tensor:
        """As `Block.joined`."""
        attn = self._block.attn
        return self._block.norm1(attn.proj(attn.norm(side_by_side(heads))))

    def mlp(self, tokens: Tensor) -> Tensor:
        """As `Block.mlp`."""
        return tokens + self._block.norm2(self._block.mlp(tokens))


def timm_block(block: nn.Module, rope: Tensor | None = None) -> TimmBlock:
    """A block of timm's taken apart, with the angles of the grid at hand: [N, 2 d], or None."""
    return (PostNormBlock if isinstance(block, EvaBlockPostNorm) else TimmBlock)(block, rope)


class Stream:
    """One picture on its way through a tower as it was trained; each block runs when it is first asked for.

    Attributes:
        blocks: all blocks of the tower.
    """

    def __init__(self, blocks: Sequence[Block], tokens: Tensor) -> None:
        """Runs all but the last blocks.

        Args:
            blocks: at least one.
            tokens: [B, T, W], input of the first block.
        """
        self.blocks = blocks
        self._first = max(0, len(blocks) - REMEMBERED)
        for block in blocks[: self._first]:
            tokens = ordinary(block, tokens)
        self._entering = [tokens]

    def before(self, number: int) -> Tensor:
        """Input of block `number`, one of the last `REMEMBERED`: [B, T, W], not to be written to."""
        while len(self._entering) <= number - self._first:
            block = self.blocks[self._first + len(self._entering) - 1]
            self._entering.append(ordinary(block, self._entering[-1]))
        return self._entering[number - self._first]

    @property
    def leaving(self) -> Tensor:
        """Output of the last block, before the tower's final norm: [B, T, W], not to be written to."""
        return self.before(len(self.blocks))


def ordinary(block: Block, tokens: Tensor) -> Tensor:
    """The block as it was trained: [B, T, W] to [B, T, W], whatever axis order the block itself was set to."""
    attended = F.scaled_dot_product_attention(*block.query_key_value(block.normed(tokens)))
    return block.mlp(tokens + block.joined(attended))


def apart(tokens: Tensor, heads: int) -> Tensor:
    """[..., T, H d] to [..., H, T, d]."""
    return tokens.reshape(*tokens.shape[:-1], heads, -1).transpose(-3, -2)


def side_by_side(heads: Tensor) -> Tensor:
    """[B, H, T, d] to [B, T, H d]."""
    return heads.transpose(1, 2).flatten(2)


def _projected(attn: Any, normed: Tensor) -> Sequence[Tensor]:
    """Query, key and value of timm's attentions, [B, T, H d] each; EVA's keeps the bias apart, or the projections."""
    if attn.qkv is None:
        return attn.q_proj(normed), attn.k_proj(normed), attn.v_proj(normed)
    if getattr(attn, "q_bias", None) is None:
        return attn.qkv(normed).chunk(3, dim=-1)
    return F.linear(normed, attn.qkv.weight, torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])).chunk(3, dim=-1)


def _scaled(block: Any, half: int, tokens: Tensor) -> Tensor:
    """Layer scale behind the attention (1) or the MLP (2): a module in `Block`, a gain or nothing in `EvaBlock`."""
    if hasattr(block, f"ls{half}"):
        return getattr(block, f"ls{half}")(tokens)
    gain = getattr(block, f"gamma_{half}")
    return tokens if gain is None else gain * tokens
