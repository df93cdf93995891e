"""Pairs of networks that go together. No torch here: commands read this before they load anything."""

from dataclasses import dataclass
from enum import Enum

UNTRAINED = "untrained"
"""Name of the small random networks: plumbing, tests and benchmarks only."""


@dataclass(frozen=True)
class Preset:
    """A CLIP for names and a DINOv2 for outlines.

    Attributes:
        clip: open_clip architecture, a slash, and the name of the weights.
        dino: timm model, a dot, and the name of the weights.
        purpose: one line for the help.
    """

    clip: str
    dino: str
    purpose: str


class PresetName(Enum):
    """The presets by name."""

    DEFAULT = "default"
    TAG = "tag"
    UNTRAINED = "untrained"


PRESETS = {
    PresetName.DEFAULT: Preset("ViT-B-16/openai", "vit_base_patch14_reg4_dinov2.lvd142m", "start here"),
    PresetName.TAG: Preset("ViT-L-14/openai", "vit_base_patch14_dinov2.lvd142m", "the pair of arXiv 2403.11197"),
    PresetName.UNTRAINED: Preset(UNTRAINED, UNTRAINED, "small random networks: plumbing and tests, no meaning"),
}


class DenseMethod(Enum):
    """How patches are given a meaning of their own."""

    MASKCLIP = "maskclip"
    GEM = "gem"
