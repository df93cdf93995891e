"""What the labeler does to a region, as a loss: one mean vector, one name; rare names weigh more than common ones."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pocket.material import UNLABELLED, Material

FULL = 4
"""Locations from which on a region counts in full; the corner of something may look like anything."""


def name_weights(material: Material) -> Tensor:
    """Weight of each name, the root of how seldom pictures hold it: float32 [N], mean 1 over the regions."""
    counts = np.zeros(256)
    for picture in material.pictures:
        if picture.regions is not None:
            counts[np.unique(picture.regions)] += 1
    held = counts[: len(material.names)].clip(10)
    weights = held**-0.5
    return torch.from_numpy(weights * held.sum() / (held * weights).sum()).float()


def region_loss(projected: Tensor, regions: Tensor, logits_of: Any, weights: Tensor) -> Tensor:
    """Cross-entropy of the mean vector of every region of every crop.

    Args:
        projected: [B, h, w, D], not normalised.
        regions: [B, h, w], number of the name at every location, 255 without one.
        logits_of: from unit vectors [R, D] and their names [R] to logits [R, N].
        weights: [N], of the names.

    Returns:
        A single number; 0 where nothing is marked.
    """
    marked = regions != UNLABELLED
    numbers = torch.arange(len(regions), device=regions.device)[:, None, None] * 256 + regions
    found, place = numbers[marked].unique(return_inverse=True)  # type: ignore[no-untyped-call]
    if not len(found):
        return projected.sum() * 0
    summed = projected.new_zeros(len(found), projected.shape[-1]).index_add_(0, place, projected[marked])
    truth = found % 256
    cells = torch.bincount(place, minlength=len(found))
    weight = weights[truth] * (cells / FULL).clamp(max=1)
    losses = F.cross_entropy(logits_of(F.normalize(summed, dim=-1), truth), truth, reduction="none")
    return (losses * weight).sum() / weight.sum()
