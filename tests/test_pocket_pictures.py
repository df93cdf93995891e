"""The shipped pair on real photographs: what it says, and that it says nothing that its index lacks."""

import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from build_index.__main__ import main as build_main
from labeler.__main__ import main as label_main
from labeler.demo import main as demo_main
from shards import open_index

SENSIBLE = {
    "astronaut": {"astronaut", "face", "girl", "human face", "person", "smiling woman", "woman", "woman's face"},
    "chelsea": {"black cat", "cat", "ginger cat", "kitten", "striped cat", "tabby cat", "white whiskers"},
    "china": {"ancient palace", "building", "chinese pavilion", "chinese temple", "palace", "temple"},
    "china sky": {"blue sky", "clear sky", "cloudy sky", "evening sky", "sky", "grey clouds", "white clouds"},
    "coffee": {"coffee", "coffee cup", "cup", "espresso cup", "white cup"},
    "flower": {
        "dahlia",
        "flower",
        "petals",
        "pink flower",
        "red petals",
        "red rose",
        "yellow flower",
        "yellow flowers",
    },
    "motorcycle_left": {"motorbike", "motorcycle", "red motorcycle", "scooter"},
    "rocket": {"launch tower", "rocket", "steel towers", "tower", "launch pad"},
}
"""For every demo photograph, names of which at least one should be said of one of its regions."""

MOTORCYCLE = re.compile("motor|scooter|rider|exhaust", re.IGNORECASE)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    assert demo_main([str(folder)]) == 0
    return folder


def labels_of(out: Path, picture: str) -> list[str]:
    said = json.loads((out / f"{picture}.json").read_text("utf-8"))
    return [segment["label"].lower() for segment in said["segments"]]


def test_the_demo_says_sensible_names(photographs: Path, tmp_path: Path) -> None:
    assert build_main(["--corpus", "demo", "--preset", "pocket", "--out", str(tmp_path / "shards")]) == 0
    assert label_main([str(photographs), "--index", str(tmp_path / "shards"), "--out", str(tmp_path / "out")]) == 0
    said = {subject: labels_of(tmp_path / "out", subject.split()[0]) for subject in SENSIBLE}
    right = [subject for subject, names in SENSIBLE.items() if names & set(said[subject])]
    assert len(right) >= 6, said


def test_a_word_that_the_index_lacks_is_said_once_it_is_appended(photographs: Path, tmp_path: Path) -> None:
    sentences = files("build_index").joinpath("data/demo.txt").read_text("utf-8").splitlines()
    about = [sentence for sentence in sentences if MOTORCYCLE.search(sentence)]
    other = [sentence for sentence in sentences if not MOTORCYCLE.search(sentence)]
    (tmp_path / "other.txt").write_text("\n".join(other), "utf-8")
    (tmp_path / "about.txt").write_text("\n".join(about), "utf-8")
    picture, shards = str(photographs / "motorcycle_left.png"), tmp_path / "shards"

    build = ["--out", str(shards), "--name", "words", "--preset", "pocket"]
    assert build_main(["--corpus", str(tmp_path / "other.txt"), *build]) == 0
    assert label_main([picture, "--index", str(shards), "--out", str(tmp_path / "before")]) == 0
    everything = (tmp_path / "before" / "motorcycle_left.json").read_text("utf-8")
    assert not MOTORCYCLE.search(json.dumps(json.loads(everything)["segments"]))

    first = {path.name: path.read_bytes() for path in (shards / "words").glob("*-00000*")}
    assert build_main(["--append", str(tmp_path / "about.txt"), "--out", str(shards), "--name", "words"]) == 0
    assert {name: (shards / "words" / name).read_bytes() for name in first} == first  # nothing old was embedded again
    vectors = np.load(shards / "words/vectors-00001.npy")
    assert len(vectors) == len(about) == open_index(shards / "words").manifest.rows - len(other)

    assert label_main([picture, "--index", str(shards), "--out", str(tmp_path / "after")]) == 0
    assert SENSIBLE["motorcycle_left"] & set(labels_of(tmp_path / "after", "motorcycle_left"))
