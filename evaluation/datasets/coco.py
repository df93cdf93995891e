"""COCO's pictures of 2017 with the annotations of COCO-Stuff 164k."""

from pathlib import Path

from evaluation.classes import Classes
from evaluation.datasets.annotations import number_table, numbered
from evaluation.datasets.dataset import VOID, Dataset
from evaluation.datasets.folders import Layout, find_layout, open_layout

# --- COCO-Stuff 164k: a class's id less one, 255 not annotated -------------------------------------------------------

COCO_ABSENT = frozenset([12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91])
"""Ids of things that were planned and are in no picture."""

COCO_THINGS = [number for number in range(1, 91) if number not in COCO_ABSENT]
COCO_STUFF = list(range(92, 183))
COCO_LAYOUTS = [
    *(
        Layout(((pictures, annotations),), without="TrainIds")
        for pictures in ("val2017", "images/val2017")
        for annotations in (
            "stuffthingmaps/val2017",
            "stuffthingmaps_trainval2017/val2017",
            "annotations/val2017",
            "annotations/stuffthingmaps/val2017",
        )
    ),
    Layout((("val_img", "val_label"), ("train_img", "train_label"))),
]


def read_coco_stuff(name: str, root: Path, classes: Classes) -> Dataset:
    """The 171 classes; what was not annotated is void."""
    numbers = [number - 1 for number in [*COCO_THINGS, *COCO_STUFF]]
    table = number_table({number: c for c, number in enumerate(numbers)}, void=[VOID])
    return open_layout(name, root, classes, find_layout(root, COCO_LAYOUTS), numbered(table))


def read_coco_object(name: str, root: Path, classes: Classes) -> Dataset:
    """Stuff and what was not annotated are background, as in GroupViT's conversion, which the field uses."""
    things = {number - 1: c for c, number in enumerate(COCO_THINGS, start=1)}
    table = number_table(things | dict.fromkeys([number - 1 for number in COCO_STUFF] + [VOID], 0))
    return open_layout(name, root, classes, find_layout(root, COCO_LAYOUTS), numbered(table))
