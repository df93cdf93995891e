"""Everything an evaluation can be told; the command's flags are made from this."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from evaluation.datasets import DatasetName
from evaluation.mappings import MappingName
from labeler.config import LabelerConfig

TAG_SIDE = 448
"""TAG resizes pictures and annotations to squares of this many pixels before anything is seen or counted."""


class Size(Enum):
    """The size at which pictures are labelled and counted."""

    NATIVE = "native"
    TAG = "tag"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(LabelerConfig):
    """Score the labeler on annotated pictures, and split what is lost into segments, names and gating."""

    dataset: DatasetName = field(metadata={"help": "which annotated pictures"})
    root: Path = field(metadata={"help": "the folder that holds them, in their official layout"})
    classes: Path | None = field(
        default=None, metadata={"help": "for --dataset folder: what its numbers mean (default: ROOT/classes.txt)"}
    )
    mapping: tuple[MappingName, ...] = field(
        default=(MappingName.LEXICAL,), metadata={"help": "how words become classes; several give several rows"}
    )
    table: Path | None = field(
        default=None,
        metadata={"help": "for --mapping table: an earlier mapping.*.json, or a CSV with columns name and class"},
    )
    sentences: Path | None = field(
        default=None, metadata={"help": "for --mapping sbert_...: a folder of a sentence-transformers model"}
    )
    size: Size = field(
        default=Size.NATIVE, metadata={"help": f"count at the annotations' size, or as TAG in {TAG_SIDE} x {TAG_SIDE}"}
    )
    limit: int = field(default=0, metadata={"help": "only the first pictures, 0 for all"})
    out: Path = field(
        default=Path("evaluation-results"), metadata={"help": "writes results.json, per_class.csv, index.html, ..."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit < 0:
            raise ValueError(f"--limit {self.limit}: must be 0 (all pictures) or more")
        if len(set(self.mapping)) != len(self.mapping):
            raise ValueError("--mapping: each may be named once")
