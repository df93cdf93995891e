"""Everything the labeler can be told; the commands' flags are made from this."""

from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from encoders.presets import DenseMethod, PresetName
from labeler.methods import RECIPES, Method, Outlines, Recipe
from labeler.naming_config import Naming, NamingConfig, NamingNumbers
from segmenter import Edges, Regions, SegmentConfig, SegmentNumbers

MOST_PIXELS = 4096
"""Of a picture's short side inside the networks: a square has 85,000 patches of 14 by then, all compared with all."""


MOST_TOGETHER = 65_536
"""Pictures that are searched together; all their regions are in memory at a time."""


CHOICES: dict[str, type[Enum]] = {
    "method": Method,
    "regions": Regions,
    "edges": Edges,
    "dense": DenseMethod,
    "naming": Naming,
    "outlines": Outlines,
    "preset": PresetName,
}
"""Fields of a config that are one of a few, which the command line and `Labeler.open` take by their names."""


ONLY_FOR: dict[Enum, tuple[str, ...]] = {
    Regions.KMEANS: ("k", "seed", "restarts", "iterations"),
    Regions.TREE: ("alike", "min_cells", "max_regions", "join_apart"),
    Regions.AGGLOMERATION: ("parts",),
    Edges.CRF: ("temperature",),
    Naming.DEFAULT: (
        *("direct", "captions_weight", "support_weight", "shared_support", "hub_weight", "picture_weight"),
        *("gate", "least_score", "least_margin", "keep_equal"),
    ),
    Naming.ZERO_GUIDANCE: ("merge_from",),
    Outlines.WORDS: ("home_weight",),
}
"""Numbers that make no difference unless this way was chosen."""


@dataclass(frozen=True, kw_only=True)
class LabelerConfig(SegmentNumbers, NamingNumbers):
    """What a picture's labels depend on."""

    index: Path = field(default=Path("shards"), metadata={"help": "an index, or a folder of them, searched together"})
    method: Method = field(
        default=Method.DEFAULT, metadata={"help": "a choice for regions, edges, dense and naming, as published or ours"}
    )
    regions: Regions | None = field(default=None, metadata={"help": "how regions are found"})
    edges: Edges | None = field(default=None, metadata={"help": "how their outlines are drawn in pixels"})
    dense: DenseMethod | None = field(default=None, metadata={"help": "how regions get a meaning each"})
    naming: Naming | None = field(default=None, metadata={"help": "how they are named"})
    outlines: Outlines | None = field(
        default=None, metadata={"help": "what is outlined: regions before they are named, named regions, or words"}
    )
    window: int | None = field(
        default=None, metadata={"help": "proxy: CLIP sees large pictures by windows of so many pixels (default: whole)"}
    )
    preset: PresetName | None = field(default=None, metadata={"help": "pair of networks (default: the index's)"})
    clip_checkpoint: Path | None = field(default=None, metadata={"help": "the CLIP's weights in a local file"})
    dino: str = field(
        default="", metadata={"help": "another timm model for outlines, or clip-trunk", "metavar": "MODEL"}
    )
    dino_checkpoint: Path | None = field(default=None, metadata={"help": "the DINOv2's weights in a local file"})
    short_side: int | None = field(
        default=None, metadata={"help": "pixels of a picture's short side inside the networks (default: the preset's)"}
    )
    batch_size: int = field(default=8, metadata={"help": "pictures whose segments are searched together"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1 or mps", "metavar": "DEVICE"})

    def __post_init__(self) -> None:
        SegmentNumbers.__post_init__(self)
        NamingNumbers.__post_init__(self)
        for name, kind in CHOICES.items():
            if not isinstance(value := getattr(self, name), kind | None):
                raise TypeError(
                    f"{name} is {value!r}, expected a {kind.__name__}; Labeler.open takes choices by their names"
                )
        for name, most in (("short_side", MOST_PIXELS), ("batch_size", MOST_TOGETHER), ("window", MOST_PIXELS)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise ValueError(f"--{name.replace('_', '-')} {value}: must be 1 to {most}")

    @property
    def recipe(self) -> Recipe:
        """The method's choices, where no other was made."""
        own = RECIPES[self.method]
        return Recipe(**{each.name: getattr(self, each.name) or getattr(own, each.name) for each in fields(Recipe)})

    @property
    def cutting(self) -> SegmentConfig:
        """For the segmenter."""
        return SegmentConfig(regions=self.recipe.regions, edges=self.recipe.edges, **_numbers(self, SegmentNumbers))

    @property
    def wording(self) -> NamingConfig:
        """For naming."""
        return NamingConfig(naming=self.recipe.naming, **_numbers(self, NamingNumbers))

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that labels depend on besides networks and index, as it goes into the outputs.

        Numbers for ways that were not chosen stand there as by default, whatever was given: the labels are the same.
        """
        recipe = self.recipe
        choices = {name: getattr(recipe, name).value for name in ("regions", "edges", "naming", "outlines")}
        numbers = {**_numbers(self, SegmentNumbers), **_numbers(self, NamingNumbers), "window": self.window}
        chosen = [getattr(recipe, each.name) for each in fields(Recipe)]
        idle = [name for way, names in ONLY_FOR.items() if way not in chosen for name in names]
        numbers |= {each.name: each.default for each in fields(self) if each.name in idle}
        return {"method": self.method.value, **choices, **numbers}


def _numbers(config: Any, kind: type[Any]) -> dict[str, Any]:
    return {each.name: getattr(config, each.name) for each in fields(kind)}


@dataclass(frozen=True, kw_only=True)
class LabelConfig(LabelerConfig):
    """Outline and name every region of pictures, in the words of a caption index."""

    pictures: tuple[Path, ...] = field(
        metadata={
            "help": "pictures, folders of them (recursive, but not into links), a glob, a webdataset tar, a .txt of "
            "paths (- for standard input), or a .csv, .tsv, .parquet or .txt of URLs, which are downloaded first",
            "positional": True,
            "metavar": "PICTURES",
        }
    )
    out: Path = field(default=Path("labels"), metadata={"help": "writes OUT/<relative path>.json, .png, .overlay.jpg"})
    overwrite: bool = field(default=False, metadata={"help": "label pictures again that are finished"})
    panoptic: bool = field(default=False, metadata={"help": "write OUT/panoptic.json and its PNGs, too"})
    label_studio: str = field(
        default="",
        metadata={
            "help": "write OUT/label-studio.json and .xml, too, for pictures that Label Studio finds below this URL",
            "metavar": "URL",
        },
    )
    quiet: bool = field(default=False, metadata={"help": "say only what was refused"})
    json_log: Path | None = field(
        default=None, metadata={"help": "add a JSON line for each picture and one for the run to this file"}
    )
