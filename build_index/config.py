"""Everything a build can be told; the command's flags are made from this."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build_index.language import Language
from build_index.search_index.options import SearchOptions
from encoders.presets import Precision, PresetName
from shards import layout

CLEANING = 3
"""Version of the rules in `cleaning.py` and `word_lines.py`: other rules give other captions, so a build of one cannot
continue another."""

CONCEPT_PROMPTS = ("{}", "a photo of a {}.")
"""How a word is put to the text encoder; its vector is the mean. The first is TAG's, the second CLIP's. More of
them took two and a half times the work, and named no better (docs/ablation.md)."""


CHOICES: dict[str, Any] = {"preset": PresetName | None, "language": Language, "precision": Precision}
"""Fields that are a choice, and of what."""


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Turn captions into an index: unit vectors in shards, and a search index over them."""

    corpus: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "preset (demo, cc3m, coco, …), file, ./folder, glob or URL; repeatable",
            "metavar": "CORPUS",
            "strays": "captions are given with a flag, --corpus {}",
        },
    )
    append: tuple[str, ...] = field(
        default=(), metadata={"help": "captions to add to the index NAME, written like --corpus", "metavar": "CORPUS"}
    )
    words: tuple[str, ...] = field(
        default=(), metadata={"help": "word lists, written like --corpus: every line is a name", "metavar": "LIST"}
    )
    merge: tuple[Path, ...] = field(
        default=(),
        metadata={"help": "finished indexes, or folders of them, to make the index NAME of", "metavar": "INDEX"},
    )
    name: str = field(default="", metadata={"help": "folder below OUT (default: the preset or the first file's name)"})
    out: Path = field(default=Path("shards"), metadata={"help": "writes OUT/NAME/"})
    preset: PresetName | None = field(
        default=None, metadata={"help": "which pair of networks (default: the index's own, or 'default')"}
    )
    clip: str = field(
        default="",
        metadata={"help": "another CLIP: ARCHITECTURE/WEIGHTS, hf-hub:ID, local-dir:PATH", "metavar": "CLIP"},
    )
    clip_checkpoint: Path | None = field(
        default=None, metadata={"help": "the CLIP's weights in a local file, instead of a download"}
    )
    caption_column: str = field(
        default="", metadata={"help": "column that holds the captions (default: found by name)", "metavar": "COLUMN"}
    )
    data_dir: Path | None = field(default=None, metadata={"help": "local copies of a preset's files"})
    language: Language = field(default=Language.ENGLISH, metadata={"help": "language of the captions, for concepts"})
    least_captions: int = field(
        default=0, metadata={"help": "captions that must hold a concept; 0 means 1, and more in big corpora"}
    )
    concept_prompts: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "templates that a concept is embedded with (default: the index's own, or two of CLIP's style)",
            "metavar": "TEMPLATE",
        },
    )
    export: str = field(default="", metadata={"help": "also write another program's layout: cased", "metavar": "cased"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda (all GPUs), or some: cuda:0,cuda:1"})
    precision: Precision = field(
        default=Precision.AUTO,
        metadata={
            "help": "of the text encoder; auto: bf16 where the hardware has it, int16 where AVX2 is all, else fp32"
        },
    )
    limit: int = field(default=0, metadata={"help": "stop after this many rows of captions; 0 means all"})
    rows_per_part: int = field(
        default=32_768, metadata={"help": "captions per part: what a killed build computes again at most"}
    )
    exact_rows: int | None = field(
        default=None,
        metadata={"help": "captions up to which search is exact (default: the index's own, or 200,000)"},
    )
    index_bytes: int | None = field(
        default=None,
        metadata={
            "help": "size of a search index that is not exact (default: the index's own, or 0, which means "
            "five eighths of a byte for each dimension of each caption)"
        },
    )
    workers: int = field(default=os.cpu_count() or 1, metadata={"help": "processes that look for concepts"})

    def __post_init__(self) -> None:
        self._require_types()
        if self.merge:
            self._require_merge_alone()
        elif not (self.corpus or self.append or self.words):
            raise ValueError("nothing to build from: give --corpus, --append, --words or --merge")
        if self.preset and self.clip:
            raise ValueError(
                f"--preset {self.preset.value} has its own CLIP, and --clip {self.clip} is another; give one"
            )
        for flag, value, least in (
            ("--limit", self.limit, 0),
            ("--least-captions", self.least_captions, 0),
            ("--rows-per-part", self.rows_per_part, 1),
            ("--workers", self.workers, 1),
            ("--exact-rows", self.exact_rows or 0, 0),
            ("--index-bytes", self.index_bytes or 0, 0),
        ):
            if value < least:
                raise ValueError(f"{flag} {value}: must be {least} or more")
        if self.name and not layout.is_plain(self.name):
            raise ValueError(f"--name {self.name}: must be a plain folder name")
        if self.export not in ("", "cased"):
            raise ValueError(f"--export {self.export}: only 'cased' is known")
        _require_templates(self.concept_prompts)

    def _require_types(self) -> None:
        """A text is no choice yet, and no list of texts: it would be taken letter by letter."""
        for name, kind in CHOICES.items():
            if not isinstance(value := getattr(self, name), kind):
                expected = getattr(kind, "__name__", "PresetName or None")
                raise TypeError(f"{name} is {value!r}, expected a {expected}; build takes choices by their names")
        for name in ("corpus", "append", "words", "merge", "concept_prompts"):
            if not isinstance(value := getattr(self, name), tuple):
                raise TypeError(f"{name} is {value!r}, expected a tuple; build takes one value, too")

    def _require_merge_alone(self) -> None:
        """The CLIP, its prompts and the captions are those of the indexes."""
        others = {"--corpus": self.corpus, "--append": self.append, "--words": self.words, "--limit": self.limit}
        others |= {"--preset": self.preset, "--clip": self.clip, "--concept-prompts": self.concept_prompts}
        others |= {"--caption-column": self.caption_column, "--data-dir": self.data_dir}
        if beside := [flag for flag, value in others.items() if value]:
            raise ValueError(f"--merge goes without {', '.join(beside)}; captions can be appended afterwards")
        if not self.name:
            raise ValueError("--merge: give the new index a --name")

    def search_options(self, earlier: SearchOptions) -> SearchOptions:
        """What is said of the search index, and where nothing is, what was said earlier."""
        return SearchOptions(
            exact_rows=earlier.exact_rows if self.exact_rows is None else self.exact_rows,
            index_bytes=earlier.index_bytes if self.index_bytes is None else self.index_bytes,
        )

    def settings(self) -> str:
        """A digest of what decides the bytes of the parts, besides the captions and the encoder."""
        decisive = {"cleaning": CLEANING, "rows_per_part": self.rows_per_part, "language": self.language.value}
        return "sha256:" + hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _require_templates(prompts: tuple[str, ...]) -> None:
    for template in prompts:
        if template.count("{}") != 1 or any(mark in template.replace("{}", "") for mark in "{}"):
            raise ValueError(f"--concept-prompts {template!r}: must hold {{}} once, where the concept belongs")
