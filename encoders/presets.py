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
        short_side: pixels of a picture's short side inside the networks.
    """

    clip: str
    dino: str
    purpose: str
    short_side: int = 448


CUSTOM = "custom"
"""The preset of an index whose CLIP was named by itself."""


class Precision(Enum):
    """In which numbers a text tower computes; sums, norms and residuals are float32 in any case.

    A processor that multiplies bfloat16 in tiles (AMX) takes each factor of float32 as two of them, which is right to
    1e-5 of a term (`encoders.packed_linear`). Integers of 16 bits, which have a scale for every 128, are right to 1e-4
    (`encoders.panel_linear`): vectors differ from those of float32 by once or twice what float16 rounds off.
    """

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT16 = "int16"


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
        f"{POCKET}/{POCKET}", CLIP_TRUNK, "one small convolutional network, inside the package: no download", 224
    ),
    PresetName.UNTRAINED: Preset(UNTRAINED, UNTRAINED, "small random networks: plumbing and tests, no meaning"),
}


class DenseMethod(Enum):
    """How a picture's cells are given a meaning each.

    `own` is what fits the CLIP's tower alone: MaskCLIP or GEM, which rewrite the last blocks of a transformer, or a
    feature map, whose locations need neither. `proxy` mixes what either has to say by the affinities of the outlines'
    network. With `masked`, segments are not made of cells: each is seen by itself, through attention that ends at its
    outline.
    """

    OWN = "own"
    MASKCLIP = "maskclip"
    GEM = "gem"
    PROXY = "proxy"
    MASKED = "masked"
