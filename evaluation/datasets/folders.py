"""Finding a data set's files: which arrangement of folders it is, and which pictures belong to which annotations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evaluation.classes import Classes
from evaluation.datasets.annotations import Decoder
from evaluation.datasets.dataset import Dataset, Item
from evaluation.errors import DatasetError
from labeler.inputs import SUFFIXES

ANNOTATIONS = frozenset([".png", ".bmp", ".tif", ".tiff", ".gif", ".mat"])
"""Suffixes of files that hold one number or colour a pixel without loss."""

IDS = "ids.txt"
"""A list of ids beside the folders, one a line, chooses among the pictures of any data set."""

NAMED_IN_ERRORS = 5


@dataclass(frozen=True)
class Layout:
    """An arrangement of folders below a data set's root.

    Attributes:
        folders: pairs of a folder of pictures and the folder of their annotations, all of which must be there.
        ids: the file that lists what is to be scored; where there is none, and no `ids.txt`, every annotation is.
        ending: what the names of annotations have after the picture's name, before the suffix.
        without: annotations whose names hold this are not meant.
    """

    folders: tuple[tuple[str, str], ...]
    ids: str = IDS
    ending: str = ""
    without: str = ""

    def describe(self) -> str:
        """The folders, for messages and outputs."""
        return ", ".join(f"{pictures} + {annotations}" for pictures, annotations in self.folders)


def find_layout(root: Path, layouts: Sequence[Layout]) -> Layout:
    """The first layout whose folders are all there.

    Raises:
        DatasetError: none is; the message lists those that were looked for.
    """
    if not root.is_dir():
        raise DatasetError(f"--root {root}: no such folder; give the folder that holds the data set")
    for layout in layouts:
        if all((root / folder).is_dir() for pair in layout.folders for folder in pair):
            return layout
    looked_for = "; ".join(dict.fromkeys(layout.describe() for layout in layouts))
    raise DatasetError(f"--root {root}: none of these folders there: {looked_for}")


def find_items(root: Path, layout: Layout) -> tuple[Item, ...]:
    """Every picture of a layout with its annotation, in the order of the list of ids, or of the ids.

    Raises:
        DatasetError: an id has no picture or no annotation, or nothing was found.
    """
    pictures: dict[str, Path] = {}
    annotations: dict[str, Path] = {}
    for picture_folder, annotation_folder in layout.folders:
        pictures |= _by_stem(root / picture_folder, SUFFIXES)
        annotations |= _annotations(root / annotation_folder, layout)
    ids = _listed(root, layout) or sorted(annotations)
    if not ids:
        raise DatasetError(f"{root}: {layout.describe()}: there are no annotations there")
    missing = [name for name in ids if name not in pictures or name not in annotations]
    if missing:
        shown = ", ".join(missing[:NAMED_IN_ERRORS]) + (", …" if len(missing) > NAMED_IN_ERRORS else "")
        raise DatasetError(
            f"{root}: {layout.describe()}: {len(missing)} of {len(ids)} have no picture or no annotation: {shown}"
        )
    return tuple(Item(name, pictures[name], annotations[name]) for name in ids)


def _listed(root: Path, layout: Layout) -> list[str]:
    """Ids that a file lists, each once; none where there is no such file."""
    for name in (layout.ids, IDS):
        path = root / name
        if path.is_file():
            lines = (line.split() for line in path.read_text("utf-8").splitlines())
            return list(dict.fromkeys(words[0] for words in lines if words))
    return []


def _annotations(folder: Path, layout: Layout) -> dict[str, Path]:
    found = _by_stem(folder, ANNOTATIONS)
    kept = {stem: path for stem, path in found.items() if not layout.without or layout.without not in stem}
    return {stem.removesuffix(layout.ending): path for stem, path in kept.items() if stem.endswith(layout.ending)}


def _by_stem(folder: Path, suffixes: frozenset[str]) -> dict[str, Path]:
    """Files below a folder by their path without suffix.

    Raises:
        DatasetError: two files differ in their suffix alone.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in suffixes or not path.is_file():
            continue
        stem = str(PurePosixPath(path.relative_to(folder).as_posix()).with_suffix(""))
        if stem in found:
            raise DatasetError(f"{folder}: {found[stem].name} and {path.name} are one name; keep one of them")
        found[stem] = path
    return found


def open_layout(
    name: str, root: Path, classes: Classes, layout: Layout, decode: Decoder, *, excuses_other: bool = False
) -> Dataset:
    """A data set in a layout that was found.

    Raises:
        DatasetError: an id has no picture or no annotation, or nothing was found.
    """
    return Dataset(name, layout.describe(), classes, find_items(root, layout), decode, excuses_other)
