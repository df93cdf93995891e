"""The last blocks of a vision transformer, rewritten so that each patch keeps a meaning of its own.

A CLIP tower is trained for its class token only; in its last blocks the patches exchange so much that they no longer
say what is where. Each method below is one function from tokens to tokens, [B, T, W] before the first block to
[B, T, W] after the last, and `METHODS` is the list of them. Shapes: B pictures, T tokens of which the first is the
class token, W channels, H heads of W / H channels.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from encoders.presets import DenseMethod

GEM_BLOCKS = 6  # TAG's "depth 7" counts the input of the first of them, too


class Block(Protocol):
    """A pre-norm residual block as open_clip builds it; `ls_1` and `ls_2` may be identities."""

    attn: nn.MultiheadAttention
    ln_1: Callable[[Tensor], Tensor]
    ls_1: Callable[[Tensor], Tensor]
    ln_2: Callable[[Tensor], Tensor]
    mlp: Callable[[Tensor], Tensor]
    ls_2: Callable[[Tensor], Tensor]


def maskclip(blocks: Sequence[Block], tokens: Tensor) -> Tensor:
    """The last block passes each token's value on instead of mixing the values of all.

    Its residual and its MLP stay, as in the authors' program.

    C. Zhou, C. C. Loy and B. Dai, "Extract Free Dense Labels from CLIP", ECCV 2022.

    Args:
        blocks: all blocks of the tower, at least one.
        tokens: [B, T, W], input of the first block.

    Returns:
        [B, T, W], before the tower's final norm.
    """
    *earlier, last = blocks
    for block in earlier:
        tokens = ordinary(block, tokens)
    _, _, value = _query_key_value(last.attn, last.ln_1(tokens))
    return _mlp(last, tokens + last.ls_1(_joined(last.attn, value)))


def gem(blocks: Sequence[Block], tokens: Tensor) -> Tensor:
    """Beside the ordinary stream a second one collects self-self attention over the last blocks, without their MLPs.

    W. Bousselham, F. Petersen, V. Ferrari and H. Kuehne, "Grounding Everything: Emerging Localization Properties in
    Vision-Language Transformers", CVPR 2024.

    Args:
        blocks: all blocks of the tower; the last `GEM_BLOCKS` of them, or all if there are fewer, are rewritten.
        tokens: [B, T, W], input of the first block.

    Returns:
        [B, T, W], before the tower's final norm: the second stream.
    """
    return gem_streams(blocks, tokens)[1]


def gem_streams(blocks: Sequence[Block], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Both streams of `gem`: (what the tower itself computes, the dense stream), each [B, T, W]."""
    first = max(0, len(blocks) - GEM_BLOCKS)
    for block in blocks[:first]:
        tokens = ordinary(block, tokens)
    dense = tokens
    for block in blocks[first:]:
        entering = block.ln_1(tokens)
        query, key, value = _query_key_value(block.attn, entering)
        sharpness = entering.norm(dim=-1).mean(dim=-1) * block.attn.head_dim**-0.5  # [B], a function of the picture
        # Added up one after the other: three attention maps at once would treble the memory for nothing.
        attended = _self_self(value, value, sharpness)
        attended = attended + _self_self(key, value, sharpness)
        attended = attended + _self_self(query, value, sharpness)
        dense = dense + block.ls_1(_joined(block.attn, attended / 3))
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = _mlp(block, tokens + block.ls_1(_joined(block.attn, attended)))
    return tokens, dense


METHODS: dict[DenseMethod, Callable[[Sequence[Block], Tensor], Tensor]] = {
    DenseMethod.MASKCLIP: maskclip,
    DenseMethod.GEM: gem,
}


def ordinary(block: Block, tokens: Tensor) -> Tensor:
    """The block as it was trained: [B, T, W] to [B, T, W], whatever axis order the block itself was set to."""
    attended = F.scaled_dot_product_attention(*_query_key_value(block.attn, block.ln_1(tokens)))
    return _mlp(block, tokens + block.ls_1(_joined(block.attn, attended)))


def _self_self(side: Tensor, value: Tensor, sharpness: Tensor) -> Tensor:
    """Tokens attend to the tokens that one side (query, key or value) finds alike: [B, H, T, W / H]."""
    # The similarity is scaled through its left factor, so that the fused kernel never holds a T x T map in memory.
    scale = sharpness[:, None, None, None]
    side = F.normalize(side, dim=-1)
    side = F.normalize(F.scaled_dot_product_attention(side * scale, side, side, scale=1.0), dim=-1)
    return F.scaled_dot_product_attention(side * scale, side, value, scale=1.0)


def _query_key_value(attn: nn.MultiheadAttention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B, T, W] to three times [B, H, T, W / H]."""
    projected = F.linear(tokens, attn.in_proj_weight, attn.in_proj_bias)
    heads = projected.view(*tokens.shape[:2], 3, attn.num_heads, attn.head_dim)
    query, key, value = heads.permute(2, 0, 3, 1, 4)
    return query, key, value


def _joined(attn: nn.MultiheadAttention, heads: Tensor) -> Tensor:
    """Heads side by side, then the output projection: [B, H, T, W / H] to [B, T, W]."""
    projected: Tensor = attn.out_proj(heads.transpose(1, 2).flatten(2))
    return projected


def _mlp(block: Block, tokens: Tensor) -> Tensor:
    """The second half of a block, with its residual."""
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
