"""Densely annotated scenes: ADE20K, CamVid, MSRC."""

from pathlib import Path

from evaluation.classes import Classes
from evaluation.datasets.annotations import coloured, number_table, numbered
from evaluation.datasets.dataset import VOID, Dataset
from evaluation.datasets.folders import Layout, find_layout, open_layout

# --- ADE20K: 1 to 150, 0 for whatever else there is ------------------------------------------------------------------

ADE_LAYOUTS = [
    Layout(((f"{at}images{split}", f"{at}annotations{split}"),))
    for split in ("/validation", "")
    for at in ("", "ADEChallengeData2016/")
]


def read_ade(name: str, root: Path, classes: Classes) -> Dataset:
    """The 150 classes of the scene parsing benchmark; everything else is `OTHER`."""
    table = number_table({number: number - 1 for number in range(1, 151)}, other=[0], void=[VOID])
    return open_layout(name, root, classes, find_layout(root, ADE_LAYOUTS), numbered(table))


# --- CamVid in SegNet's split, MSRC v2 -------------------------------------------------------------------------------

CAMVID_LAYOUTS = [Layout(((f"{at}test", f"{at}testannot"),)) for at in ("", "CamVid/")]


def read_camvid(name: str, root: Path, classes: Classes) -> Dataset:
    """The 11 classes of SegNet, of the test drives."""
    table = number_table({number: number for number in range(11)}, void=[11, VOID])
    return open_layout(name, root, classes, find_layout(root, CAMVID_LAYOUTS), numbered(table))


MSRC_ALL = (
    "building grass tree cow horse sheep sky mountain aeroplane water face car bicycle flower sign bird book chair "
    "road cat dog body boat"
).split()
"""The 23 classes in the order of their numbers from 1; 0 is void."""

MSRC_COLOURS = [*range(1, 19), *range(21, 26)]
"""Each class's place in PASCAL VOC's palette."""

MSRC_LAYOUTS = [
    *(Layout(((f"{at}Images", f"{at}GroundTruth"),), ending="_GT") for at in ("", "MSRC_ObjCategImageDatabase_v2/")),
    Layout((("images", "labels"),)),
]


def read_msrc(name: str, root: Path, classes: Classes) -> Dataset:
    """The 21 classes; in the official colours, or as numbers."""
    layout = find_layout(root, MSRC_LAYOUTS)
    scored = [classes.names.index(known) if known in classes.names else VOID for known in MSRC_ALL]
    if layout.ending:
        colours = dict(zip(map(palette_colour, MSRC_COLOURS), scored, strict=True))
        return open_layout(name, root, classes, layout, coloured(colours, void=(0, 0, 0)))
    return open_layout(
        name, root, classes, layout, numbered(number_table(dict(enumerate(scored, start=1)), void=[0, VOID]))
    )


def palette_colour(number: int) -> tuple[int, int, int]:
    """A colour of PASCAL VOC's palette: the bits of the number, dealt out in turn, the first to the highest bit.

    >>> [palette_colour(number) for number in (0, 1, 2, 8, 21)]
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0), (128, 64, 128)]
    """
    red, green, blue = (
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8)) for channel in range(3)
    )
    return red, green, blue
