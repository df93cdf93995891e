"""PASCAL VOC 2012 and PASCAL Context, which annotates pictures of VOC 2010 anew."""

from pathlib import Path

from evaluation.classes import Classes
from evaluation.datasets.annotations import matlab, number_table, numbered
from evaluation.datasets.dataset import VOID, Dataset
from evaluation.datasets.folders import Layout, find_layout, open_layout
from evaluation.errors import DatasetError

# --- PASCAL VOC 2012: palette pictures, 0 background, 255 border -----------------------------------------------------

VOC_PLACES = ("", "VOC2012/", "VOCdevkit/VOC2012/")
VOC_LAYOUTS = [
    Layout(((f"{at}JPEGImages", f"{at}SegmentationClass"),), ids=f"{at}ImageSets/Segmentation/val.txt")
    for at in VOC_PLACES
]


def read_voc(name: str, root: Path, classes: Classes) -> Dataset:
    """Twenty classes with the background as `OTHER`, or twenty-one with the background as a class."""
    if classes.background is None:
        table = number_table({number: number - 1 for number in range(1, 21)}, other=[0], void=[VOID])
    else:
        table = number_table({number: number for number in range(21)}, void=[VOID])
    return open_layout(name, root, classes, find_layout(root, VOC_LAYOUTS), numbered(table), excuses_other=True)


# --- PASCAL Context: pictures numbered 0 to 59, or the original matrices of 459 classes ------------------------------

CONTEXT_PLACES = ("", "VOC2010/", "VOCdevkit/VOC2010/")
CONTEXT_PICTURES = [
    Layout(((f"{at}JPEGImages", f"{at}SegmentationClassContext"),), ids=f"{at}ImageSets/SegmentationContext/val.txt")
    for at in CONTEXT_PLACES
]
CONTEXT_MATRICES = [
    Layout(((f"{at}JPEGImages", f"{at}trainval"),), ids=f"{at}ImageSets/SegmentationContext/val.txt")
    for at in CONTEXT_PLACES
]
CONTEXT_LABELS = "labels.txt"


def read_context(name: str, root: Path, classes: Classes) -> Dataset:
    """The 59 classes with everything else as `OTHER`, or 60 with everything else as the background."""
    layout = find_layout(root, [*CONTEXT_PICTURES, *CONTEXT_MATRICES])
    listed = [c for c in range(len(classes)) if c != classes.background]
    background = {} if classes.background is None else {0: classes.background}
    others = [0] if classes.background is None else []
    if layout in CONTEXT_PICTURES:
        table = number_table(dict(enumerate(listed, start=1)) | background, other=others, void=[VOID])
        return open_layout(name, root, classes, layout, numbered(table))
    labels = _context_labels(root / Path(layout.folders[0][1]).parent / CONTEXT_LABELS)
    missing = [classes.names[c] for c in listed if classes.names[c] not in labels]
    if missing:
        raise DatasetError(f"{root}: {CONTEXT_LABELS} has no {', '.join(missing)}; it should list all 459 classes")
    places = {labels[classes.names[c]]: c for c in listed}
    rest = {0, *labels.values()} - set(places)
    if classes.background is None:
        return open_layout(name, root, classes, layout, matlab("LabelMap", number_table(places, other=[*rest])))
    table = number_table(places | dict.fromkeys(rest, classes.background))
    return open_layout(name, root, classes, layout, matlab("LabelMap", table))


def _context_labels(path: Path) -> dict[str, int]:
    """The file that comes with the matrices: lines of a number, a colon and a name."""
    try:
        lines = path.read_text("utf-8").splitlines()
        return {
            name.strip(): int(number) for number, _, name in (line.partition(":") for line in lines if line.strip())
        }
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: lines like '2: aeroplane' are expected there ({error})") from error
