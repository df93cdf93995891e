"""A whole tower looking through the mask of one segment, for all segments of a picture.

P. Rewatbowornwong, N. Chatthee, E. Chuangsuwanich and S. Suwajanakorn, "Zero-guidance Segmentation Using Zero Segment
Labels", ICCV 2023, arXiv 2303.13396: in the last blocks every row of an attention map is multiplied by the mask and
renormalised, and a share of what the class token sees of the whole picture is subtracted,

    A' = A_masked - w A_full[class row],    w = exp(-(c + 1)^2 / s),

c being the mean cosine between the rows of A_masked and those of A_full. A_full is the same block's map without mask,
of the same tokens; c is one number per segment and block. Shapes: S segments, T tokens, W channels, H heads of d.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders.blocks import Stream

MASKED_BLOCKS = 4  # blocks 20 to 23 of ViT-L-14
SHARPNESS = 5.0  # s of the authors' script
HIDDEN = 1e-30  # stands for a share of zero, whose logarithm no kernel has to bear


def masked_tokens(stream: Stream, shares: Tensor, *, class_token: bool) -> Tensor:
    """Tokens of one picture after the last blocks looked through each segment's mask.

    Args:
        stream: one picture, B = 1; its last `MASKED_BLOCKS` blocks, or all if there are fewer, are masked.
        shares: [S, T], 0 to 1: how much of each token's patch belongs to each segment; 1 for tokens without a patch.
        class_token: whether token 0 stands for the whole picture.

    Returns:
        [S, T, W], before the tower's final norm.
    """
    first = max(0, len(stream.blocks) - MASKED_BLOCKS)
    tokens = stream.before(first).expand(len(shares), -1, -1)
    for block in stream.blocks[first:]:
        query, key, value = block.query_key_value(block.normed(tokens))
        tokens = block.mlp(tokens + block.joined(attend(query, key, value, shares, class_token=class_token)))
    return tokens


def attend(query: Tensor, key: Tensor, value: Tensor, shares: Tensor, *, class_token: bool) -> Tensor:
    """One masked attention with global subtraction: A' V.

    Multiplying a softmax by a mask and renormalising it is the softmax of logits to which the mask's logarithm was
    added, so no map of T x T numbers is ever held.

    Args:
        query: [S, H, Q, d].
        key: [S, H, T, d].
        value: [S, H, T, d].
        shares: [S, T], 0 to 1, not all zero.
        class_token: whether query 0 stands for the whole picture; if not, the mean over all rows does.

    Returns:
        [S, H, Q, d].
    """
    visible = shares.clamp_min(HIDDEN).log().to(query.dtype)[:, None, None]  # [S, 1, 1, T]
    masked = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    whole = F.scaled_dot_product_attention(query[:, :, :1] if class_token else query, key, value)
    weight = subtraction(_likeness(query, key, shares))  # [S]
    return masked - weight.to(query.dtype)[:, None, None, None] * whole.mean(dim=2, keepdim=True)


def subtraction(cosine: Tensor) -> Tensor:
    """The weight w = exp(-(c + 1)^2 / s): the more a segment is the whole picture, the less of it is taken away.

    Args:
        cosine: c, of any shape, -1 to 1.

    Returns:
        0.45 (for c = 1) to 1 (for c = -1), of the same shape.
    """
    return torch.exp(-((cosine + 1) ** 2) / SHARPNESS)


def _likeness(query: Tensor, key: Tensor, shares: Tensor) -> Tensor:
    """Mean cosine between masked and unmasked attention rows, over heads and rows: float32 [S].

    For a row p of A_full and the mask m, cos(p m, p) = sum p^2 m / sqrt(sum p^2 sum p^2 m^2) = E[m] / sqrt(E[m^2]),
    where E is the mean under p^2 made to sum to 1; and that is the softmax of the doubled logits.
    """
    heads, width = query.shape[1], query.shape[3]
    moments = F.pad(torch.stack([shares, shares**2], dim=-1), (0, width - 2))  # [S, T, d]: kernels want equal widths
    means = F.scaled_dot_product_attention(
        query, key, moments[:, None].expand(-1, heads, -1, -1).to(query.dtype), scale=2 * width**-0.5
    ).float()
    return (means[..., 0] / means[..., 1].clamp_min(HIDDEN).sqrt()).mean(dim=(1, 2))
