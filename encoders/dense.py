"""Which class sees a picture: for the names by the CLIP's image tower, for the outlines by what was asked for."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from encoders.clip_dense import ClipDense, clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.dinov2 import PatchFeatures, has_patch_tokens, load_dino, pixels_of
from encoders.errors import EncoderError, UnsupportedTower
from encoders.feature_map import FeatureMap
from encoders.identity import weights_digest
from encoders.packed_network import pack_layers
from encoders.pixels import SHORT_SIDE
from encoders.presets import CLIP_TRUNK, DenseMethod
from encoders.proxy import ProxyDense
from encoders.tower import is_transformer
from encoders.windows import OVERLAP

ClipVectors = ClipDense | ClipFeatureMap
Features = PatchFeatures | FeatureMap


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Which networks see a picture, and how.

    Attributes:
        dino: a timm model for outlines, `untrained`, or `clip-trunk`.
        dino_checkpoint: a local file that replaces its download.
        dense: how cells get a meaning each; `masked` is about segments, and leaves cells as `own` does:
            `Encoders.clip` has it.
        window: pixels; for `proxy`, see `ProxyDense`.
        short_side: pixels that the short side of every picture is resized to.
        device: where to compute.

    Raises:
        TypeError: the method is something else, its name, say.
    """

    dino: str
    dino_checkpoint: Path | None = None
    dense: DenseMethod = DenseMethod.OWN
    window: int | None = None
    short_side: int = SHORT_SIDE
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.dense, DenseMethod):
            raise TypeError(f"dense is {self.dense!r}, expected one of {', '.join(map(str, DenseMethod))}")


@dataclass(frozen=True)
class Encoders:
    """What sees a picture; parts share a network, and what it said of the last picture, wherever they can.

    Attributes:
        features: what looks alike, for outlines.
        dense: a vector for every cell, in the space shared with text.
        clip: the tower behind `dense`: whole pictures (`embed_whole`), and segments by their masks (`embed_segments`,
            on the grid of `grid_of`). It is `dense` itself unless the method is `proxy`.
        digest: of the weights of both networks.
    """

    features: Features
    dense: ClipVectors | ProxyDense
    clip: ClipVectors
    digest: str


def load_encoders(visual: nn.Module, config: EncoderConfig) -> Encoders:
    """Put the image tower of a CLIP to work together with the network for outlines.

    Args:
        visual: `visual` of an open_clip model; moved to the device.
        config: the other network, and the method.

    Raises:
        EncoderError: a network cannot be loaded, or a window was asked of a method or a network that has none, or
            is below three patches.
        UnsupportedTower: a network is of a kind that does not give what is needed, or not by this method.
        WeightsMissing: weights are not on this machine and no hub can be reached.
    """
    proxy = config.dense is DenseMethod.PROXY
    rewrites = config.dense in (DenseMethod.MASKCLIP, DenseMethod.GEM)
    if config.window is not None and not proxy:
        raise EncoderError(
            f"--window {config.window}: pictures are seen at once by --dense {config.dense.value}; leave --window out, "
            f"or say --dense {DenseMethod.PROXY.value}, which alone has windows"
        )
    size, device = config.short_side, config.device
    clip = clip_vectors(visual, config.dense if rewrites else None, short_side=size, device=device)
    features = patch_features(config.dino, clip, config.dino_checkpoint, short_side=size, device=device)
    _require_wide(config, clip)
    digest = weights_digest([visual, features.network])
    for network in (visual, features.network):
        pack_layers(network)
    for each in {features, getattr(clip, "trunk", features)}:
        if isinstance(each, FeatureMap):
            each.fold()
    return Encoders(features, ProxyDense(clip, features, window=config.window) if proxy else clip, clip, digest)


def _require_wide(config: EncoderConfig, clip: ClipVectors) -> None:
    """Refuse windows that cannot start a third of their side after another; a picture would take hundreds of them.

    And those of a convolutional network, which sees the same through windows as at once.
    """
    least = OVERLAP * clip.patch
    if config.window is not None and isinstance(clip, ClipFeatureMap):
        raise EncoderError(
            f"--window {config.window}: this CLIP's image tower is a convolutional network, which has no use for "
            "windows; leave --window out"
        )
    if config.window is not None and config.window < least:
        raise EncoderError(
            f"--window {config.window}: below {OVERLAP} patches of {clip.patch} pixels; give at least {least}, best "
            f"the short side, {config.short_side}"
        )


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
        method: how the last blocks of a transformer are rewritten; None means what `ClipDense` prefers, and is all
            that a convolutional tower takes. For `proxy` see `load_encoders`.
        short_side: pixels that the short side of every picture is resized to.
        device: where to compute.

    Raises:
        UnsupportedTower: the tower is of a kind that gives no dense vectors, or not by this method.
        EncoderError: the method needs a second network, or what is recorded about its pixels cannot be used.
    """
    pixels = clip_pixels(visual)
    if is_transformer(visual):
        return ClipDense(visual, pixels, method, short_side=short_side, device=device)
    tower = ClipFeatureMap(visual, pixels, short_side=short_side, device=device)
    if method is not None:
        raise UnsupportedTower(
            f"--dense {method.value} rewrites the last blocks of a transformer, and this CLIP's image tower is "
            f"open_clip's TimmModel around a {type(visual.trunk).__name__}, whose feature map is used as it is; "
            f"leave --dense out, or say --dense {DenseMethod.PROXY.value}"
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
