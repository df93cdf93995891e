"""Pairs of networks that go together. No torch here: commands read this before they load anything."""

from dataclasses import dataclass
from enum import Enum

UNTRAINED = "untrained"
"""Name of the small random networks: plumbing, tests and benchmarks only."""


POCKET = "pocket"
"""Name of the small CLIP whose weights are inside this package."""

CLIP_TRUNK = "clip-trunk"
"""Stands where the outlines' network is named: the feature map of the CLIP's own convolutional tower."""


@dataclass(frozen=True)
class Preset:
    """A CLIP for names and a DINOv2 for outlines.

    Attributes:
        clip: open_clip architecture, a slash, and the name of the weights.
        dino: timm model, a dot, and the name of the weights; or `clip-trunk`.
        purpose: one line for the help.
    """

    clip: str
    dino: str
    purpose: str


class PresetName(Enum):
    """The presets by name."""

    DEFAULT = "default"
    TAG = "tag"
    POCKET = "pocket"
    UNTRAINED = "untrained"


PRESETS = {
    PresetName.DEFAULT: Preset("ViT-B-16/openai", "vit_base_patch14_reg4_dinov2.lvd142m", "start here"),
    PresetName.TAG: Preset("ViT-L-14/openai", "vit_base_patch14_dinov2.lvd142m", "the pair of arXiv 2403.11197"),
    PresetName.POCKET: Preset(
        f"{POCKET}/{POCKET}", CLIP_TRUNK, "one small convolutional network, inside the package: no download"
    ),
    PresetName.UNTRAINED: Preset(UNTRAINED, UNTRAINED, "small random networks: plumbing and tests, no meaning"),
}


class DenseMethod(Enum):
    """How a vision transformer's patches are given a meaning of their own; a feature map's locations have one."""

    MASKCLIP = "maskclip"
    GEM = "gem"
