"""How pictures are cut into segments: the choices, and what they mean."""

from dataclasses import dataclass, field
from enum import Enum

from segmenter.segments import MAX_SEGMENTS

LARGEST = 1_000_000
"""No weight or scale may be more: products of them stay finite in float32."""

SMALLEST = 1e-6


class Regions(Enum):
    """Ways of finding regions; each is a row of `pipeline.REGIONS`."""

    KMEANS = "kmeans"
    TREE = "tree"
    AGGLOMERATION = "agglomeration"


class Edges(Enum):
    """Ways of bringing regions from cells to pixels; each is a row of `pipeline.EDGES`."""

    NONE = "none"
    GUIDED = "guided"
    CRF = "crf"


@dataclass(frozen=True, kw_only=True)
class SegmentNumbers:
    """What the ways of cutting a picture can be told.

    Raises:
        ValueError: a number has no meaning; the message says which.
    """

    k: int = field(default=15, metadata={"help": "regions k-means looks for, TAG's value"})
    seed: int = field(default=0, metadata={"help": "of the random choices, so that a rerun repeats them"})
    restarts: int = field(default=8, metadata={"help": "k-means runs, of which the best counts, TAG's value"})
    iterations: int = field(default=100, metadata={"help": "rounds per k-means run at most, TAG's value"})
    alike: float = field(
        default=0.3, metadata={"help": "tree: regions this alike become one; 0: as any two places are, 1: equal"}
    )
    min_cells: int = field(default=4, metadata={"help": "tree: a region of fewer cells joins its likest neighbour"})
    max_regions: int = field(default=32, metadata={"help": "tree: regions at most"})
    join_apart: bool = field(default=True, metadata={"help": "tree: regions need not touch to become one in the end"})
    parts: int = field(default=20, metadata={"help": "agglomeration: regions it ends with, Zero-guidance's value"})
    temperature: float = field(
        default=0.3, metadata={"help": "crf: difference in cosine that makes a label e times as likely"}
    )

    def __post_init__(self) -> None:
        for name, most in (("k", MAX_SEGMENTS), ("parts", MAX_SEGMENTS), ("max_regions", MAX_SEGMENTS)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 to {most}")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected 0 or more")
        if self.restarts < 1 or self.iterations < 1:
            raise ValueError(f"restarts is {self.restarts} and iterations {self.iterations}, expected 1 or more")
        if self.min_cells < 1:
            raise ValueError(f"min_cells is {self.min_cells}, expected 1 or more")
        if not 0 <= self.alike <= 1:
            raise ValueError(f"alike is {self.alike}, expected 0 to 1")
        if not SMALLEST <= self.temperature <= LARGEST:  # not-a-number is nowhere between
            raise ValueError(f"temperature is {self.temperature}, expected {SMALLEST:f} to {LARGEST:,}")


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(SegmentNumbers):
    """How a picture is cut into segments.

    Attributes:
        regions: how regions are found.
        edges: how their outlines are drawn in pixels.

    Raises:
        TypeError: a choice is something else, its name, say.
        ValueError: a number has no meaning; the message says which.
    """

    regions: Regions = Regions.TREE
    edges: Edges = Edges.GUIDED

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("regions", Regions), ("edges", Edges)):
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"{name} is {value!r}, expected one of {', '.join(map(str, kind))}")
