"""What other programs make of the files of a run, by their own libraries where these are installed.

None of them is a dependency: docs/import-elsewhere.md says with which versions these tests were run.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import MADE_BY, write_labels
from numpy.typing import NDArray

from labeler.coco import write_coco
from labeler.exports import take_census
from labeler.label_studio import encode_mask, write_tasks
from labeler.labeled import LabeledImage

NAMES = ["a.png", "deep/b.png", "c d.png"]
EVIL = ["sky", "cat & dog", '"quoted" <tag>', "unknown"]


@pytest.fixture
def written(tmp_path: Path) -> dict[str, LabeledImage]:
    """Labels by name, with the pictures, their labels and the exports on disk."""
    labels = write_labels(tmp_path, NAMES, words=EVIL)
    census = take_census(tmp_path / "labels", MADE_BY)
    write_coco(census)
    write_tasks(census, "/data/local-files/?d=photos")
    return labels


# --- Label Studio ----------------------------------------------------------------------------------------------------


def slow_decode(data: bytes) -> list[int]:
    """Bit by bit, as the format is described: a stream of numbers of known widths."""
    bits = [(byte >> place) & 1 for byte in data for place in range(7, -1, -1)]
    position = 0

    def read(width: int) -> int:
        nonlocal position
        number = 0
        for bit in bits[position : position + width]:
            number = 2 * number + bit
        position += width
        return number

    count, width = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(width)] * length if repeated else [read(width) for _ in range(length)]
    assert len(bits) - position < 8
    return values


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 200)), min_size=1, max_size=8))
def test_a_brush_mask_is_decoded_bit_by_bit(runs: list[tuple[bool, int]]) -> None:
    mask = np.repeat([value for value, _ in runs], [length for _, length in runs])[None]
    assert slow_decode(encode_mask(mask)) == [255 if pixel else 0 for pixel in mask.ravel() for _ in range(4)]


@pytest.mark.parametrize("pixels", [1, 2, 4, 5, 64, 65, 16_384, 16_385, 40_000])
def test_runs_at_the_borders_of_their_sizes(pixels: int) -> None:
    mask = np.ones((1, pixels), np.bool_)
    assert slow_decode(encode_mask(mask)) == [255] * 4 * pixels


def test_label_studio_is_given_every_segment(tmp_path: Path, written: dict[str, LabeledImage]) -> None:
    tasks = json.loads((tmp_path / "labels/label-studio.json").read_text("utf-8"))
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d=photos/{name}" for name in ("a.png", "c%20d.png", "deep/b.png")
    ]
    for task, name in zip(tasks, sorted(NAMES), strict=True):
        labeled = written[name]
        (prediction,) = task["predictions"]
        assert [region["value"]["brushlabels"] for region in prediction["result"]] == [[word] for word in labeled.names]
        for number, region in enumerate(prediction["result"]):
            size = region["original_height"], region["original_width"]
            pixels = np.reshape(slow_decode(bytes(region["value"]["rle"])), (*size, 4))
            np.testing.assert_array_equal(pixels, labeled.mask(number)[..., None].repeat(4, axis=2) * 255)


def test_label_studio_reads_them(tmp_path: Path, written: dict[str, LabeledImage]) -> None:
    pytest.importorskip("label_studio_sdk", reason="label-studio-sdk is not installed")
    from label_studio_sdk.converter import brush  # type: ignore[import-not-found]
    from label_studio_sdk.label_interface import LabelInterface  # type: ignore[import-not-found]

    interface = LabelInterface((tmp_path / "labels/label-studio.xml").read_text("utf-8"))
    interface.validate()
    for task, name in zip(
        json.loads((tmp_path / "labels/label-studio.json").read_text("utf-8")), sorted(NAMES), strict=True
    ):
        assert interface.validate_task({"data": task["data"]})
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction)
        for number, region in enumerate(prediction["result"]):
            mask = written[name].mask(number)
            pixels = np.reshape(brush.decode_rle(region["value"]["rle"]), (*mask.shape, 4))
            np.testing.assert_array_equal(pixels[..., 3], mask * 255)
            theirs = brush.mask2rle(mask.astype(np.uint8) * 255)  # adds a byte where none is needed
            assert bytes(region["value"]["rle"]) in (bytes(theirs), bytes(theirs[:-1]))


# --- readers of COCO -------------------------------------------------------------------------------------------------


def whole(box: tuple[float, ...], part: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask that is cut to its box, x and y first, in the picture."""
    mask = np.zeros(size, np.bool_)
    left, top = round(box[0] * size[1]), round(box[1] * size[0])
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask


def test_cvats_reader_reads_annotations_coco_json(tmp_path: Path, written: dict[str, LabeledImage]) -> None:
    datumaro = pytest.importorskip("datumaro", reason="datumaro, which CVAT imports with, is not installed")
    pytest.importorskip("datumaro.components.dataset")
    file = tmp_path / "data/annotations/instances_default.json"  # as it asks for, and as a zip for CVAT has it
    file.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "labels/annotations.coco.json", file)
    shutil.copytree(tmp_path / "pictures", tmp_path / "data/images/default")
    data = datumaro.components.dataset.Dataset.import_from(str(tmp_path / "data"), "coco_instances")
    kinds = datumaro.components.annotation.AnnotationType
    words = [label.name for label in data.categories()[kinds.label]]
    assert words == sorted({word for labeled in written.values() for word in labeled.names})
    assert {item.id for item in data} == {name.removesuffix(".png") for name in NAMES}
    for item in data:
        labeled = written[f"{item.id}.png"]
        masks = sorted((each for each in item.annotations if each.type is kinds.mask), key=lambda mask: mask.id)
        assert [words[each.label] for each in masks] == list(labeled.names)
        for number, each in enumerate(masks):
            np.testing.assert_array_equal(np.asarray(each.image).astype(bool), labeled.mask(number))


def test_supervision_reads_annotations_coco_json(tmp_path: Path, written: dict[str, LabeledImage]) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    data = supervision.DetectionDataset.from_coco(
        str(tmp_path / "pictures"), str(tmp_path / "labels/annotations.coco.json"), force_masks=True
    )
    assert len(data) == len(NAMES)
    for path, picture, found in data:
        labeled = written[Path(path).relative_to(tmp_path / "pictures").as_posix()]
        assert picture.shape[:2] == labeled.segments.size
        assert [data.classes[number] for number in found.class_id] == list(labeled.names)
        np.testing.assert_array_equal(found.mask, [labeled.mask(number) for number in range(len(labeled.names))])


def test_fiftyone_reads_annotations_coco_json(tmp_path: Path, written: dict[str, LabeledImage]) -> None:
    """By its importer, without the MongoDB that its data sets live in."""
    pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    from fiftyone.utils.coco import COCODetectionDatasetImporter  # type: ignore[import-not-found]

    importer = COCODetectionDatasetImporter(
        data_path=str(tmp_path / "pictures"),
        labels_path=str(tmp_path / "labels/annotations.coco.json"),
        label_types=["segmentations"],
    )
    seen = set()
    with importer:
        for path, size, labels in importer:
            name = Path(path).relative_to(tmp_path / "pictures").as_posix()
            labeled = written[name]
            assert (size.height, size.width) == labeled.segments.size
            (found,) = labels.values() if isinstance(labels, dict) else (labels,)
            assert [each.label for each in found.detections] == list(labeled.names)
            for number, each in enumerate(found.detections):
                mask = whole(each.bounding_box, each.mask, labeled.segments.size)
                np.testing.assert_array_equal(mask, labeled.mask(number))
            seen.add(name)
    assert seen == set(NAMES)
