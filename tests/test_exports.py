"""The files of a whole run: what pycocotools and panoptic readers get out of them is what was labelled."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from labelled import MADE_BY, blobs, some_labels, write_labels
from PIL import Image
from pycocotools.coco import COCO

from labeler import Evidence, Label, LabeledImage, Name
from labeler.coco import ids_of, write_coco, write_ids, write_panoptic
from labeler.exports import read_record, take_census
from segmenter import relabel

NAMES = ["b.png", "a/deep/c.png", "a/d.v2.png", "é&#.png"]


def test_coco_gives_back_every_mask(tmp_path: Path) -> None:
    written = write_labels(tmp_path, NAMES)
    coco = COCO(str(write_coco(take_census(tmp_path / "labels", MADE_BY))))
    assert [image["file_name"] for image in coco.dataset["images"]] == sorted(NAMES)
    assert [image["id"] for image in coco.dataset["images"]] == [1, 2, 3, 4]
    names = {each["id"]: each["name"] for each in coco.loadCats(coco.getCatIds())}
    assert list(names.values()) == sorted({name for labeled in written.values() for name in labeled.names})
    assert list(names) == list(range(1, len(names) + 1))
    for image in coco.dataset["images"]:
        labeled = written[image["file_name"]]
        assert (image["height"], image["width"]) == labeled.segments.size
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(annotations) == labeled.segments.count
        for number, each in enumerate(annotations):
            mask = coco.annToMask(each).astype(bool)
            np.testing.assert_array_equal(mask, labeled.mask(number))
            assert names[each["category_id"]] == labeled.names[number]
            ys, xs = np.nonzero(mask)
            assert (each["area"], each["iscrowd"]) == (mask.sum(), 0)
            assert each["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert each["score"] == labeled.labels[number].name.score
    ids = [each["id"] for each in coco.dataset["annotations"]]
    assert ids == list(range(1, sum(labeled.segments.count for labeled in written.values()) + 1))


def test_the_panoptic_pictures_hold_the_ids_that_the_json_lists(tmp_path: Path) -> None:
    written = write_labels(tmp_path, NAMES)
    content = json.loads(write_panoptic(take_census(tmp_path / "labels", MADE_BY)).read_text("utf-8"))
    files = {image["id"]: image["file_name"] for image in content["images"]}
    names = {each["id"]: each["name"] for each in content["categories"]}
    assert len(content["annotations"]) == len(NAMES)
    for each in content["annotations"]:
        labeled = written[files[each["image_id"]]]
        pixels = np.asarray(Image.open(tmp_path / "labels/panoptic" / each["file_name"])).astype(int)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 256**2 * pixels[..., 2]  # as COCO specifies
        np.testing.assert_array_equal(ids, labeled.segments.label_map)
        assert {info["id"]: names[info["category_id"]] for info in each["segments_info"]} == dict(
            enumerate(labeled.names, start=1)
        )
        assert [info["area"] for info in each["segments_info"]] == labeled.segments.areas.tolist()


def test_pictures_in_a_folder_called_panoptic_keep_their_masks(tmp_path: Path) -> None:
    written = write_labels(tmp_path, ["a.png", "a.ids.png", "panoptic/a.png", "panoptic/panoptic/a.png"])
    labels = tmp_path / "labels"
    masks = {name: (labels / name).read_bytes() for name in written}
    content = json.loads(write_panoptic(take_census(labels, MADE_BY)).read_text("utf-8"))
    assert {name: (labels / name).read_bytes() for name in written} == masks
    files = {image["id"]: image["file_name"] for image in content["images"]}
    assert len({each["file_name"] for each in content["annotations"]}) == len(written)
    for each in content["annotations"]:
        pixels = np.asarray(Image.open(labels / "panoptic" / each["file_name"]))
        np.testing.assert_array_equal(pixels[..., 0], written[files[each["image_id"]]].segments.label_map)


def test_the_order_in_which_pictures_were_labelled_does_not_matter(tmp_path: Path) -> None:
    write_labels(tmp_path / "one", NAMES)
    labels = tmp_path / "two/labels"
    for path in sorted((tmp_path / "one/labels").rglob("*.json"), reverse=True):
        target = labels / path.relative_to(tmp_path / "one/labels")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    one, two = (write_coco(take_census(folder, MADE_BY)) for folder in (tmp_path / "one/labels", labels))
    assert one.read_bytes() == two.read_bytes()


def test_a_census_counts_the_run_and_leaves_out_what_is_not_of_it(tmp_path: Path) -> None:
    written = write_labels(tmp_path, NAMES)
    write_labels(tmp_path, ["other.png"], made_by={**MADE_BY, "preset": "another"})
    labels = tmp_path / "labels"
    write_coco(take_census(labels, MADE_BY))
    (labels / "notes.json").write_text('{"not": "labels"}')
    (labels / "broken.json").write_text('{"version": 1, "pic')
    newer = json.loads((labels / "b.json").read_text("utf-8")) | {"version": 2}
    (labels / "newer.json").write_text(json.dumps(newer))
    census = take_census(labels, MADE_BY)
    assert [entry.name for entry in census.entries] == sorted(NAMES)
    assert census.left_out == 1
    assert census.labels.total() == sum(labeled.segments.count for labeled in written.values())
    assert read_record(labels / "notes.json") is None


def test_pictures_are_not_held_in_memory(tmp_path: Path) -> None:
    """A folder of 8 MB goes through less than 4: blocks of the file that is digested, and a list of names."""
    write_labels(tmp_path, ["0.png"])
    content = json.loads((tmp_path / "labels/0.json").read_text("utf-8"))
    content["segments"][0]["rle"]["counts"] = "0" * 40_000  # never decoded here
    for number in range(200):
        content["picture"]["path"] = f"{number}.png"
        (tmp_path / f"labels/{number}.json").write_text(json.dumps(content))
    tracemalloc.start()
    path = write_coco(take_census(tmp_path / "labels", MADE_BY))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 8_000_000
    assert most < 4_000_000


def test_the_panoptic_picture_of_a_large_one_takes_little_memory(tmp_path: Path) -> None:
    write_labels(tmp_path, ["a.png"], side=800)
    record = read_record(tmp_path / "labels/a.json")
    assert record is not None
    tracemalloc.start()
    write_ids(ids_of(record), tmp_path / "ids.png")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * record.picture.height * record.picture.width


# --- one picture, from Python ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["photos/street.jpg", Path("photos/street.jpg")])
def test_a_labelled_picture_as_coco_is_a_data_set(tmp_path: Path, name: Path | str) -> None:
    labeled = some_labels(np.random.default_rng(3), 40, 50)
    path = tmp_path / "one.json"
    path.write_text(json.dumps(labeled.to_coco(name)))
    coco = COCO(str(path))
    assert coco.loadImgs(1)[0]["file_name"] == "photos/street.jpg"
    for number, each in enumerate(coco.loadAnns(coco.getAnnIds())):
        np.testing.assert_array_equal(coco.annToMask(each).astype(bool), labeled.mask(number))
        assert coco.loadCats(each["category_id"])[0]["name"] == labeled.names[number]


def test_equal_labels_of_equal_segments_are_equal() -> None:
    one, same, other = (some_labels(np.random.default_rng(seed), 40, 50) for seed in (3, 3, 4))
    assert one == same
    assert one != other
    assert len({one, same, other}) == 2


def test_what_notebooks_show_is_inert_and_complete() -> None:
    segments = relabel(blobs(np.random.default_rng(1), 30, 30, 2))
    evil = "</td><script>alert(1)</script>"
    labeled = LabeledImage(segments, tuple(Label(Name(name, 0.5), (), ()) for name in (evil, "sky")))
    shown = labeled._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert shown.count("<tr>") == 1 + 2
    assert f"{segments.areas[1] / segments.areas.sum():.1%}" in shown


def test_masks_count_from_zero_and_say_so() -> None:
    labeled = some_labels(np.random.default_rng(3), 40, 50)
    assert sum(labeled.mask(number).sum() for number in range(len(labeled.names))) == 40 * 50
    count = len(labeled.names)
    for number in (-1, count):
        with pytest.raises(ValueError, match=f"there is no segment {number}; they count from 0, to {count - 1} here"):
            labeled.mask(number)
    with pytest.raises(ValueError, match=r"the picture is \[40, 51\], but \[40, 50\] was labelled"):
        labeled.overlay(np.zeros((40, 51, 3), np.uint8))


def test_the_public_names_are_the_classes_themselves() -> None:
    import labeler
    from labeler.labels import Evidence as ItsEvidence
    from labeler.pipeline import Labeler

    assert labeler.Labeler is Labeler
    assert labeler.Evidence is Evidence is ItsEvidence
    with pytest.raises(AttributeError, match="no attribute 'Labeller'"):
        labeler.Labeller  # noqa: B018
