"""Everything a build can be told; the command's flags are made from this."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from encoders.presets import PresetName
from shards import layout

CLEANING = 1
"""Version of the rules in `cleaning.py`: other rules give other captions, so a build of one cannot continue another."""


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Turn captions into an index: unit vectors in shards, and a search index over them."""

    corpus: tuple[str, ...] = field(
        metadata={
            "help": "a preset (demo, cc3m, coco, …), a file, ./folder, glob or URL; repeatable",
            "metavar": "CORPUS",
        }
    )
    name: str = field(default="", metadata={"help": "folder below OUT (default: the preset or the first file's name)"})
    out: Path = field(default=Path("shards"), metadata={"help": "writes OUT/NAME/"})
    preset: PresetName = field(default=PresetName.DEFAULT, metadata={"help": "which pair of networks"})
    clip: str = field(
        default="",
        metadata={"help": "another CLIP: ARCHITECTURE/WEIGHTS, hf-hub:ID, local-dir:FOLDER", "metavar": "CLIP"},
    )
    clip_checkpoint: Path | None = field(
        default=None, metadata={"help": "the CLIP's weights in a local file, instead of a download"}
    )
    caption_column: str = field(
        default="", metadata={"help": "column that holds the captions (default: found by name)", "metavar": "COLUMN"}
    )
    data_dir: Path | None = field(default=None, metadata={"help": "local copies of a preset's files"})
    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})
    limit: int = field(default=0, metadata={"help": "stop after this many rows of captions; 0 means all"})
    rows_per_part: int = field(
        default=32_768, metadata={"help": "captions per part: what a killed build computes again at most"}
    )

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError(f"--limit {self.limit}: must be 0 or more")
        if self.rows_per_part < 1:
            raise ValueError(f"--rows-per-part {self.rows_per_part}: must be at least 1")
        if self.name and not layout.is_plain(self.name):
            raise ValueError(f"--name {self.name}: must be a plain folder name")

    def settings(self) -> str:
        """A digest of what decides the bytes of the parts, besides the captions and the encoder."""
        decisive = {"cleaning": CLEANING, "rows_per_part": self.rows_per_part}
        return "sha256:" + hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
