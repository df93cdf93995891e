"""Anybody's pictures and masks."""

from pathlib import Path

from evaluation.classes import IGNORED_MARK, class_entries, read_classes
from evaluation.datasets.annotations import number_table, numbered
from evaluation.datasets.dataset import VOID, Dataset
from evaluation.datasets.folders import Layout, find_layout, open_layout
from evaluation.errors import DatasetError

FOLDER_LAYOUTS = [
    Layout(((pictures, annotations),))
    for pictures in ("images", "pictures")
    for annotations in ("masks", "labels", "annotations")
]


def read_folder(name: str, root: Path, class_list: Path) -> Dataset:
    """Number n of an annotation is what line n, from 0, of the class list says; 255 is void.

    Raises:
        DatasetError: the list has a class of that number.
    """
    classes = read_classes(class_list)
    entries = class_entries(class_list.read_text("utf-8-sig").splitlines())
    if len(entries) > VOID and not entries[VOID].startswith(IGNORED_MARK):
        raise DatasetError(
            f"{class_list}: class number {VOID} is {entries[VOID]!r}, but {VOID} in a mask is void; put {IGNORED_MARK} "
            "before that class, or the classes in another order with one that is not scored there"
        )
    scored, void, c = {}, [VOID], 0
    for number, entry in enumerate(entries):
        if entry.startswith(IGNORED_MARK):
            void.append(number)
        else:
            scored[number], c = c, c + 1
    layout = find_layout(root, FOLDER_LAYOUTS)
    return open_layout(name, root, classes, layout, numbered(number_table(scored, void=void)))
