"""Which class sees a picture: for the names by the CLIP's image tower, for the outlines by what was asked for."""

from pathlib import Path

import torch
from open_clip.timm_model import TimmModel
from torch import nn

from encoders.clip_dense import ClipDense, clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.dinov2 import PatchFeatures, has_patch_tokens, load_dino, pixels_of
from encoders.errors import EncoderError, UnsupportedTower
from encoders.feature_map import FeatureMap
from encoders.pixels import SHORT_SIDE
from encoders.presets import CLIP_TRUNK, DenseMethod

ClipVectors = ClipDense | ClipFeatureMap
Features = PatchFeatures | FeatureMap


def clip_vectors(
    visual: nn.Module,
    method: DenseMethod | None = None,
    *,
    short_side: int = SHORT_SIDE,
    device: torch.device | str = "cpu",
) -> ClipVectors:
    """Dense vectors in the space shared with text.

    Args:
        visual: `visual` of an open_clip model; moved to the device.
        method: how the last blocks of a transformer are rewritten; None means GEM for a transformer, and is all that
            a convolutional tower takes.
        short_side: pixels that the short side of every picture is resized to.
        device: where to compute.

    Raises:
        UnsupportedTower: the tower is of a kind that gives no dense vectors, or not by this method.
        EncoderError: what is recorded about its pixels cannot be used.
    """
    pixels = clip_pixels(visual)
    if not isinstance(visual, TimmModel):
        return ClipDense(visual, pixels, method or DenseMethod.GEM, short_side=short_side, device=device)
    tower = ClipFeatureMap(visual, pixels, short_side=short_side, device=device)
    if method is not None:
        raise UnsupportedTower(
            f"--dense {method.value} rewrites the last blocks of a transformer, and this CLIP's image tower is "
            f"open_clip's TimmModel around a {type(visual.trunk).__name__}, whose feature map is used as it is; "
            "leave --dense out"
        )
    return tower


def patch_features(
    name: str,
    clip: ClipVectors,
    checkpoint: Path | None = None,
    *,
    short_side: int = SHORT_SIDE,
    device: torch.device | str = "cpu",
) -> Features:
    """Features that show what looks alike.

    Args:
        name: a timm model, `untrained`, or `clip-trunk`, which shares the network, and its work, with `clip`.
        clip: what the same labeler gets its names from.
        checkpoint: a local file that replaces the download.
        short_side: pixels that the short side of every picture is resized to.
        device: where to compute.

    Raises:
        EncoderError: the network cannot be loaded, or `clip-trunk` was asked for with a file of its own.
        UnsupportedTower: the network has neither patch tokens nor a feature map.
        WeightsMissing: the weights are not on this machine and no hub can be reached.
    """
    if name == CLIP_TRUNK:
        return _trunk_of(clip, checkpoint)
    network = load_dino(name, checkpoint)
    kind = PatchFeatures if has_patch_tokens(network) else FeatureMap
    return kind(network, pixels_of(network), short_side=short_side, device=device)


def _trunk_of(clip: ClipVectors, checkpoint: Path | None) -> FeatureMap:
    if checkpoint is not None:
        raise EncoderError(
            f"--dino-checkpoint {checkpoint}: the outlines come from the CLIP's own network ({CLIP_TRUNK}), which has "
            "no second file; give --clip-checkpoint, or name another network with --dino"
        )
    if not isinstance(clip, ClipFeatureMap):
        raise UnsupportedTower(
            f"--dino {CLIP_TRUNK}: this CLIP's image tower is a transformer, which has no feature map; {CLIP_TRUNK} "
            "needs a convolutional tower, as --preset pocket has; name a timm model"
        )
    return clip.trunk
