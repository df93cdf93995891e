"""The data sets that are known by name."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from evaluation.classes import Classes, read_classes
from evaluation.datasets.coco import read_coco_object, read_coco_stuff
from evaluation.datasets.dataset import Dataset
from evaluation.datasets.own import read_folder
from evaluation.datasets.scenes import read_ade, read_camvid, read_msrc
from evaluation.datasets.voc import read_context, read_voc
from evaluation.errors import DatasetError

CLASS_LISTS = Path(__file__).parents[1] / "class_lists"


class DatasetName(Enum):
    """Data sets by name; the number is that of the classes, with the background where that is one."""

    VOC20 = "voc20"
    VOC21 = "voc21"
    CONTEXT59 = "context59"
    CONTEXT60 = "context60"
    ADE150 = "ade150"
    COCO_OBJECT = "coco-object"
    COCO_STUFF = "coco-stuff"
    CAMVID = "camvid"
    MSRC21 = "msrc21"
    FOLDER = "folder"


def open_dataset(name: DatasetName, root: Path, class_list: Path | None = None) -> Dataset:
    """Find a data set's pictures and annotations.

    Args:
        name: which one.
        root: the folder that holds it, in its official layout or with the folders directly below.
        class_list: for `folder`, and only for it: what the numbers in its annotations mean.

    Raises:
        DatasetError: it is not there, or not complete.
        ClassListError: the class list cannot be used.
    """
    if name is DatasetName.FOLDER:
        return read_folder(name.value, root, class_list or root / "classes.txt")
    if class_list is not None:
        raise DatasetError(f"--classes {class_list}: {name.value} has its own classes; --classes goes with folder")
    return READERS[name](name.value, root, read_classes(CLASS_LISTS / f"{name.value}.txt"))


READERS: dict[DatasetName, Callable[[str, Path, Classes], Dataset]] = {
    DatasetName.VOC20: read_voc,
    DatasetName.VOC21: read_voc,
    DatasetName.CONTEXT59: read_context,
    DatasetName.CONTEXT60: read_context,
    DatasetName.ADE150: read_ade,
    DatasetName.COCO_OBJECT: read_coco_object,
    DatasetName.COCO_STUFF: read_coco_stuff,
    DatasetName.CAMVID: read_camvid,
    DatasetName.MSRC21: read_msrc,
}
