"""Folders of labels made by hand, without networks: what the tests of exports and of the page look at."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler.inputs import PictureFile
from labeler.labeled import LabeledImage
from labeler.labels import Evidence, Label, Name
from labeler.outputs import write_outputs
from segmenter import relabel

MADE_BY: dict[str, Any] = {
    "program": "tests",
    "preset": "default",
    "clip": "none",
    "dino": "none",
    "dense": "none",
    "indexes": {"captions": "sha256:0"},
    "settings": {},
}
WORDS = ["sky", "sea", "golden retriever", "brick wall", "tree", "unknown"]


def blobs(generator: np.random.Generator, height: int, width: int, count: int = 6) -> NDArray[np.int64]:
    """Some regions with curved borders: int64 [H, W]; each pixel belongs to the nearest of a few random points."""
    points = generator.random((count, 2)) * (height, width)
    ys, xs = np.mgrid[:height, :width]
    return ((ys[..., None] - points[:, 0]) ** 2 + (xs[..., None] - points[:, 1]) ** 2).argmin(axis=2)


def some_labels(generator: np.random.Generator, height: int, width: int, words: list[str] = WORDS) -> LabeledImage:
    """A picture's labels with runners-up and evidence."""
    segments = relabel(blobs(generator, height, width))
    labels = []
    for number in range(segments.count):
        best, second = generator.choice(words, 2, replace=False).tolist()
        evidence = Evidence("captions", number, 0.31, f"a caption about {best}, number {generator.integers(50)}")
        labels.append(Label(Name(best, 0.9), (Name(second, 0.05),), (evidence,)))
    return LabeledImage(segments, tuple(labels))


def write_labels(
    root: Path, names: list[str], made_by: dict[str, Any] = MADE_BY, words: list[str] = WORDS, side: int = 60
) -> dict[str, LabeledImage]:
    """Write pictures to ROOT/pictures and their labels to ROOT/labels; returns the labels by name."""
    written = {}
    for place, name in enumerate(names):
        generator = np.random.default_rng(place)
        labeled = some_labels(generator, side + place % 7, side + 20 + place % 5, words)
        picture = generator.integers(0, 256, (*labeled.segments.size, 3), dtype=np.uint8)
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        stem = name.rpartition(".")[0]
        write_outputs(root / "labels", PictureFile(path, name, stem), picture, labeled, made_by)
        written[name] = labeled
    return written
