"""Every data set in its official layout, built small, and what is said where something is wrong with one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluation.classes import Classes, ClassListError, parse_classes, read_classes
from evaluation.datasets import OTHER, VOID, Dataset, DatasetName, Item, open_dataset
from evaluation.datasets.known import CLASS_LISTS
from evaluation.datasets.own import read_folder
from evaluation.datasets.scenes import MSRC_ALL, MSRC_COLOURS, palette_colour
from evaluation.errors import DatasetError

Numbers = list[list[int]]
SHARED = Path(__file__).parents[2] / "shared/data/photos"


def photograph(path: Path, numbers: Numbers) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (len(numbers[0]), len(numbers)), "grey").save(path)


def annotation(path: Path, numbers: Numbers, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(numbers, np.uint8))
    if mode == "P":
        image.putpalette([channel for number in range(256) for channel in palette_colour(number)])
    image.save(path)


def listed(path: Path, *ids: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in ids))


def voc(root: Path, numbers: Numbers) -> None:
    base = root / "VOCdevkit/VOC2012"
    for name in ("2007_000033", "2007_000042", "2007_000061"):
        photograph(base / f"JPEGImages/{name}.jpg", numbers)
        annotation(base / f"SegmentationClass/{name}.png", numbers, "P")
    listed(base / "ImageSets/Segmentation/val.txt", "2007_000061", "2007_000033")


def context(root: Path, numbers: Numbers) -> None:
    base = root / "VOCdevkit/VOC2010"
    photograph(base / "JPEGImages/2008_000002.jpg", numbers)
    annotation(base / "SegmentationClassContext/2008_000002.png", numbers, "P")
    listed(base / "ImageSets/SegmentationContext/val.txt", "2008_000002")


def ade(root: Path, numbers: Numbers) -> None:
    base = root / "ADEChallengeData2016"
    photograph(base / "images/validation/ADE_val_00000001.jpg", numbers)
    annotation(base / "annotations/validation/ADE_val_00000001.png", numbers)
    photograph(base / "images/training/ADE_train_00000001.jpg", numbers)
    annotation(base / "annotations/training/ADE_train_00000001.png", numbers)


def coco(root: Path, numbers: Numbers) -> None:
    photograph(root / "val2017/000000000139.jpg", numbers)
    annotation(root / "stuffthingmaps/val2017/000000000139.png", numbers)


def mmseg_coco(root: Path, numbers: Numbers) -> None:
    photograph(root / "images/val2017/000000000139.jpg", numbers)
    annotation(root / "annotations/val2017/000000000139.png", numbers)
    annotation(root / "annotations/val2017/000000000139_labelTrainIds.png", [[0]])


def camvid(root: Path, numbers: Numbers) -> None:
    photograph(root / "CamVid/test/0001TP_008550.png", numbers)
    annotation(root / "CamVid/testannot/0001TP_008550.png", numbers)


def msrc(root: Path, numbers: Numbers) -> None:
    photograph(root / "MSRC_ObjCategImageDatabase_v2/Images/1_1_s.bmp", numbers)
    path = root / "MSRC_ObjCategImageDatabase_v2/GroundTruth/1_1_s_GT.bmp"
    path.parent.mkdir(parents=True)
    colours = [(0, 0, 0), *(palette_colour(number) for number in MSRC_COLOURS)]
    Image.fromarray(np.array([[colours[n] for n in row] for row in numbers], np.uint8)).save(path)


def folder(root: Path, numbers: Numbers) -> None:
    photograph(root / "images/below/a.jpg", numbers)
    annotation(root / "masks/below/a.png", numbers)
    (root / "classes.txt").write_text("- void\ncat = cat | kitten\n# no number\n*background\ndog\n")


HORSE, MOUNTAIN = MSRC_ALL.index("horse") + 1, MSRC_ALL.index("mountain") + 1

LAYOUTS: dict[str, tuple[DatasetName, Callable[[Path, Numbers], None], Numbers, Numbers]] = {
    "voc20": (DatasetName.VOC20, voc, [[0, 1, 20, 255]], [[OTHER, 0, 19, VOID]]),
    "voc21": (DatasetName.VOC21, voc, [[0, 1, 20, 255]], [[0, 1, 20, VOID]]),
    "context59": (DatasetName.CONTEXT59, context, [[0, 1, 59]], [[OTHER, 0, 58]]),
    "context60": (DatasetName.CONTEXT60, context, [[0, 1, 59]], [[0, 1, 59]]),
    "ade150": (DatasetName.ADE150, ade, [[0, 1, 150]], [[OTHER, 0, 149]]),
    "coco-stuff": (DatasetName.COCO_STUFF, coco, [[0, 89, 91, 181, 255]], [[0, 79, 80, 170, VOID]]),
    "coco-stuff in mmseg's folders": (DatasetName.COCO_STUFF, mmseg_coco, [[0, 12, 255]], [[0, 11, VOID]]),
    "coco-object": (DatasetName.COCO_OBJECT, coco, [[0, 12, 89, 91, 255]], [[1, 12, 80, 0, 0]]),
    "camvid": (DatasetName.CAMVID, camvid, [[0, 10, 11]], [[0, 10, VOID]]),
    "msrc21": (DatasetName.MSRC21, msrc, [[0, 1, HORSE, MOUNTAIN, 23]], [[VOID, 0, VOID, VOID, 20]]),
    "folder": (DatasetName.FOLDER, folder, [[0, 1, 2, 3, 255]], [[VOID, 0, 1, 2, VOID]]),
}
"""A data set, who writes it, the numbers in its annotations, and what they mean here."""


@pytest.mark.parametrize("case", LAYOUTS)
def test_an_official_layout_is_read(tmp_path: Path, case: str) -> None:
    name, write, numbers, expected = LAYOUTS[case]
    write(tmp_path, numbers)
    dataset = open_dataset(name, tmp_path)
    for item in dataset.items:
        truth = dataset.truth(item)
        assert truth.dtype == np.int32
        np.testing.assert_array_equal(truth, expected)
        assert item.picture.is_file()


@pytest.mark.parametrize("first", ["", "*sky\n", "# a list\n", "- nothing\n"])
def test_a_mark_of_the_encoding_says_nothing(tmp_path: Path, first: str) -> None:
    folder(tmp_path, [[0, 1, 2, 255]])
    path = tmp_path / "classes.txt"
    path.write_text(f"{first}cat\ndog\nsheep\n", "utf-8")
    without = open_dataset(DatasetName.FOLDER, tmp_path)
    path.write_text(path.read_text("utf-8"), "utf-8-sig")
    marked = open_dataset(DatasetName.FOLDER, tmp_path)
    assert marked.classes == without.classes
    np.testing.assert_array_equal(marked.truth(marked.items[0]), without.truth(without.items[0]))


SIZES = {"voc20": 20, "voc21": 21, "context59": 59, "context60": 60, "ade150": 150}
SIZES |= {"coco-object": 81, "coco-stuff": 171, "camvid": 11, "msrc21": 21}


@pytest.mark.parametrize("name", SIZES)
def test_class_lists_hold_as_many_classes_as_the_name_says(name: str) -> None:
    classes = read_classes(CLASS_LISTS / f"{name}.txt")
    assert len(classes) == SIZES[name]
    assert (classes.background is not None) == (name in ("voc21", "context60", "coco-object"))
    assert len(set(classes.published)) == len(classes)


def test_tags_names_of_voc_are_the_published_ones() -> None:
    listed = (
        "airplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorbike, "
        "person, potted plant, sheep, sofa, train, tv monitor"
    )
    assert read_classes(CLASS_LISTS / "voc20.txt").published == tuple(listed.split(", "))


def test_lists_with_and_without_background_are_the_same_otherwise() -> None:
    for without, including in (("voc20", "voc21"), ("context59", "context60")):
        full = read_classes(CLASS_LISTS / f"{including}.txt")
        bare = read_classes(CLASS_LISTS / f"{without}.txt")
        kept = [c for c in range(len(full)) if c != full.background]
        assert bare.names == tuple(full.names[c] for c in kept)
        assert bare.strings == tuple(full.strings[c] for c in kept)


def test_voc_is_scored_in_the_order_of_its_list(tmp_path: Path) -> None:
    voc(tmp_path, [[0, 1]])
    assert [item.id for item in open_dataset(DatasetName.VOC20, tmp_path).items] == ["2007_000061", "2007_000033"]


def test_a_list_of_ids_beside_the_folders_chooses(tmp_path: Path) -> None:
    for name in "abc":
        photograph(tmp_path / f"images/{name}.jpg", [[1]])
        annotation(tmp_path / f"labels/{name}.png", [[1]])
    listed(tmp_path / "ids.txt", "c", "a", "c")
    assert [item.id for item in open_dataset(DatasetName.MSRC21, tmp_path).items] == ["c", "a"]


def context_matrices(root: Path, numbers: Numbers) -> None:
    io = pytest.importorskip("scipy.io")
    classes = read_classes(CLASS_LISTS / "context59.txt")
    names = ["accordion", *classes.names, "zebra"]
    photograph(root / "JPEGImages/a.jpg", numbers)
    (root / "trainval").mkdir()
    io.savemat(root / "trainval/a.mat", {"LabelMap": np.array(numbers, np.uint16)})
    (root / "labels.txt").write_text("".join(f"{number}: {name}\n" for number, name in enumerate(names, start=1)))


@pytest.mark.parametrize(("name", "expected"), [("context59", [[OTHER, OTHER, 0, 58]]), ("context60", [[0, 0, 1, 59]])])
def test_contexts_original_matrices_of_459_classes_are_read(tmp_path: Path, name: str, expected: Numbers) -> None:
    context_matrices(tmp_path, [[1, 61, 2, 60]])
    dataset = open_dataset(DatasetName(name), tmp_path)
    np.testing.assert_array_equal(dataset.truth(dataset.items[0]), expected)


# --- the pictures beside the checkout --------------------------------------------------------------------------------

BESIDE = {"voc20": ("voc", 200), "voc21": ("voc", 200), "msrc21": ("msrc", 141), "camvid": ("camvid", 60)}
BESIDE |= {"coco-stuff": ("coco_stuff", 21), "coco-object": ("coco_stuff", 21), "ade150": ("ade20k_sample", 3)}


@pytest.mark.shared
@pytest.mark.parametrize("name", BESIDE)
def test_the_reduced_layouts_are_read(name: str) -> None:
    folder, pictures = BESIDE[name]
    if not (SHARED / folder).is_dir():
        pytest.skip(f"the photographs are not beside the checkout: {SHARED / folder}")
    dataset = open_dataset(DatasetName(name), SHARED / folder)
    assert len(dataset.items) == pictures
    for item in dataset.items[:: max(1, pictures // 5)]:
        truth = dataset.truth(item)
        with Image.open(item.picture) as picture:
            assert picture.size == truth.shape[::-1]
        assert set(np.unique(truth).tolist()) <= {*range(len(dataset.classes)), OTHER, VOID}


# --- what is refused -------------------------------------------------------------------------------------------------


def read_all(name: DatasetName, root: Path) -> None:
    dataset = open_dataset(name, root)
    for item in dataset.items:
        dataset.truth(item)


def refused(name: DatasetName, root: Path) -> str:
    with pytest.raises((DatasetError, ClassListError)) as caught:
        read_all(name, root)
    assert str(root) in str(caught.value)
    return str(caught.value)


def test_a_folder_that_holds_no_data_set(tmp_path: Path) -> None:
    assert "no such folder" in refused(DatasetName.VOC20, tmp_path / "nowhere")
    said = refused(DatasetName.VOC20, tmp_path)
    assert "VOCdevkit/VOC2012/JPEGImages + VOCdevkit/VOC2012/SegmentationClass" in said


def test_ids_without_files(tmp_path: Path) -> None:
    voc(tmp_path, [[0]])
    (tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg").unlink()
    assert "1 of 2 have no picture or no annotation: 2007_000033" in refused(DatasetName.VOC20, tmp_path)


def test_folders_without_annotations(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert "there are no annotations there" in refused(DatasetName.MSRC21, tmp_path)


@pytest.mark.parametrize("number", [21, 200])
def test_numbers_of_another_data_set(tmp_path: Path, number: int) -> None:
    voc(tmp_path, [[0, number]])
    said = refused(DatasetName.VOC21, tmp_path)
    assert f"holds {number}, this data set has 0 to 20 and 255" in said


def test_colours_of_another_data_set(tmp_path: Path) -> None:
    msrc(tmp_path, [[1]])
    path = tmp_path / "MSRC_ObjCategImageDatabase_v2/GroundTruth/1_1_s_GT.bmp"
    Image.new("RGB", (1, 1), (1, 2, 3)).save(path)
    assert "the colour 1, 2, 3 stands for no class" in refused(DatasetName.MSRC21, tmp_path)


def test_an_annotation_in_colours_where_numbers_are_expected(tmp_path: Path) -> None:
    voc(tmp_path, [[0]])
    for path in (tmp_path / "VOCdevkit/VOC2012/SegmentationClass").iterdir():
        Image.new("RGB", (1, 1)).save(path)
    assert "expected one number a pixel" in refused(DatasetName.VOC20, tmp_path)


def test_a_damaged_annotation(tmp_path: Path) -> None:
    voc(tmp_path, [[0]])
    for path in (tmp_path / "VOCdevkit/VOC2012/SegmentationClass").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    assert "cannot be read as an annotation" in refused(DatasetName.VOC20, tmp_path)


def test_damaged_matrices_and_lists(tmp_path: Path) -> None:
    context_matrices(tmp_path, [[1]])
    (tmp_path / "trainval/a.mat").write_bytes(b"no matrix")
    assert "no matrix LabelMap" in refused(DatasetName.CONTEXT59, tmp_path)
    (tmp_path / "labels.txt").write_text("1: accordion\n")
    assert "labels.txt has no aeroplane" in refused(DatasetName.CONTEXT59, tmp_path)
    (tmp_path / "labels.txt").write_text("accordion\n")
    assert "lines like '2: aeroplane'" in refused(DatasetName.CONTEXT59, tmp_path)


def test_two_pictures_of_one_name(tmp_path: Path) -> None:
    folder(tmp_path, [[1]])
    photograph(tmp_path / "images/below/a.png", [[1]])
    assert "a.jpg and a.png are one name" in refused(DatasetName.FOLDER, tmp_path)


@pytest.mark.parametrize("name", ["../a", "a/../../b", "", "a\\b", "a\nb", "/etc/a"])
def test_ids_that_would_leave_the_folder_of_results(name: str) -> None:
    with pytest.raises(DatasetError, match="is no name for a picture"):
        Item(name, Path("a.jpg"), Path("a.png"))


def test_a_class_list_for_a_data_set_that_has_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--classes goes with folder"):
        open_dataset(DatasetName.VOC20, tmp_path, tmp_path / "classes.txt")


def test_a_folder_without_a_class_list(tmp_path: Path) -> None:
    assert "write one class a line" in refused(DatasetName.FOLDER, tmp_path)


@pytest.mark.parametrize("first", [3, 2])
def test_a_class_that_every_mask_calls_void(tmp_path: Path, first: int) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("\n".join([f"- void {number}" for number in range(first)] + [f"c{n}" for n in range(254)]))
    with pytest.raises(DatasetError, match=rf"classes\.txt: class number 255 is 'c{255 - first}', but 255 in a mask"):
        read_folder("own", tmp_path, path)


def test_more_classes_than_a_label_map_can_number() -> None:
    def decode(_: Path) -> NDArray[np.int32]:
        raise NotImplementedError

    with pytest.raises(DatasetError, match="255 classes, a label map numbers 254"):
        Dataset("wide", "", Classes.of([str(number) for number in range(255)]), (), decode)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "at least one class"),
        (["# nothing", "- void"], "at least one class"),
        (["cat", "dog", "cat = tom"], "found cat more than once"),
        (["*background", "*rest"], "found a second one"),
        (["cat = tom | "], "none is empty, found cat"),
        (["= tom"], "a name"),
    ],
)
def test_class_lists_that_are_none(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_classes(lines)
    path = tmp_path / "classes.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(ClassListError, match=r"classes\.txt: "):
        read_classes(path)


def test_strings_and_background_of_a_class_list_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="found strings for 1"):
        Classes(("cat", "dog"), (("cat",),))
    with pytest.raises(ValueError, match="not number 2"):
        Classes(("cat", "dog"), (("cat",), ("dog",)), 2)
