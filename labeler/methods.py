"""Three ways through the labeler; each is a choice for every stage, and any stage can be chosen otherwise."""

from dataclasses import dataclass
from enum import Enum

from encoders.presets import DenseMethod
from labeler.naming_config import Naming
from segmenter import Edges, Regions


class Method(Enum):
    """Ways through the labeler; each is a row of `RECIPES`."""

    DEFAULT = "default"
    TAG = "tag"
    ZERO_GUIDANCE = "zero-guidance"


class Outlines(Enum):
    """What outlines are drawn from, and so when; each is a row of `outlining.OUTLINES`."""

    REGIONS = "regions"
    NAMES = "names"
    WORDS = "words"


@dataclass(frozen=True)
class Recipe:
    """A choice for every stage.

    Attributes:
        regions: how regions are found.
        edges: how their outlines are drawn.
        dense: how they get a meaning each.
        naming: how they are named.
        outlines: what is outlined: regions, before they are named, or what has a name.
    """

    regions: Regions
    edges: Edges
    dense: DenseMethod
    naming: Naming
    outlines: Outlines


# TAG has GEM, which is what `own` means for every transformer whose patches it can be computed from.
RECIPES = {
    Method.DEFAULT: Recipe(Regions.TREE, Edges.GUIDED, DenseMethod.PROXY, Naming.DEFAULT, Outlines.WORDS),
    Method.TAG: Recipe(Regions.KMEANS, Edges.CRF, DenseMethod.OWN, Naming.TAG, Outlines.REGIONS),
    Method.ZERO_GUIDANCE: Recipe(
        Regions.AGGLOMERATION, Edges.CRF, DenseMethod.MASKED, Naming.ZERO_GUIDANCE, Outlines.REGIONS
    ),
}
