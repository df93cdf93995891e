"""The labeler end to end: planted meaning through a real index on disk, and outputs that never vary."""

import json
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import heed_interrupts
from jsonschema import Draft202012Validator
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

import labeler
from build_index.config import BuildConfig
from build_index.pipeline import build
from labeler.__main__ import main
from labeler.config import ONLY_FOR, LabelConfig
from labeler.inputs import PictureFile
from labeler.labeled import LabeledImage
from labeler.methods import Method
from labeler.models import Models
from labeler.outputs import describe_run, write_outputs
from labeler.pipeline import Labeler
from labeler.retriever import Retriever
from segmenter import PictureError
from shards import EncoderIdentity, EncoderMismatch, UserError, open_index

SCHEMA = json.loads((Path(labeler.__file__).parent / "schema.json").read_text("utf-8"))

COLOURS = {"grass": (40, 160, 40), "sky": (90, 150, 250), "brick wall": (150, 60, 40), "sand": (230, 210, 140)}
COLOURS |= {"golden retriever": (200, 150, 60), "leaning tower of pisa": (240, 235, 220)}
"""What each planted colour shows."""

CAPTIONS = [
    "fresh grass after the rain",
    "mown grass",
    "grass seen from above",
    "a cloudless sky",
    "evening sky over a town",
    "sky without a cloud",
    "an old wall",
    "the wall is made of brick",
    "a wall, red and old",
    "sand, wet and cold",
    "sand on a beach",
    "footprints in the sand",
    "a golden retriever",
    "the golden retriever sleeps",
    "two golden retrievers at play",
    "the Leaning Tower of Pisa",
    "tourists at the Leaning Tower of Pisa",
    "evening at the Leaning Tower of Pisa",
]
"""Three captions of each thing, in the order of COLOURS."""

NAMES = {name: name for name in COLOURS} | {"brick wall": "wall"}
"""The concept that each thing's captions share and that points along its axis."""

IDENTITY = EncoderIdentity(
    architecture="planted",
    pretrained=None,
    checkpoint=None,
    text_digest="sha256:planted",
    tokenizer="none",
    context_length=77,
    prompt="{}",
    concept_prompts=[],
    dimension=8,
    precision="fp32",
)


class PlantedText:
    """Caption n of CAPTIONS points along its thing's axis, and a little along an axis that all share.

    So do the concepts that name a thing; every other concept points along an axis of its own.
    """

    identity = IDENTITY
    at_once = 1

    def encode(self, captions: Sequence[str], report: Any = None) -> NDArray[np.float32]:
        vectors = np.zeros((len(captions), 8), np.float32)
        for row, caption in enumerate(captions):
            named = [axis for axis, name in enumerate(NAMES.values()) if name == caption]
            axis = CAPTIONS.index(caption) // 3 if caption in CAPTIONS else (named or [6])[0]
            vectors[row, axis] = 0.8
            vectors[row, 7] = 0.6
        return vectors


class PlantedPixels:
    """Sees each 16-pixel cell as the axis of its colour: the dense vectors of both networks are known."""

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        cells = picture[8::16, 8::16].astype(int)
        grid = np.zeros((*cells.shape[:2], 8), np.float32)
        for axis, colour in enumerate(COLOURS.values()):
            grid[(cells == colour).all(axis=2), axis] = 1.0
        return grid


def painted(things: list[list[str]], side: int = 64) -> NDArray[np.uint8]:
    """A picture of coloured squares."""
    rows = [[COLOURS[thing] for thing in row] for row in things]
    return np.array(rows, np.uint8).repeat(side, axis=0).repeat(side, axis=1)


FIELDS = [[thing] * 3 for thing in (*COLOURS, "sand")]
"""Bands, because bilinear interpolation between cells is exact at straight borders and rounds off corners."""


@pytest.fixture
def planted(tmp_path: Path) -> Labeler:
    pq.write_table(pa.table({"caption": CAPTIONS}), tmp_path / "planted.parquet")
    corpus = BuildConfig(corpus=(str(tmp_path / "planted.parquet"),), out=tmp_path / "shards", concept_prompts=("{}",))
    build(corpus, lambda _: PlantedText())
    models = Models(
        PlantedPixels(), PlantedPixels(), "planted", {"clip": "planted", "dino": "planted", "dense": "none"}
    )
    config = LabelConfig(pictures=(tmp_path,), index=tmp_path / "shards", k=8, restarts=2, neighbours=3)
    return Labeler(models, Retriever.open(tmp_path / "shards"), config)


OTHERS: dict[str, Any] = {
    "k": 3, "seed": 5, "restarts": 1, "iterations": 2, "alike": 0.9, "min_cells": 1, "max_regions": 2,
    "join_apart": False, "parts": 2, "temperature": 5.0, "direct": 3, "captions_weight": 1.0, "support_weight": 0.5,
    "shared_support": 0.0, "hub_weight": 2.0, "picture_weight": 1.0, "gate": 0.0, "least_score": 0.9,
    "least_margin": 0.5, "keep_equal": True, "merge_from": 0.1, "home_weight": 1.0,
}  # fmt: skip
"""Another value for each number that is for one way alone."""


@pytest.mark.parametrize("method", Method)
def test_a_number_for_another_way_makes_no_other_labels(planted: Labeler, method: Method) -> None:
    """Nor do finished ones count as labelled otherwise."""
    assert {name for names in ONLY_FOR.values() for name in names} == OTHERS.keys()
    usual = replace(planted.config, method=method, k=15, restarts=8)
    used = [name for name, value in OTHERS.items() if replace(usual, **{name: value}).settings != usual.settings]
    assert used == [
        name for name in OTHERS if any(name in ONLY_FOR.get(way, ()) for way in vars(usual.recipe).values())
    ]
    idle = replace(usual, **{name: value for name, value in OTHERS.items() if name not in used})
    assert idle.settings == usual.settings
    things = np.random.default_rng(0).choice(list(COLOURS), (6, 9)).tolist()
    picture = painted(things, side=16)
    one, other = (Labeler(planted.models, planted.retriever, config).label(picture) for config in (usual, idle))
    np.testing.assert_array_equal(one.segments.label_map, other.segments.label_map)
    assert one.labels == other.labels


def test_planted_names_and_masks_come_back_exactly(planted: Labeler) -> None:
    picture = painted(FIELDS)
    labeled = planted.label(picture)
    found = {label.name.label: labeled.segments.mask(number) for number, label in enumerate(labeled.labels, start=1)}
    assert set(found) == {"sky", "grass", "wall", "sand", "golden retriever", "leaning tower of pisa"}
    for thing, colour in COLOURS.items():
        np.testing.assert_array_equal(found[NAMES[thing]], (picture == colour).all(axis=2))


def test_evidence_is_the_planted_captions_with_their_cosines(planted: Labeler) -> None:
    labeled = planted.label(painted([["sky", "sand"]]))
    for label in labeled.labels:
        thing = [NAMES[name] for name in COLOURS].index(label.name.label)
        assert [hit.caption for hit in label.evidence] == CAPTIONS[3 * thing : 3 * thing + 3]
        assert [hit.row for hit in label.evidence] == [3 * thing, 3 * thing + 1, 3 * thing + 2]
        np.testing.assert_allclose([hit.score for hit in label.evidence], 0.8, atol=1e-3)
        assert label.name.score == pytest.approx(1.0, abs=1e-3)


def test_batches_do_not_change_a_picture(planted: Labeler) -> None:
    generator = np.random.default_rng(5)
    things = list(COLOURS)
    pictures = [
        painted([[things[i] for i in row] for row in generator.integers(0, len(things), (3, 4))]) for _ in range(8)
    ]
    one_by_one = [planted.label(picture) for picture in pictures]
    batched = list(planted.label_many(pictures))
    for alone, together in zip(one_by_one, batched, strict=True):
        np.testing.assert_array_equal(alone.segments.label_map, together.segments.label_map)
        assert alone.labels == together.labels


def test_outputs_agree_with_each_other_and_the_schema(planted: Labeler, tmp_path: Path) -> None:
    picture = painted(FIELDS)
    labeled = planted.label(picture)
    file = PictureFile(tmp_path / "fields.png", "deep/fields.png", "deep/fields")
    write_outputs(tmp_path / "labels", file, picture, labeled, describe_run(planted))
    content = json.loads((tmp_path / "labels/deep/fields.json").read_text("utf-8"))
    Draft202012Validator(SCHEMA).validate(content)
    mask = np.asarray(Image.open(tmp_path / "labels/deep/fields.png"))
    np.testing.assert_array_equal(mask, labeled.segments.label_map)
    for segment in content["segments"]:
        decoded = coco_mask.decode({**segment["rle"], "counts": segment["rle"]["counts"].encode()}).astype(bool)
        np.testing.assert_array_equal(decoded, mask == segment["id"])
        assert segment["area"] == decoded.sum()
        ys, xs = np.nonzero(decoded)
        assert segment["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    with Image.open(tmp_path / "labels/deep/fields.overlay.jpg") as overlay:
        assert overlay.size == (picture.shape[1], picture.shape[0])


def test_an_append_that_ends_meanwhile_changes_nothing_for_an_open_labeler(planted: Labeler, tmp_path: Path) -> None:
    picture = painted(FIELDS)
    (tmp_path / "more.txt").write_text("sand everywhere\n")
    folder = planted.retriever.indexes[0].folder
    append = BuildConfig(
        append=(str(tmp_path / "more.txt"),), name=folder.name, out=folder.parent, concept_prompts=("{}",)
    )
    build(append, lambda _: PlantedText())
    assert open_index(folder).manifest.generation == 2
    assert {label.name.label for label in planted.label(picture).labels} == set(NAMES.values())


def test_another_encoder_is_refused(planted: Labeler) -> None:
    import msgspec

    other = msgspec.structs.replace(IDENTITY, text_digest="sha256:other")
    with pytest.raises(EncoderMismatch, match=r"planted.*8-d.*other"):
        planted.retriever.require(other)


def test_labels_must_match_segments(planted: Labeler) -> None:
    labeled = planted.label(painted(FIELDS))
    with pytest.raises(ValueError, match="3 labels for 6 segments"):
        LabeledImage(labeled.segments, labeled.labels[:3])


# --- the whole command, with the untrained networks ------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the demo corpus and five pictures, one of them broken."""
    folder = tmp_path_factory.mktemp("workplace")
    from build_index.__main__ import main as build_main

    assert build_main(["--corpus", "demo", "--preset", "untrained", "--out", str(folder / "shards")]) == 0
    (folder / "pictures/below").mkdir(parents=True)
    generator = np.random.default_rng(11)
    for name, shape in {"a.png": (90, 120), "b.jpg": (120, 90), "below/a.png": (64, 64), "wide.png": (60, 200)}.items():
        noise = generator.integers(0, 256, (*[side // 10 + 1 for side in shape], 3), dtype=np.uint8)
        Image.fromarray(noise).resize(shape[::-1], Image.Resampling.BICUBIC).save(folder / "pictures" / name)
    (folder / "pictures/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    return folder


def run(folder: Path, out: str, *flags: str) -> int:
    arguments = [str(folder / "pictures"), "--index", str(folder / "shards"), "--out", str(folder / out), *flags]
    return main([*arguments, "--short-side", "128"])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_two_runs_and_two_batch_sizes_give_the_same_bytes(workplace: Path) -> None:
    assert run(workplace, "one", "--batch-size", "1") == 1  # one picture is broken
    assert run(workplace, "again", "--batch-size", "1") == 1
    assert run(workplace, "eight", "--batch-size", "8") == 1
    first = contents(workplace / "one")
    assert len(first) == 4 * 3 + len({"annotations.coco.json", "report.html"})
    assert contents(workplace / "again") == first
    assert contents(workplace / "eight") == first


def test_every_output_names_the_untrained_networks(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(workplace, "named") == 1
    assert "untrained" in capsys.readouterr().out
    assert "These networks are untrained" in (workplace / "named/report.html").read_text("utf-8")
    for path in set((workplace / "named").rglob("*.json")) - {workplace / "named/annotations.coco.json"}:
        content = json.loads(path.read_text("utf-8"))
        Draft202012Validator(SCHEMA).validate(content)
        assert content["made_by"]["preset"] == "untrained"
        with Image.open(path.with_suffix(".png")) as mask:
            assert mask.info["preset"] == "untrained"
            assert mask.size == (content["picture"]["width"], content["picture"]["height"])


def test_a_broken_picture_is_reported_and_the_rest_go_on(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(workplace, "reported") == 1
    said = capsys.readouterr().out
    assert "4 pictures labelled" in said
    assert "broken.jpg" in said


def test_a_rerun_skips_finished_pictures_until_something_changes(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(workplace, "rerun")
    capsys.readouterr()
    run(workplace, "rerun")
    assert "0 pictures labelled" in capsys.readouterr().out
    run(workplace, "rerun", "--neighbours", "3")
    assert "4 pictures labelled" in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["missing", "empty", "foreign", "older", "damaged", "unfinished"])
def test_an_index_that_cannot_be_used_is_one_line_and_exit_code_2(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    folder = tmp_path / "index"
    if trouble != "missing":
        folder.mkdir()
    if trouble == "foreign":
        (folder / "manifest.json").write_text('{"name": "something else"}')
    if trouble == "unfinished":
        (folder / "plan.json").write_text("{}")
    if trouble in ("older", "damaged"):
        for path in (workplace / "shards/demo").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        manifest = (folder / "manifest.json").read_bytes()
        if trouble == "older":
            (folder / "manifest.json").write_bytes(manifest.replace(b'"version": 1', b'"version": 0'))
        else:
            vectors = folder / "vectors-00000.npy"
            vectors.write_bytes(vectors.read_bytes()[:-7])
    code = main([str(workplace / "pictures"), "--index", str(folder), "--out", str(tmp_path / "labels")])
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert str(folder) in said[0]


def test_labels_are_not_written_among_pictures(workplace: Path) -> None:
    from labeler.inputs import find_pictures

    with pytest.raises(UserError, match="choose another folder"):
        find_pictures(workplace / "pictures", workplace / "pictures")


def test_pictures_that_share_a_stem_keep_their_suffix(tmp_path: Path) -> None:
    from labeler.inputs import find_pictures

    for name in ("cat.png", "cat.jpg", "dog.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/dog.png").touch()
    found = find_pictures(tmp_path, tmp_path / "labels")
    assert [file.stem for file in found] == ["cat.jpg", "cat.png", "dog"]


def test_settings_that_cannot_be_are_refused() -> None:
    config = LabelConfig(pictures=(Path("x"),))
    with pytest.raises(ValueError, match="--neighbours 0"):
        replace(config, neighbours=0)
    with pytest.raises(ValueError, match="--batch-size 100000000000000000000: must be 1 to 65536"):
        replace(config, batch_size=10**20)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e308])
def test_numbers_without_an_end_are_refused(value: float) -> None:
    numbers = [each.name for each in fields(LabelConfig) if each.type is float]
    assert {"captions_weight", "temperature", "merge_from"} <= set(numbers)
    for name in numbers:
        with pytest.raises(ValueError, match=f"{name}|--{name.replace('_', '-')}"):
            LabelConfig(pictures=(Path("x"),), **{name: value})


# --- the run as a whole ----------------------------------------------------------------------------------------------


def test_a_picture_may_come_as_a_file_an_array_or_pillows(planted: Labeler, tmp_path: Path) -> None:
    picture = painted(FIELDS)
    Image.fromarray(picture).save(tmp_path / "fields.png")
    expected = planted.label(picture)
    for given in (Image.fromarray(picture), tmp_path / "fields.png", str(tmp_path / "fields.png")):
        labeled = planted.label(given)
        assert labeled.labels == expected.labels
        np.testing.assert_array_equal(labeled.segments.label_map, expected.segments.label_map)
    with pytest.raises(PictureError, match="is no picture"):
        planted.label(picture.astype(np.float64))  # type: ignore[arg-type]


def test_one_call_labels_one_picture(workplace: Path) -> None:
    labeled = labeler.label_picture(workplace / "pictures/a.png", workplace / "shards")
    assert labeled.segments.size == (90, 120)
    assert len(labeled.names) == labeled.segments.count


def test_exports_hold_the_pictures_of_earlier_runs_and_the_new_ones(workplace: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    arguments = [str(pictures), "--index", str(workplace / "shards"), "--out", str(tmp_path / "labels")]

    def names() -> list[str]:
        assert main([*arguments, "--short-side", "128", "--panoptic"]) == 0
        panoptic = json.loads((tmp_path / "labels/panoptic.json").read_text("utf-8"))
        coco = json.loads((tmp_path / "labels/annotations.coco.json").read_text("utf-8"))
        assert coco["images"] == panoptic["images"]
        page = (tmp_path / "labels/report.html").read_text("utf-8")
        names = [image["file_name"] for image in coco["images"]]
        assert all(f'"{name}"' in page for name in names)
        return names

    (pictures / "a.png").write_bytes((workplace / "pictures/a.png").read_bytes())
    assert names() == ["a.png"]
    (pictures / "b.jpg").write_bytes((workplace / "pictures/b.jpg").read_bytes())
    assert names() == ["a.png", "b.jpg"]
    (pictures / "a.png").unlink()
    (tmp_path / "labels/annotations.coco.json").unlink()
    assert names() == ["a.png", "b.jpg"]


def test_what_is_finished_is_labelled_again_when_asked(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(workplace, "overwritten")
    before = contents(workplace / "overwritten")
    (workplace / "overwritten/a.overlay.jpg").write_bytes(b"damaged")
    capsys.readouterr()
    run(workplace, "overwritten", "--overwrite")
    assert "4 pictures labelled" in capsys.readouterr().out
    assert contents(workplace / "overwritten") == before


def test_a_quiet_run_says_only_what_was_refused(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(workplace, "quiet", "--quiet") == 1
    said = capfd.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("  refused ")
    assert "broken.jpg" in line


def test_the_summary_and_the_log_count_what_was_written(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = workplace / "logs/run.jsonl"
    assert run(workplace, "logged", "--json-log", str(log)) == 1
    said = capsys.readouterr().out
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    labelled = {event["picture"]: event["labels"] for event in events if event["event"] == "labelled"}
    for name, labels in labelled.items():
        path = (workplace / "logged" / name).with_suffix(".json")
        content = json.loads(path.read_text("utf-8"))
        assert labels == [segment["label"] for segment in content["segments"]]
    (refused,) = (event for event in events if event["event"] == "refused")
    assert refused["picture"] == "broken.jpg"
    final = events[-1]
    assert (final["event"], final["labelled"], final["interrupted"]) == ("finished", 4, False)
    segments = sum(map(len, labelled.values()))
    assert sum(final["labels"].values()) == segments
    unknown = sum(labels.count("unknown") for labels in labelled.values())
    assert f"{segments:,} segments with {len(final['labels']):,} labels; unknown: {unknown:,} segments" in said
    assert set(final["seconds"]) == {"reading", "labelling", "writing", "exports"}
    assert "seconds: " in said


def test_ctrl_c_keeps_what_is_written_and_the_next_run_goes_on(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(workplace, "undisturbed")
    pictures = []

    def save_two(image: Image.Image, *arguments: object, **options: object) -> None:
        """Saves pictures, until it is interrupted in the middle of the third overlay."""
        original(image, *arguments, **options)  # type: ignore[arg-type]
        if "JPEG" in arguments:
            pictures.append(arguments[0])
            if len(pictures) == 3:
                raise KeyboardInterrupt

    original = Image.Image.save
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save_two)
        capsys.readouterr()
        assert run(workplace, "stopped", "--batch-size", "2") == 130
    said = capsys.readouterr()
    assert "2 pictures labelled" in said.out
    assert "interrupted; the same command goes on from here" in said.err
    left = contents(workplace / "stopped")
    assert sum(name.endswith(".json") for name in left) == 2
    assert not [name for name in left if "partial" in name or name == "report.html"]
    assert run(workplace, "stopped", "--batch-size", "2") == 1
    assert "2 pictures labelled" in capsys.readouterr().out
    assert contents(workplace / "stopped") == contents(workplace / "undisturbed")


def test_a_real_ctrl_c_ends_the_command_with_130(workplace: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(300):
        (pictures / f"{number:03}.png").write_bytes((workplace / "pictures/a.png").read_bytes())
    command = [sys.executable, "-m", "labeler", str(pictures), "--index", str(workplace / "shards")]
    command += ["--out", str(tmp_path / "labels"), "--short-side", "128", "--batch-size", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )
    end = time.monotonic() + 120
    while not list((tmp_path / "labels").glob("00*.json")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    finished = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "labels").glob("*.json")]
    said = re.search(r"(\d+) pictures? labelled", out)
    assert said is not None
    assert len(finished) - int(said[1]) in (0, 1)  # Ctrl-C may come when the last one is written but not yet counted
    assert 0 < len(finished) < 300
    assert not list((tmp_path / "labels").glob("*.partial"))


def test_a_tar_is_labelled_like_the_folder_that_it_was(workplace: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "pictures.tar", "w") as tar:
        for name in ("a.png", "b.jpg"):
            tar.add(workplace / "pictures" / name, name)
    arguments = [str(tmp_path / "pictures.tar"), "--index", str(workplace / "shards"), "--short-side", "128"]
    assert main([*arguments, "--out", str(tmp_path / "labels")]) == 0
    run(workplace, "folder")
    for name in ("a.png", "b.png", "a.overlay.jpg"):
        unpacked = (workplace / "folder" / name).read_bytes()
        assert (tmp_path / "labels/pictures" / name).read_bytes() == unpacked


def test_a_table_of_urls_is_downloaded_beside_the_labels(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(table: Path, folder: Path) -> list[str]:
        assert table == tmp_path / "urls.txt"
        (folder / "00000").mkdir(parents=True)
        (folder / "00000/000000000.jpg").write_bytes((workplace / "pictures/a.png").read_bytes())
        return ["http://127.0.0.1/gone.jpg: HTTP Error 404: Not Found"]

    monkeypatch.setattr("labeler.downloads.download", download)
    (tmp_path / "urls.txt").write_text("http://127.0.0.1/a.jpg\nhttp://127.0.0.1/gone.jpg\n")
    arguments = [str(tmp_path / "urls.txt"), "--index", str(workplace / "shards"), "--short-side", "128"]
    assert main([*arguments, "--out", str(tmp_path / "labels")]) == 1
    said = capsys.readouterr().out
    assert "1 pictures labelled" in said
    assert "refused http://127.0.0.1/gone.jpg: HTTP Error 404" in said
    assert (tmp_path / "labels-pictures/00000/000000000.jpg").is_file()
    assert (tmp_path / "labels/00000/000000000.json").is_file()
    assert "../labels-pictures/00000/000000000.jpg" in (tmp_path / "labels/report.html").read_text("utf-8")
