"""The last blocks of a vision transformer, rewritten so that each patch keeps a meaning of its own.

A CLIP tower is trained for its class token only; in its last blocks the patches exchange so much that they no longer
say what is where. Each method below is one function from a picture in a tower to the tokens [B, T, W] that leave the
rewritten tower, and `METHODS` is the list of them. What needs a second network is in `encoders.proxy`, and what needs
segments in `encoders.masked_attention`. Shapes: B pictures, T tokens, W channels, H heads of d channels.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from encoders.blocks import Stream
from encoders.presets import DenseMethod

GEM_BLOCKS = 6  # TAG's "depth 7" counts the input of the first of them, too


def maskclip(stream: Stream) -> Tensor:
    """The last block passes each token's value on instead of mixing the values of all.

    Its residual and its MLP stay, as in the authors' program.

    C. Zhou, C. C. Loy and B. Dai, "Extract Free Dense Labels from CLIP", ECCV 2022.

    Args:
        stream: pictures in a tower of at least one block.

    Returns:
        [B, T, W], before the tower's final norm.
    """
    last = stream.blocks[-1]
    tokens = stream.before(len(stream.blocks) - 1)
    _, _, value = last.query_key_value(last.normed(tokens))
    return last.mlp(tokens + last.joined(value))


def gem(stream: Stream) -> Tensor:
    """Beside the ordinary stream a second one collects self-self attention over the last blocks, without their MLPs.

    W. Bousselham, F. Petersen, V. Ferrari and H. Kuehne, "Grounding Everything: Emerging Localization Properties in
    Vision-Language Transformers", CVPR 2024.

    Args:
        stream: pictures in a tower; its last `GEM_BLOCKS` blocks, or all if there are fewer, are rewritten.

    Returns:
        [B, T, W], before the tower's final norm: the second stream.
    """
    first = max(0, len(stream.blocks) - GEM_BLOCKS)
    dense = stream.before(first)
    for number, block in enumerate(stream.blocks[first:], first):
        entering = block.normed(stream.before(number))
        query, key, value = block.query_key_value(entering)
        sharpness = entering.norm(dim=-1).mean(dim=-1) * query.shape[-1] ** -0.5  # [B], a function of the picture
        # Added up one after the other: three attention maps at once would treble the memory for nothing.
        attended = _self_self(value, value, sharpness)
        attended = attended + _self_self(key, value, sharpness)
        attended = attended + _self_self(query, value, sharpness)
        dense = dense + block.joined(attended / 3)
    return dense


METHODS: dict[DenseMethod, Callable[[Stream], Tensor]] = {
    DenseMethod.MASKCLIP: maskclip,
    DenseMethod.GEM: gem,
}


def _self_self(side: Tensor, value: Tensor, sharpness: Tensor) -> Tensor:
    """Tokens attend to the tokens that one side (query, key or value) finds alike: [B, H, T, d]."""
    # The similarity is scaled through its left factor, so that the fused kernel never holds a T x T map in memory.
    scale = sharpness[:, None, None, None]
    side = F.normalize(side, dim=-1)
    side = F.normalize(F.scaled_dot_product_attention(side * scale, side, side, scale=1.0), dim=-1)
    return F.scaled_dot_product_attention(side * scale, side, value, scale=1.0)
