"""The whole evaluation: planted pictures end to end, reruns, outputs, refusals."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Crash
from numpy.typing import NDArray
from PIL import ExifTags, Image
from test_evaluation_answers import by_name
from test_labeler import CAPTIONS, COLOURS, PlantedPixels, PlantedText, painted

from build_index.config import BuildConfig
from build_index.encoding import TextEncoder
from build_index.pipeline import build
from encoders.errors import EncoderError
from evaluation import protocol
from evaluation.__main__ import main
from evaluation.classes import Classes
from evaluation.config import EvaluationConfig, Size
from evaluation.datasets import VOID, DatasetName, open_dataset
from evaluation.errors import EvaluationError
from evaluation.mappings import MappingName
from evaluation.metrics.confusion import mean_iou
from evaluation.observation import SeenOnce
from evaluation.observing import observation_path, segments_path
from evaluation.protocol import alone, begin
from evaluation.report import Evaluation
from evaluation.results import FILES, read_pictures, row_key
from evaluation.rows import RowName
from evaluation.run import evaluate, open_mappings
from labeler.config import LabelerConfig
from labeler.methods import Outlines
from labeler.models import Models
from labeler.pipeline import Labeler
from labeler.retriever import Retriever


class NoBar:
    """Shows nothing."""

    def update(self, n: int) -> None:
        pass


# --- planted pictures, from files to files ---------------------------------------------------------------------------

THINGS = [*COLOURS]
PICTURES = {"a": [["grass"] * 3, ["sky"] * 3], "below/b": [["sand"] * 2], "c": [["brick wall"] * 2, ["sand"] * 2]}
"""Bands of things, by id."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of painted pictures whose masks are right, but for a void column at the left."""
    for name, things in PICTURES.items():
        pixels = painted(things)
        for folder in ("images", "masks"):
            (tmp_path / "data" / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data/images" / f"{name}.png")
        mask = np.array([[THINGS.index(thing) for thing in row] for row in things], np.uint8)
        mask = mask.repeat(64, axis=0).repeat(64, axis=1)
        mask[:, :8] = VOID
        Image.fromarray(mask).save(tmp_path / "data/masks" / f"{name}.png")
    names = [f"{thing} = wall" if thing == "brick wall" else thing for thing in THINGS]
    (tmp_path / "data/classes.txt").write_text("\n".join(names))
    return tmp_path / "data"


@pytest.fixture
def labeler(tmp_path: Path) -> Labeler:
    pq.write_table(pa.table({"caption": CAPTIONS}), tmp_path / "planted.parquet")
    corpus = BuildConfig(corpus=(str(tmp_path / "planted.parquet"),), out=tmp_path / "shards", concept_prompts=("{}",))
    build(corpus, lambda _: PlantedText())
    models = Models(PlantedPixels(), PlantedPixels(), "planted", {"clip": "planted", "dino": "planted", "dense": "no"})
    config = LabelerConfig(index=tmp_path / "shards", k=8, restarts=2, neighbours=3)
    return Labeler(models, Retriever.open(tmp_path / "shards"), config)


def config_for(root: Path, out: Path, **changes: object) -> EvaluationConfig:
    config = EvaluationConfig(dataset=DatasetName.FOLDER, root=root, out=out, mapping=(MappingName.HARD,))
    return replace(config, **changes)  # type: ignore[arg-type]


def run(labeler: Labeler, root: Path, out: Path, **changes: object) -> Evaluation:
    config = config_for(root, out, **changes)
    return evaluate(labeler, open_dataset(DatasetName.FOLDER, root), PlantedText, config, NoBar())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_planted_pictures_score_1_in_every_row_that_knows_their_names(
    labeler: Labeler, root: Path, tmp_path: Path
) -> None:
    evaluation = run(labeler, root, tmp_path / "results")
    for name, each in by_name(evaluation).items():
        assert each.miou == (0.0 if name is RowName.PICTURED else 1.0), name
    assert evaluation.statistics.distinct == 4
    content = json.loads((tmp_path / "results/results.json").read_text("utf-8"))
    assert content["costs"] == {"segments": 0.0, "names": 0.0, "gating": 0.0}
    assert content["data"]["pictures"] == 3
    assert content["indexes"]["planted"]["captions"] == len(CAPTIONS)
    assert content["mappings"][0]["name"] == "hard"
    assert content["protocol"]["labeler"]["settings"]["neighbours"] == 3
    assert content["rows"][0]["class_ious"] == [1.0, 1.0, 1.0, 1.0, None, None]


def test_the_data_set_is_told_apart_from_the_labeler(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    """Masks that swap two things: own words are wrong there, and the best class for each segment is right."""
    swap_grass_and_sky(root / "masks/a.png")
    found = by_name(run(labeler, root, tmp_path / "results"))
    assert found[RowName.LABELER].miou == 0.5
    assert found[RowName.GIVEN_NAMES].miou == 0.5
    assert found[RowName.BEST_NAMES].miou == found[RowName.HUNGARIAN].miou == 1.0


def test_per_picture_confusions_add_up_to_the_figures(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    evaluation = run(labeler, root, tmp_path / "results")
    pictures = read_pictures(tmp_path / "results/pictures.npz")
    assert pictures.ids == tuple(PICTURES)
    assert pictures.classes == tuple(THINGS)
    assert list(pictures.rows) == [row_key(each) for each in evaluation.scores]
    for each in evaluation.scores:
        cells = pictures.rows[row_key(each)]
        total = sum(cells.matrix(number, len(THINGS)) for number in range(len(PICTURES)))
        np.testing.assert_array_equal(total, cells.total(len(THINGS)))
        assert mean_iou(np.asarray(total)) == each.miou
    with pytest.raises(EvaluationError, match="no confusions of pictures"):
        read_pictures(tmp_path / "results/results.json")


def test_the_table_of_classes(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    run(labeler, root, tmp_path / "results")
    lines = list(csv.DictReader((tmp_path / "results/per_class.csv").read_text("utf-8").splitlines()))
    assert [line["class"] for line in lines] == THINGS
    assert lines[0]["pixels"] == str(64 * (3 * 64 - 8))
    assert lines[0]["labeler/hard"] == "1.0"
    assert lines[4] == {"class": "golden retriever", "pixels": "0"} | {
        key: "" for key in lines[4] if key not in ("class", "pixels")
    }


def test_the_page_is_one_file_that_loads_nothing(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    run(labeler, root, tmp_path / "results")
    page = (tmp_path / "results/index.html").read_text("utf-8")
    for name in PICTURES:
        assert f"<code>{name}</code>" in page
    assert page.count("data:image/jpeg;base64,") == 3 * len(PICTURES)
    assert "wall → brick wall" in page
    for outside in ("<script", "http://", "https://", 'src="/', "@import"):
        assert outside not in page


def test_two_runs_give_the_same_bytes(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        run(labeler, root, tmp_path / out)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    before = contents(tmp_path / "one")
    assert set(FILES) <= set(before)
    assert run(labeler, root, tmp_path / "one").observed.earlier == 3
    assert contents(tmp_path / "one") == before


class CrashingPixels(PlantedPixels):
    """Fails when it is shown a picture for the n-th time, counted from 0."""

    def __init__(self, crash_at: int) -> None:
        self.crash_at = crash_at
        self.calls = 0

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.calls == self.crash_at:
            raise Crash
        self.calls += 1
        return super().embed(picture)


def test_a_run_that_died_goes_on_where_it_was(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    run(labeler, root, tmp_path / "undisturbed")
    dying = Labeler(
        replace(labeler.models, clip_dense=CrashingPixels(crash_at=3)), labeler.retriever, labeler.config
    )  # the probe, two pictures, and no more
    with pytest.raises(Crash):
        run(dying, root, tmp_path / "results")
    assert not (tmp_path / "results/results.json").exists()
    assert run(labeler, root, tmp_path / "results").observed.earlier == 2
    assert contents(tmp_path / "results") == contents(tmp_path / "undisturbed")


def test_other_mappings_and_fewer_pictures_need_no_network(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    run(labeler, root, tmp_path / "results")
    probe_alone = Labeler(
        replace(labeler.models, clip_dense=CrashingPixels(crash_at=1)), labeler.retriever, labeler.config
    )
    mapping = (MappingName.LEXICAL, MappingName.HARD)
    evaluation = run(probe_alone, root, tmp_path / "results", mapping=mapping, limit=2)
    assert [each.mapping for each in evaluation.scores[:4]] == ["lexical", "lexical", "hard", "hard"]
    assert len(evaluation.observed.observations) == 2
    assert (tmp_path / "results/mapping.lexical.json").is_file()


def test_what_was_seen_otherwise_is_seen_again(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    run(labeler, root, out)
    segments_path(out, "a").unlink()
    observation_path(out, "c").write_bytes(b"{}")
    assert run(labeler, root, out).observed.earlier == 1
    assert run(labeler, root, out, size=Size.TAG).observed.earlier == 0
    assert run(labeler, root, out).observed.earlier == 0
    fewer = Labeler(labeler.models, labeler.retriever, replace(labeler.config, neighbours=2))
    assert run(fewer, root, out).observed.earlier == 0


def swap_grass_and_sky(path: Path) -> None:
    swap = {THINGS.index("grass"): THINGS.index("sky"), THINGS.index("sky"): THINGS.index("grass")}
    mask = np.asarray(Image.open(path))
    Image.fromarray(np.vectorize(lambda n: swap.get(n, n))(mask).astype(np.uint8)).save(path)


@pytest.mark.parametrize("size", list(Size))
def test_a_picture_whose_mask_was_replaced_is_seen_again(
    labeler: Labeler, root: Path, tmp_path: Path, size: Size
) -> None:
    run(labeler, root, tmp_path / "results", size=size)
    swap_grass_and_sky(root / "masks/a.png")
    evaluation = run(labeler, root, tmp_path / "results", size=size)
    assert evaluation.observed.earlier == 2
    assert by_name(evaluation)[RowName.LABELER].miou == 0.5
    run(labeler, root, tmp_path / "fresh", size=size)
    assert contents(tmp_path / "results") == contents(tmp_path / "fresh")


def test_another_photograph_of_the_same_name_is_seen_again(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    run(labeler, root, tmp_path / "results")
    Image.fromarray(painted([["sky"] * 3, ["grass"] * 3])).save(root / "images/a.png")
    assert run(labeler, root, tmp_path / "results").observed.earlier == 2
    run(labeler, root, tmp_path / "fresh")
    assert contents(tmp_path / "results") == contents(tmp_path / "fresh")


def test_a_mask_that_was_damaged_since_is_refused_as_in_a_first_run(
    labeler: Labeler, root: Path, tmp_path: Path
) -> None:
    run(labeler, root, tmp_path / "results")
    Image.new("L", (3, 3)).save(root / "masks/a.png")
    observed = run(labeler, root, tmp_path / "results").observed
    assert observed.earlier == 2
    assert "3 x 3 pixels, its picture" in observed.refused[0]


def test_other_weights_are_another_run_and_rounding_is_not(
    labeler: Labeler, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(DatasetName.FOLDER, root)
    answers = [1.0, 2.0]
    monkeypatch.setattr(protocol, "fingerprint", lambda _: answers)
    (tmp_path / "results").mkdir()
    first = begin(tmp_path / "results", labeler, dataset, Size.NATIVE)
    answers = [1.0 + 1e-5, 2.0]
    assert begin(tmp_path / "results", labeler, dataset, Size.NATIVE) == first
    answers = [1.1, 2.0]
    assert begin(tmp_path / "results", labeler, dataset, Size.NATIVE).digest != first.digest


def test_fingerprints_differ_between_networks(labeler: Labeler) -> None:
    class Brighter(PlantedPixels):
        def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
            return super().embed(picture) + picture[8::16, 8::16, :1].astype(np.float32)

    other = replace(labeler.models, clip_dense=Brighter())
    one, two = protocol.fingerprint(labeler.models), protocol.fingerprint(other)
    assert one[:8] == two[:8]
    assert one[8:] != two[8:]


def test_tags_size_is_a_square(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    evaluation = run(labeler, root, tmp_path / "results", size=Size.TAG)
    assert {each.size for each in evaluation.observed.observations} == {(448, 448)}
    pixels = sum(pixels for region in evaluation.observed.observations[0].given for _, pixels in region.overlaps)
    assert pixels == pytest.approx(448 * 448 * (1 - 8 / 192), rel=0.01)


def test_a_network_is_asked_once_for_all_sets_of_segments() -> None:
    counting = CrashingPixels(crash_at=-1)
    once = SeenOnce(counting)
    one, two = painted([["sand"]]), painted([["sky"]])
    np.testing.assert_array_equal(once.embed(one), once.embed(one.copy()))  # as the labeler makes of every picture
    np.testing.assert_array_equal(once.embed(two), PlantedPixels().embed(two))
    assert counting.calls == 2


def test_segments_that_are_given_are_named_as_the_labelers_own(labeler: Labeler) -> None:
    picture = painted([["grass"] * 3, ["sky"] * 3])
    drawn_first = replace(labeler.config, outlines=Outlines.REGIONS)  # else their vectors are those of whole cells
    labeler = Labeler(labeler.models, labeler.retriever, drawn_first)
    labeled = labeler.label(picture)
    assert labeler.name(picture, labeled.segments).labels == labeled.labels


# --- what is refused -------------------------------------------------------------------------------------------------


def test_pictures_that_cannot_be_read_are_named_and_the_rest_go_on(
    labeler: Labeler, root: Path, tmp_path: Path
) -> None:
    (root / "images/a.png").write_bytes(b"no picture")
    Image.new("L", (3, 3)).save(root / "masks/c.png")
    observed = run(labeler, root, tmp_path / "results").observed
    assert [each.id for each in observed.observations] == ["below/b"]
    assert "a.png: not a picture" in observed.refused[0]
    assert "3 x 3 pixels, its picture" in observed.refused[1]
    content = json.loads((tmp_path / "results/results.json").read_text("utf-8"))
    assert content["data"]["refused"] == list(observed.refused)


def test_nothing_that_can_be_read(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    for path in (root / "images").rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match="no picture could be read; the first: "):
        run(labeler, root, tmp_path / "results")


def test_a_folder_of_something_else_is_left_alone(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/results.json").write_text("precious")
    with pytest.raises(EvaluationError, match="holds other files than an evaluation's"):
        run(labeler, root, tmp_path / "thesis")
    assert (tmp_path / "thesis/results.json").read_text() == "precious"


def test_an_evaluation_killed_before_it_had_a_run_starts_again(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/run.json.partial").write_text("{")
    run(labeler, root, tmp_path / "results")
    assert not list((tmp_path / "results").rglob("*.partial"))


def test_a_mask_of_a_photograph_before_it_is_turned(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    with Image.open(root / "images/a.png") as picture:
        exif = picture.getexif()
        exif[ExifTags.Base.Orientation] = 6
        picture.save(root / "images/a.png", exif=exif)
    (said,) = run(labeler, root, tmp_path / "results").observed.refused
    assert "a.png has 192 x 128; they must be of one size, as the picture is seen: EXIF turns this photograph" in said


def test_a_second_evaluation_in_a_folder_is_refused(labeler: Labeler, root: Path, tmp_path: Path) -> None:
    run(labeler, root, tmp_path / "results")
    before = contents(tmp_path / "results")
    with (
        alone(tmp_path / "results"),
        pytest.raises(EvaluationError, match="another evaluation is writing there; wait for it, or choose another"),
    ):
        run(labeler, root, tmp_path / "results")
    assert contents(tmp_path / "results") == before
    assert run(labeler, root, tmp_path / "results").observed.earlier == len(PICTURES)


def test_a_text_tower_that_cannot_be_loaded_leaves_earlier_results(
    labeler: Labeler, root: Path, tmp_path: Path
) -> None:
    run(labeler, root, tmp_path / "results")
    before = contents(tmp_path / "results")

    def fails() -> TextEncoder:
        raise EncoderError("no such weights")

    with pytest.raises(EncoderError, match="no such weights"):
        evaluate(
            labeler, open_dataset(DatasetName.FOLDER, root), fails, config_for(root, tmp_path / "results"), NoBar()
        )
    assert contents(tmp_path / "results") == before


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_where_the_folder_should_be_is_left_alone(
    labeler: Labeler, root: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / "thesis").write_text("precious")
    with pytest.raises(EvaluationError, match=r"--out .*: no folder can be made \(.*\); choose another --out"):
        run(labeler, root, tmp_path / "thesis" / below)
    assert (tmp_path / "thesis").read_text() == "precious"


def test_a_table_that_no_mapping_reads(root: Path, tmp_path: Path) -> None:
    config = config_for(root, tmp_path / "results", table=tmp_path / "table.json")
    with pytest.raises(EvaluationError, match="read by --mapping table"):
        open_mappings(config, Classes.of(["cat"]))


def test_a_model_of_sentences_without_a_mapping_that_takes_it(root: Path, tmp_path: Path) -> None:
    config = config_for(root, tmp_path / "results", sentences=tmp_path / "mpnet")
    with pytest.raises(EvaluationError, match=r"mpnet: is read by --mapping sbert_forced, sbert_thr, soft; none was"):
        open_mappings(config, Classes.of(["cat"]))


def test_settings_that_cannot_be_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--limit -1"):
        config_for(root, tmp_path, limit=-1)
    with pytest.raises(ValueError, match="each may be named once"):
        config_for(root, tmp_path, mapping=(MappingName.HARD, MappingName.HARD))


# --- the whole command, with the untrained networks ------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the demo corpus and a small VOC in its official folders."""
    folder = tmp_path_factory.mktemp("workplace")
    from build_index.__main__ import main as build_main

    assert build_main(["--corpus", "demo", "--preset", "untrained", "--out", str(folder / "shards")]) == 0
    base = folder / "VOCdevkit/VOC2012"
    generator = np.random.default_rng(11)
    for name in ("2007_000033", "2007_000042", "2007_000061"):
        for below in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
            (base / below).mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((120, 90)).save(base / f"JPEGImages/{name}.jpg")
        mask = generator.choice([0, 3, 12, 255], (3, 4)).astype(np.uint8).repeat(30, axis=0).repeat(30, axis=1)
        Image.fromarray(mask).save(base / f"SegmentationClass/{name}.png")
    (base / "ImageSets/Segmentation/val.txt").write_text("2007_000033\n2007_000042\n2007_000061\n")
    return folder


def command(workplace: Path, out: Path, *flags: str) -> int:
    return main(
        [
            *("--dataset", "voc21", "--root", str(workplace), "--index", str(workplace / "shards")),
            *("--out", str(out), "--short-side", "64", "--restarts", "1", *flags),
        ]
    )


def test_the_command_prints_a_table_and_writes_everything(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(workplace, tmp_path / "results", "--limit", "2", "--mapping", "lexical", "hard") == 0
    said = capsys.readouterr().out
    for part in (
        "voc21, 2 pictures, 21 classes, size native, preset untrained; 0 were finished before",
        "own segments, own words (lexical)",
        "true segments, own words (hard)",
        "own segments, picture's own names",
        "mIoU to be won by: segments",
        "these networks are untrained",
    ):
        assert part in said
    assert {*FILES, "run.json", "mapping.hard.json"} <= {path.name for path in (tmp_path / "results").iterdir()}
    assert command(workplace, tmp_path / "results") == 0
    assert "3 pictures, 21 classes, size native, preset untrained; 2 were finished before" in capsys.readouterr().out


def test_two_finished_runs_are_compared(workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out, seed in (("one", "0"), ("two", "1")):
        assert command(workplace, tmp_path / out, "--seed", seed) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two/results.json"), "--resamples", "20"]) == 0
    assert "labeler/lexical: A " in capsys.readouterr().out


def test_a_picture_that_cannot_be_read_is_exit_code_1(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    for below in ("JPEGImages", "SegmentationClass"):
        (broken / below).mkdir(parents=True)
        for path in (workplace / "VOCdevkit/VOC2012" / below).iterdir():
            (broken / below / path.name).write_bytes(path.read_bytes())
    (broken / "JPEGImages/2007_000042.jpg").write_bytes(b"no picture")
    flags = ["--index", str(workplace / "shards"), "--out", str(tmp_path / "results"), "--short-side", "64"]
    assert main(["--dataset", "voc20", "--root", str(broken), *flags]) == 1
    said = capsys.readouterr().out
    assert "voc20, 2 pictures" in said
    assert "refused" in said
    assert "2007_000042.jpg" in said


@pytest.mark.parametrize("trouble", ["no data", "no index", "no table", "no folder"])
def test_what_cannot_start_is_one_line_and_exit_code_2(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    flags = {
        "no data": ["--root", str(tmp_path)],
        "no index": ["--index", str(tmp_path / "nowhere")],
        "no table": ["--mapping", "table", "--table", str(tmp_path / "nowhere.json")],
        "no folder": ["--out", str(tmp_path / "file")],
    }
    (tmp_path / "file").touch()
    assert command(workplace, tmp_path / "results", *flags[trouble]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ")
    assert str(tmp_path) in said[-1]
