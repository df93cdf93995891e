"""What stands in a folder of labels: every finished picture's JSON, read back one at a time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

COCO_FILE = "annotations.coco.json"
PANOPTIC_FILE = "panoptic.json"
PANOPTIC_FOLDER = "panoptic"
REPORT_FILE = "report.html"
TASKS_FILE = "label-studio.json"
TASKS_INTERFACE = "label-studio.xml"

OF_A_RUN = (COCO_FILE, PANOPTIC_FILE, PANOPTIC_FOLDER, REPORT_FILE, TASKS_FILE, TASKS_INTERFACE)
"""Files of the whole run, and a folder of them."""

RESERVED = frozenset([COCO_FILE, PANOPTIC_FILE, TASKS_FILE])
"""JSON files of the whole run: no picture's labels may be called so."""

OF_A_PICTURE = (".json", ".png", ".overlay.jpg")
"""What a picture's outputs end in, after its stem."""

SCHEMA_VERSION = 1


class Picture(msgspec.Struct):
    """Where a picture was, its sides in pixels, and the digest of its bytes; records of old have none."""

    path: str
    width: int
    height: int
    sha256: str = ""


class Word(msgspec.Struct):
    """A word and its score."""

    label: str
    score: float


class Caption(msgspec.Struct):
    """A caption that spoke for a label; `schema.json` says more."""

    index: str
    row: int
    score: float
    caption: str


class Rle(msgspec.Struct):
    """A mask as COCO writes it: [height, width] and compressed runs."""

    size: tuple[int, int]
    counts: str


class Region(msgspec.Struct):
    """A named segment."""

    id: int
    label: str
    score: float
    alternatives: list[Word]
    area: int
    bbox: tuple[int, int, int, int]
    rle: Rle
    evidence: list[Caption]


class Record(msgspec.Struct):
    """The JSON of a picture, as `schema.json` describes it."""

    version: int
    picture: Picture
    made_by: dict[str, Any]
    segments: list[Region]


@dataclass(frozen=True, slots=True)  # a hundred thousand may be held
class Entry:
    """A finished picture: what its outputs are called below the folder, its path as it was, and its sides in pixels."""

    stem: str
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Census:
    """Everything that a folder of labels holds, without the masks.

    Attributes:
        out: the folder.
        made_by: what all its labels depend on besides the pictures.
        entries: finished pictures in the order of their paths.
        labels: how many segments have each label.
        left_out: pictures that were labelled under other conditions, and so belong to another run.
    """

    out: Path
    made_by: dict[str, Any]
    entries: tuple[Entry, ...]
    labels: Counter[str] = field(default_factory=Counter)
    left_out: int = 0

    @property
    def categories(self) -> dict[str, int]:
        """The labels in alphabetical order, numbered from 1."""
        return {label: number for number, label in enumerate(sorted(self.labels), start=1)}

    def path(self, entry: Entry, suffix: str) -> Path:
        """One of a picture's outputs, such as `.json`."""
        return self.out / f"{entry.stem}{suffix}"

    def records(self) -> Iterator[tuple[int, Entry, Record]]:
        """The pictures with everything that was found in them, numbered from 1; one is in memory at a time."""
        for number, entry in enumerate(self.entries, start=1):
            record = read_record(self.path(entry, ".json"))
            if record is not None:
                yield number, entry, record


def take_census(out: Path, made_by: dict[str, Any]) -> Census:
    """Go through a folder of labels once.

    Where two records are of one picture, the one that was written last counts: a picture's outputs are called otherwise
    once another picture of its name, but for the suffix, has come.

    Args:
        out: the folder.
        made_by: of the run, from `describe_run`; pictures with another one are left out.
    """
    entries, labels, left_out = dict[str, Entry](), Counter[str](), 0
    for file in sorted(out.rglob("*.json"), key=_age):
        record = None if file.name in RESERVED and file.parent == out else read_record(file)
        if record is None:
            continue
        if record.made_by != made_by:
            left_out += 1
            continue
        older = entries.get(record.picture.path)
        if older is not None:
            labels.subtract(_labels_of(read_record(out / f"{older.stem}.json")))
        labels.update(_labels_of(record))
        stem = file.relative_to(out).as_posix().removesuffix(".json")
        entries[record.picture.path] = Entry(stem, record.picture.path, record.picture.width, record.picture.height)
    return Census(out, made_by, tuple(sorted(entries.values(), key=lambda entry: entry.name)), +labels, left_out)


def _age(file: Path) -> tuple[int, str]:
    """By this files are sorted: those written last are last."""
    try:
        return file.stat().st_mtime_ns, file.as_posix()
    except OSError:  # a link that leads nowhere
        return 0, file.as_posix()


def _labels_of(record: Record | None) -> list[str]:
    return [] if record is None else [segment.label for segment in record.segments]


def read_record(file: Path) -> Record | None:
    """The labels in a JSON file; None where it is missing, damaged, or holds something else."""
    try:
        record = _DECODER.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return record if record.version == SCHEMA_VERSION else None


_DECODER = msgspec.json.Decoder(Record)
