"""Runs into a folder that has labels already: what is finished stays, what is not is labelled, exports tell of both."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from labelled import some_labels
from PIL import Image

from build_index.__main__ import main as build_main
from labeler.__main__ import main
from labeler.inputs import InputError, PictureFile, find_pictures
from labeler.labeled import LabeledImage
from labeler.outputs import describe_run, write_outputs
from labeler.photographs import Photographs
from labeler.pipeline import Labeler
from labeler.run import RunReport, write_exports


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the untrained network."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "captions.csv").write_text("caption\na dog on a beach\na red car\ngreen grass\n")
    flags = ["--preset", "untrained", "--out", str(folder / "shards"), "--workers", "1"]
    assert build_main(["--corpus", str(folder / "captions.csv"), *flags]) == 0
    return folder / "shards"


@pytest.fixture
def here(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the index and a picture, in which the command is run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").symlink_to(shards)
    draw("pictures/a.png", 1)
    return tmp_path


def draw(name: str, seed: int, size: tuple[int, int] = (80, 60)) -> None:
    """Write a picture of some blurred colours."""
    noise = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    noise.resize(size, Image.Resampling.BICUBIC).save(name)


def label(pictures: str, *flags: str) -> int:
    """Run the command; returns its exit code."""
    return main([pictures, "--index", "shards", "--short-side", "64", *flags])


def labelled(capsys: pytest.CaptureFixture[str]) -> int:
    """How many pictures the last run says that it labelled."""
    return int(capsys.readouterr().out.split(": ", 1)[1].split(" pictures labelled")[0])


def read(name: str) -> dict[str, dict[str, str]]:
    record: dict[str, dict[str, str]] = json.loads(Path(name).read_text("utf-8"))
    return record


def exported() -> list[str]:
    """The pictures that COCO's file lists."""
    return [image["file_name"] for image in json.loads(Path("labels/annotations.coco.json").read_text())["images"]]


def test_a_picture_that_was_replaced_is_labelled_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label("pictures")
    digest = read("labels/a.json")["picture"]["sha256"]
    draw("pictures/a.png", 2)
    capsys.readouterr()
    label("pictures")
    assert labelled(capsys) == 1
    assert read("labels/a.json")["picture"]["sha256"] != digest
    Path("pictures/a.png").rename("pictures/a.jpg")
    label("pictures")
    assert labelled(capsys) == 1
    assert read("labels/a.json")["picture"]["path"] == "a.jpg"
    label("pictures")
    assert labelled(capsys) == 0


def test_a_picture_that_was_damaged_since_has_no_labels_any_more(here: Path) -> None:
    draw("pictures/b.png", 2)
    assert label("pictures") == 0
    Path("pictures/a.png").write_bytes(b"no picture")
    assert label("pictures") == 1
    assert exported() == ["b.png"]
    assert not [*Path("labels").glob("a.*")]
    Path("pictures/b.png").write_bytes(b"no picture")
    assert label("pictures") == 1
    assert not [*Path("labels").iterdir()]


def test_labels_stay_where_a_picture_is_out_of_reach(here: Path) -> None:
    label("pictures")
    Path("pictures/a.png").unlink()
    Path("pictures/a.png").symlink_to("nowhere")
    assert label("pictures") == 1
    assert exported() == ["a.png"]


def test_records_without_a_digest_count_by_path_and_size(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label("pictures")
    record = read("labels/a.json")
    del record["picture"]["sha256"]
    Path("labels/a.json").write_text(json.dumps(record))
    draw("pictures/a.png", 2)
    capsys.readouterr()
    label("pictures")
    assert labelled(capsys) == 0
    draw("pictures/a.png", 2, (60, 80))
    label("pictures")
    assert labelled(capsys) == 1


@pytest.mark.parametrize("damage", ["mask", "overlay", "record"])
def test_what_is_no_longer_whole_is_labelled_again(here: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    label("pictures")
    if damage == "record":
        record = read("labels/a.json")
        del record["segments"]
        Path("labels/a.json").write_text(json.dumps(record))
    else:
        Path({"mask": "labels/a.png", "overlay": "labels/a.overlay.jpg"}[damage]).unlink()
    capsys.readouterr()
    assert label("pictures", "--panoptic") == 0
    assert labelled(capsys) == 1


def test_files_of_the_users_own_are_not_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Annotations by hand, as LabelMe and VOC have them: JSON and masks beside the pictures, under their names."""
    for stem in "abc":
        draw(f"pictures/{stem}.jpg", 1)
    Path("pictures/a.png").unlink()
    draw("labels/b.png", 2)
    Path("labels/a.json").write_text('{"shapes": []}')
    own = {path: path.read_bytes() for path in Path("labels").iterdir()}
    for flags in ([], ["--overwrite"]):
        assert label("pictures", *flags) == 1
        said = capsys.readouterr().out
        for name in ("a.json", "b.png"):
            refusal = f"its labels would replace labels/{name}, which is none of ours; choose another --out"
            assert f"  refused pictures/{name[0]}.jpg: {refusal}\n" in said
        assert {path: path.read_bytes() for path in own} == own
        assert exported() == ["c.jpg"]


@pytest.mark.parametrize("name", ["annotations.coco.json", "panoptic/mine.png", "report.html", "label-studio.json"])
def test_exports_of_the_users_own_are_not_replaced(here: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    mine = Path("labels", name)
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert label("pictures", "--panoptic", "--label-studio", "/pictures") == 2
    there = f"error: labels/{name.split('/')[0]}: no label beside it is ours, and it would be replaced; choose another"
    assert capsys.readouterr().err.rstrip().splitlines()[-1].startswith(there)
    assert [path for path in Path("labels").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_mask_that_an_earlier_run_lost_comes_from_its_record(here: Path) -> None:
    label("pictures", "--panoptic")
    before = Path("labels/panoptic/a.png").read_bytes()
    shutil.rmtree("labels/panoptic")
    Path("labels/a.png").unlink()
    draw("others/b.png", 3)
    assert label("others", "--panoptic") == 0
    assert Path("labels/panoptic/a.png").read_bytes() == before


def test_exports_are_those_of_the_last_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("others/b.png", 2)
    label("pictures", "--panoptic")
    label("others", "--neighbours", "3")
    assert exported() == ["b.png"]
    capsys.readouterr()
    label("others", "--neighbours", "3", "--panoptic")
    assert Path("labels/panoptic.json").exists()
    label("pictures")
    assert "1 finished before" in capsys.readouterr().out
    assert exported() == ["a.png"]
    assert '"b.png"' not in Path("labels/report.html").read_text("utf-8")
    assert not Path("labels/panoptic.json").exists()  # it told of the other run
    before = Path("labels/annotations.coco.json").read_bytes()
    label("pictures", "--panoptic")
    label("pictures")
    assert Path("labels/panoptic.json").exists()
    assert Path("labels/annotations.coco.json").read_bytes() == before


def test_a_picture_is_exported_once_when_another_of_its_stem_comes(here: Path) -> None:
    label("pictures")
    draw("pictures/a.jpg", 2)
    label("pictures", "--panoptic")
    assert {path.name for path in Path("labels").glob("a*.json")} == {
        "a.json",
        "a.jpg.json",
        "a.png.json",
        "annotations.coco.json",
    }
    assert exported() == ["a.jpg", "a.png"]
    files = [each["file_name"] for each in json.loads(Path("labels/panoptic.json").read_text())["annotations"]]
    assert files == ["a.jpg.png", "a.png.png"]


def test_a_name_too_long_for_labels_costs_one_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 250
    draw("pictures/b.png", 2)
    Path("pictures/b.png").rename(f"pictures/{long}.png")
    draw("pictures/y.png", 3)
    assert label("pictures") == 1
    said = capsys.readouterr().out
    assert "2 pictures labelled" in said
    assert f"  refused pictures/{long}.png: no labels can be called {long} (File name too long); rename the p" in said
    assert exported() == ["a.png", "y.png"]
    assert not list(Path("labels").glob("xx*"))
    assert label("pictures") == 1  # now that there is a folder, one is asked there for files of that name
    again = capsys.readouterr().out
    assert "0 pictures labelled" in again
    assert f"  refused pictures/{long}.png: no labels can be called" in again


def test_a_refused_name_that_is_no_unicode_is_logged(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        Path("pictures", os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert label("pictures", "--json-log", "log.jsonl") == 1
    events = [json.loads(line) for line in Path("log.jsonl").read_text("utf-8").splitlines()]
    (refused,) = (event for event in events if event["event"] == "refused")
    assert refused["reason"].startswith(r"pictures/caf\xe9.png: not a picture")
    assert events[-1]["refused"] == [refused["reason"]]
    assert r"refused pictures/caf\xe9.png: not a picture" in capsys.readouterr().out


def test_a_tar_that_cannot_be_read_costs_itself_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/junk.tar").write_bytes(b"junk" * 1_000)
    assert label("pictures") == 1
    said = capsys.readouterr().out
    assert "1 pictures labelled" in said
    assert "  refused pictures/junk.tar: no tar that can be read" in said


def test_several_runs_write_to_one_folder(here: Path) -> None:
    """Each writes a picture's files, and those of a whole run, while no other does."""
    label("pictures", "--panoptic")
    labeler = Labeler.open("shards", short_side=64)
    ways = [some_labels(np.random.default_rng(seed), 40, 50) for seed in range(4)]
    file = PictureFile(Path("pictures/b.png"), "b.png", "b")
    pixels = np.zeros((40, 50, 3), np.uint8)

    def write(labeled: LabeledImage) -> None:
        for _ in range(20):
            write_outputs(Path("labels"), file, pixels, labeled, describe_run(labeler))
            write_exports(labeler, Path("labels"), Photographs(), RunReport(), panoptic=True, label_studio="/x")

    with ThreadPoolExecutor(len(ways)) as pool:
        list(pool.map(write, ways))
    areas = [segment["area"] for segment in json.loads(Path("labels/b.json").read_text("utf-8"))["segments"]]
    ids = np.asarray(Image.open("labels/b.png"))
    assert areas == np.unique(ids, return_counts=True)[1].tolist()
    assert exported() == ["a.png", "b.png"]
    assert not list(Path("labels").rglob("*.partial"))


def test_the_page_shows_the_photographs_of_a_list_of_paths(here: Path) -> None:
    """They lie where the list says, and not beside it, where another picture may have the name of one."""
    for name in ("pictures/b.png", "other/c.png", "a.png", "c.png"):
        draw(name, 2)
    Path("list.txt").write_text("pictures/a.png\npictures/b.png\n")
    label("list.txt")
    page = Path("labels/report.html").read_text("utf-8")
    assert '"../pictures/a.png"' in page
    assert '"../pictures/b.png"' in page
    label("other")
    Path("other/c.png").unlink()
    label("list.txt")
    page = Path("labels/report.html").read_text("utf-8")
    assert '"c.png"' in page
    assert '"../c.png"' not in page


def test_what_a_run_drew_is_no_picture_of_another(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw("pictures/panoptic/a.png", 2)
    assert label("pictures", "--out", "pictures/labels", "--panoptic") == 0
    drawn = ["a.png", "a.overlay.jpg", "panoptic/a.ids.png", "panoptic/a.png", "panoptic/panoptic/a.ids.png"]
    assert all(Path("pictures/labels", name).is_file() for name in drawn)
    capsys.readouterr()
    for where in ("pictures", "pictures/**/*"):
        assert label(where, "--out", "elsewhere") == 0
    assert labelled(capsys) == 2
    with pytest.raises(InputError, match=r"all 6 pictures there lie below --out other, .*, or were drawn by a run"):
        find_pictures(Path("pictures/labels"), Path("other"))
    (mask,) = find_pictures(Path("pictures/labels/a.png"), Path("other"))  # whoever names it means it
    assert mask.name == "a.png"
    Path("pictures/a.json").write_bytes(Path("pictures/labels/a.json").read_bytes())  # a record beside its picture
    assert len(find_pictures(Path("pictures"), Path("other"))) == 2


def test_urls_are_not_downloaded_where_nothing_can_be_labelled(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("urls.csv").write_text("url\nhttp://127.0.0.1:9/a.jpg\n")
    monkeypatch.setattr("labeler.downloads.download", lambda *_: pytest.fail("it was"))
    assert main(["urls.csv", "--index", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: nowhere: no such folder")
