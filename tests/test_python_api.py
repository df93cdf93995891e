"""From Python: what the packages' own descriptions show is run as it stands; options, iterators, notebooks, viewers."""

import base64
import copy
import io
import pickle
import re
import subprocess
import sys
import typing
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import LetterCounter
from labelled import some_labels
from PIL import Image, ImageShow

import build_index
import labeler
from build_index import BuildConfig, BuildOptions, CorpusError, build, pipeline
from build_index.language import Language
from encoders.presets import PresetName
from labeler import LabeledImage, Labeler, LabelerConfig, Method
from labeler.notebook import LONGEST_SIDE
from segmenter import PictureError
from shards import UserError, commands, open_index, open_indexes, verify

ROOT = Path(labeler.__file__).parents[1]
PACKAGES = ["shards", "encoders", "build_index", "segmenter", "labeler", "evaluation", "pocket"]


def example_in(text: str) -> str:
    """The indented code of a description."""
    return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with captions and two pictures, in which the examples were run: `shards/mine` is there."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "captions.csv").write_text("caption\na dog on a beach\na brick wall\ngreen grass\nthe blue sky\n")
    (folder / "more.csv").write_text("caption\na cat on a wall\n")
    generator = np.random.default_rng(8)
    for name in ("street.jpg", "garden.jpg"):
        noise = Image.fromarray(generator.integers(0, 256, (7, 9, 3), dtype=np.uint8))
        noise.resize((120, 90), Image.Resampling.BICUBIC).save(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names: dict[str, Any] = {}
        exec(example_in(build_index.__doc__ or ""), names)
        assert names["report"].folder == Path("shards/mine")
        assert names["report"].embedded == 4
        assert build("captions.csv", name="mine", preset="pocket").embedded == 0
    return folder


@pytest.fixture
def opened(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Labeler:
    monkeypatch.chdir(workplace)
    return Labeler.open("shards/")


def test_the_labelers_own_example(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    exec(example_in(labeler.__doc__ or ""), names)
    assert names["labeled"].names
    with Image.open("seen.png") as seen:
        assert seen.size == (120, 90)


# --- building --------------------------------------------------------------------------------------------------------


def test_what_build_can_be_told_is_what_the_command_can_be_told() -> None:
    told = typing.get_type_hints(BuildOptions)
    assert {"corpus", *told} == {field.name for field in fields(BuildConfig)}


def test_options_are_written_as_people_write_them() -> None:
    options = {
        "corpus": "a.csv",
        "out": "there",
        "preset": "pocket",
        "language": "de",
        "words": ["b.txt", Path("c.txt")],
    }
    config = commands.config_of(BuildConfig, {**options, "clip_checkpoint": "d.pt", "concept_prompts": "a {}"})
    assert config == BuildConfig(
        corpus=("a.csv",),
        out=Path("there"),
        preset=PresetName.POCKET,
        language=Language.GERMAN,
        words=("b.txt", "c.txt"),
        clip_checkpoint=Path("d.pt"),
        concept_prompts=("a {}",),
    )
    assert commands.config_of(LabelerConfig, {"index": "there", "method": "tag"}).method is Method.TAG
    assert commands.config_of(LabelerConfig, {"preset": None, "short_side": 99}) == LabelerConfig(short_side=99)


def test_wrong_options_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="preset: 'pokcet' is none of default, tag, pocket, untrained"):
        build("a.csv", preset="pokcet")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'captions'"):
        build(captions="a.csv")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="nothing to build from"):
        build()
    with pytest.raises(TypeError, match="give a config or options, not both; found a config and name"):
        build(BuildConfig(corpus=("a.csv",)), name="b")
    with pytest.raises(CorpusError, match="no such file, folder or glob"):
        build(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="out: found s3://b, expected a path on this machine"):
        build("a.csv", out="s3://b")
    with pytest.raises(TypeError, match="not both; found a config and method"):
        Labeler.open("shards", LabelerConfig(), method="tag")
    with pytest.raises(TypeError, match="found 'tag', expected a LabelerConfig; options are given by name: method="):
        Labeler.open("shards", "tag")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="method is 'tag', expected a Method; Labeler"):
        LabelerConfig(method="tag")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="preset is 'pocket', expected a PresetName or None; build takes choices by th"):
        BuildConfig(corpus=("a.csv",), preset="pocket")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="precision is None, expected a Precision; build"):
        BuildConfig(corpus=("a.csv",), precision=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"corpus is 'a\.csv', expected a tuple; build takes one value, too"):
        BuildConfig(corpus="a.csv")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method: 'tga' is none of default, tag, zero-guidance"):
        Labeler.open("shards", method="tga")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": "8"}, "k: found '8', expected a whole number"),
        ({"k": 8.5}, r"k: found 8\.5, expected a whole number"),
        ({"k": True}, "k: found True, expected a whole number"),
        ({"gate": None}, "gate: found None, expected a number"),
        ({"gate": "much"}, "gate: found 'much', expected a number"),
        ({"keep_equal": "no"}, "keep_equal: found 'no', expected True or False"),
        ({"short_side": "64"}, "short_side: found '64', expected a whole number or None"),
        ({"dino": 5}, "dino: found 5, expected a text"),
        ({"dino_checkpoint": 5}, "dino_checkpoint: found 5, expected a path or None"),
        ({"clip_checkpoint": "s3://b/c.pt"}, "clip_checkpoint: found s3://b/c.pt, expected a path on this machine"),
        ({"method": None}, "method: None is none of default, tag, zero-guidance"),
    ],
)
def test_an_option_of_another_type_says_which_is_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Labeler.open("shards", **options)


def test_numbers_may_be_numpys_and_whole_ones_stand_for_others() -> None:
    config = commands.config_of(LabelerConfig, {"k": np.int64(8), "gate": 0, "alike": np.float32(0.5)})
    assert (config.k, type(config.k)) == (8, int)
    assert (config.gate, config.alike, type(config.alike)) == (0.0, 0.5, float)
    with pytest.raises(ValueError, match="words: found 5, expected one value or a list of them"):
        build("a.csv", words=5)  # type: ignore[arg-type]


def test_the_index_is_the_one_that_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    with pytest.raises(ValueError, match="index: found shards, and nosuch in the config; give one of them"):
        Labeler.open("shards", LabelerConfig(index=Path("nosuch")))
    with pytest.raises(UserError, match="mine: no such folder"):
        Labeler.open(config=LabelerConfig(index=Path("mine")))
    with pytest.raises(UserError, match="elsewhere: no such folder"):
        Labeler.open("elsewhere", LabelerConfig(short_side=64))
    assert Labeler.open("shards/mine", short_side=64).config.index == Path("shards/mine")
    assert Labeler.open(config=LabelerConfig(index=Path("shards/mine"))).config.index == Path("shards/mine")


@pytest.mark.parametrize("given", [None, b"bytes", [1, 2], 5])
def test_what_is_no_picture_is_refused_by_its_type(opened: Labeler, given: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(given).__name__} is no picture; give the path of a file"):
        opened.label(given)


@pytest.mark.parametrize(
    "given", ["street.jpg", Path("street.jpg"), Image.new("RGB", (3, 2)), np.zeros((2, 3, 3), "u1")]
)
def test_one_picture_is_not_taken_for_many(opened: Labeler, given: Any) -> None:
    found = type(given).__name__
    with pytest.raises(TypeError, match=f"label_many takes several pictures, found one, a {found}; use label"):
        opened.label_many(given)


def test_a_labeler_that_is_sent_away_says_what_to_do_instead(opened: Labeler) -> None:
    for send in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be copied or sent to another process; open one in each"):
            send(opened.label)
    labeled = opened.label("street.jpg")
    assert same(pickle.loads(pickle.dumps(labeled)), labeled)


def test_given_segments_are_named_on_whatever_a_picture_comes_as(opened: Labeler) -> None:
    segments = opened.label("street.jpg").segments
    with Image.open("street.jpg") as picture:
        assert same(opened.name("street.jpg", segments), opened.name(np.asarray(picture), segments))
        np.testing.assert_array_equal(opened.embed(Path("street.jpg"), segments), opened.embed(picture, segments))


@pytest.mark.parametrize("given", [["shards"], 5, b"shards", LabelerConfig()])
def test_an_index_that_is_no_path_is_said(given: Any) -> None:
    with pytest.raises(ValueError, match=r"index: found .*, expected a path"):
        Labeler.open(given)


def test_pictures_of_pillows_that_cannot_be_read(opened: Labeler, tmp_path: Path) -> None:
    content = Path("street.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with Image.open(tmp_path / "cut.jpg") as cut, pytest.raises(PictureError, match="the picture: unreadable, damaged"):
        opened.label(cut)
    closed = Image.open("street.jpg")
    closed.close()
    with pytest.raises(PictureError, match="the picture: unreadable, damaged"):
        opened.label(closed)


def test_a_config_and_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "load_encoder_of", lambda *_: LetterCounter())
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for number, path in enumerate(paths):
        pq.write_table(pa.table({"caption": [f"a dog and {number} cats"]}), path)
    one = build(paths, name="both", out=tmp_path / "one", workers=1)
    two = build(BuildConfig(corpus=tuple(map(str, paths)), name="both", out=tmp_path / "two", workers=1))
    assert one.manifest.digest == two.manifest.digest
    assert one.manifest.rows == 2


# --- labelling -------------------------------------------------------------------------------------------------------


def same(one: LabeledImage, other: LabeledImage) -> bool:
    return one.labels == other.labels and np.array_equal(one.segments.label_map, other.segments.label_map)


def test_many_pictures_of_any_kind(opened: Labeler) -> None:
    with Image.open("garden.jpg") as garden:
        kinds = ["street.jpg", Path("garden.jpg"), garden.copy(), np.asarray(garden)]
    labeled = list(opened.label_many(kinds))
    assert [same(each, labeled[1]) for each in labeled] == [False, True, True, True]
    assert same(labeled[0], opened.label("street.jpg"))
    found = opened.label_many(["street.jpg", "none.jpg"])
    assert same(next(found), labeled[0])  # what is read ahead and cannot be comes in its turn
    with pytest.raises(PictureError, match=r"none\.jpg: not a file"):
        list(found)


def test_an_index_is_opened_by_a_text(opened: Labeler) -> None:
    index = open_index("shards/mine")
    assert index.folder == Path("shards/mine")
    assert [each.name for each in open_indexes("shards")] == ["mine"]
    assert list(verify("shards/mine")) == []
    words: list[str] = index.concepts.words(index.concepts.of_row(0))  # and type checkers know it
    assert words


def test_what_a_notebook_prints_is_short(opened: Labeler) -> None:
    labeled = opened.label(np.zeros((40, 60, 3), np.uint8))
    (index,) = opened.retriever.indexes
    assert repr(opened) == f"Labeler(preset pocket, method default, words of {index.name})"
    rows, words = index.manifest.rows, index.manifest.concepts.current
    assert repr(index) == f"Index({str(index.folder)!r}: {rows} captions, {words} concepts, pocket)"
    assert repr(labeled) == f"LabeledImage(40 x 60 pixels: {', '.join(labeled.names)})"
    assert repr(labeled.segments) == f"Segments(40 x 60 pixels, {len(labeled.names)} segments)"


def test_options_reach_the_labels(opened: Labeler) -> None:
    assert Labeler.open("shards", method="tag", batch_size=2).config.method is Method.TAG
    labeled = labeler.label_picture("street.jpg", "shards", short_side=64)
    assert same(labeled, Labeler.open("shards", LabelerConfig(short_side=64)).label("street.jpg"))


# --- looking ---------------------------------------------------------------------------------------------------------


def test_labels_hold_their_picture(opened: Labeler) -> None:
    labeled = opened.label("street.jpg")
    np.testing.assert_array_equal(labeled.overlay(), labeled.overlay("street.jpg"))
    assert opened.name(np.asarray(Image.open("street.jpg")), labeled.segments).picture is not None
    without = some_labels(np.random.default_rng(0), 20, 30)
    with pytest.raises(ValueError, match=r"came without their picture; give it: overlay\(picture\)"):
        without.overlay()


def shown_in(page: str) -> Image.Image:
    data = re.search('base64,([^"]+)', page)
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data[1])))


def test_a_notebook_shows_the_overlay_no_larger_than_need_be(opened: Labeler) -> None:
    labeled = opened.label("street.jpg")
    np.testing.assert_array_equal(shown_in(labeled._repr_html_()), labeled.overlay())
    with Image.open("street.jpg") as street:
        large = opened.label(street.resize((1_000, 1_200)))
    assert shown_in(large._repr_html_()).size == (round(LONGEST_SIDE * 10 / 12), LONGEST_SIDE)
    assert shown_in(some_labels(np.random.default_rng(0), 20, 30)._repr_html_()).size == (30, 20)


def test_show_opens_a_viewer(opened: Labeler, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Image.Image] = []

    class Viewer(ImageShow.Viewer):
        def show(self, image: Image.Image, **_: Any) -> int:
            seen.append(image)
            return 1

    labeled = opened.label("street.jpg")
    monkeypatch.setattr(ImageShow, "_viewers", [Viewer()])
    labeled.show()
    labeled.show("street.jpg")
    for image in seen:
        np.testing.assert_array_equal(image, labeled.overlay())
    assert len(seen) == 2
    monkeypatch.setattr(ImageShow, "_viewers", [])
    with pytest.raises(UserError, match=r"no viewer of pictures on this machine; save it: labeled\.overlay\(\)\.save"):
        labeled.show()


@pytest.mark.parametrize("has_kernel", [True, False])
def test_show_in_a_notebook(opened: Labeler, monkeypatch: pytest.MonkeyPatch, has_kernel: bool) -> None:  # noqa: FBT001
    """IPython in a terminal shows no pictures, so the viewer does."""
    published: list[dict[str, str]] = []
    shell = SimpleNamespace(display_pub=SimpleNamespace(publish=published.append))
    if has_kernel:
        shell.kernel = object()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    monkeypatch.setattr(ImageShow, "_viewers", [])
    labeled = opened.label("street.jpg")
    if not has_kernel:
        with pytest.raises(UserError, match="no viewer"):
            labeled.show()
        return
    labeled.show()
    (data,) = published
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    np.testing.assert_array_equal(picture, labeled.overlay())


# --- the packages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").read_bytes() == b""


def test_importing_loads_nothing_heavy() -> None:
    program = "import sys, build_index, labeler; print(*sorted(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {"numpy", "torch", "open_clip", "timm", "faiss", "pyarrow", "PIL", "datasets"}
    assert heavy.isdisjoint(answer.stdout.split())


def test_the_readmes_picture_is_there_and_small() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\((docs/pictures/[^)]+)\)", readme)
    assert pictures
    for name in pictures:
        assert (ROOT / name).stat().st_size <= 150_000
        with Image.open(ROOT / name) as picture:
            picture.load()
