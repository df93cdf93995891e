"""The image tower that is trained: timm's MobileNetV2, from random weights."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

TRUNK = "mobilenetv2_100"
CHANNELS = 1280
STRIDE = 16
HINTS = (64, 70, 77, 83, 90, 97, 103, 110, 117, 124, 130, 137, 144, 150, 157, 164, 170)
"""The DeepLabV3 teacher's tensors at the end of each of its seventeen blocks."""


def new_trunk(stride: int = STRIDE) -> Any:
    """Random weights; locations are `stride` pixels apart, so late layers are dilated instead of strided."""
    return timm.create_model(TRUNK, num_classes=0, output_stride=stride)


def blocks_of(trunk: Any) -> list[nn.Module]:
    """The seventeen blocks whose outputs the hints are compared with; the stem belongs to the first."""
    first = nn.Sequential(trunk.conv_stem, trunk.bn1, trunk.blocks[0][0])
    return [first, *(block for stage in list(trunk.blocks)[1:] for block in stage)]


@torch.no_grad()
def match_scales(blocks: Sequence[nn.Module], hints: Sequence[Tensor]) -> None:
    """Set the last norm of every block to the mean and deviation of its hint: the scale need not be learnt.

    Args:
        blocks: as `blocks_of` gives them.
        hints: one [B, C, h, w] for each block.
    """
    before: Tensor | None = None
    for block, hint in zip(blocks, hints, strict=True):
        added = hint - before if before is not None and before.shape == hint.shape else hint
        norm = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)][-1]
        norm.weight.copy_(added.std((0, 2, 3)))
        norm.bias.copy_(added.mean((0, 2, 3)))
        before = hint
