"""`report.html`: one page to look through the labels of a run, without a server and without anything from elsewhere.

The pictures themselves stay files beside the page. What the page holds of each is its regions on a coarse grid, as
run lengths, and its words and captions, as numbers into lists in which every text stands once.
"""

import base64
import hashlib
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from encoders.presets import UNTRAINED, PresetName
from labeler.drawing import colour_of
from labeler.exports import REPORT_FILE, Census, Entry, Record, Region
from labeler.photographs import NOT_KNOWN, Photographs
from shards.files import write_bytes

PICTURES_SHOWN = 2_000
"""Pictures on the page: what a browser opens at once."""

CELLS = 128
"""Cells along the longer side of the grid that a picture's regions are drawn on."""

CAPTIONS_SHOWN = 5
"""Of each region; the JSON has all."""

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

WARNINGS = {
    UNTRAINED: "These networks are untrained: the outlines and names show that everything runs, and mean nothing.",
    PresetName.POCKET.value: "The pocket pair is a demonstration, not an open-vocabulary model: it mostly guesses.",
}


class Texts:
    """Texts in the order in which they were first met, each once.

    >>> texts = Texts(["sky"])
    >>> [texts.number(text) for text in ("a dog", "sky", "a dog")], list(texts.numbers)
    ([1, 0, 1], ['sky', 'a dog'])
    """

    def __init__(self, first: list[str]) -> None:
        self.numbers = {text: number for number, text in enumerate(first)}

    def number(self, text: str) -> int:
        """The place of a text."""
        return self.numbers.setdefault(text, len(self.numbers))


def write_report(census: Census, pictures: Photographs = NOT_KNOWN) -> Path:
    """Write the page.

    Args:
        census: the folder of labels.
        pictures: what was labelled; the page shows the photographs themselves where they are found.

    Returns:
        The path of the page.
    """
    path = census.out / REPORT_FILE
    write_bytes(path, make_report(census, pictures).encode())
    return path


def make_report(census: Census, pictures: Photographs = NOT_KNOWN) -> str:
    """The page as one HTML file, for the first `PICTURES_SHOWN` pictures; `write_report` says what it is given."""
    labels = list(census.categories)
    words, captions, indexes = Texts(labels), Texts([]), Texts([])
    packed: list[list[Any]] = []
    for _, entry, record in census.records():
        if len(packed) == PICTURES_SHOWN:
            break
        regions = [_pack_region(region, record, (words, captions, indexes)) for region in record.segments]
        packed.append([*_pack_picture(entry, record, census.out, pictures), regions])
    data = {
        "total": len(census.entries),
        "warning": WARNINGS.get(census.made_by["preset"], ""),
        "words": list(words.numbers),
        "colours": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in map(colour_of, labels)],
        "captions": list(captions.numbers),
        "indexes": list(indexes.numbers),
        "pictures": packed,
    }
    template, style, script = (_part(f"report.{kind}") for kind in ("html", "css", "js"))
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode("ascii")
    return Template(template).substitute(
        title=html.escape(f"Labels of {pictures.title}"),
        policy=f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=style,
        script=script,
        data=inert(data),
    )


def inert(data: Any) -> str:
    r"""JSON that means nothing to HTML: no text in it can end the element that it stands in.

    >>> inert("</script><b>")
    '"\\u003c/script\\u003e\\u003cb\\u003e"'
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def shrink(record: Record) -> NDArray[np.uint8]:
    """The segments of a picture on a coarse grid, the longer side `CELLS` cells or fewer.

    A cell has the segment at its middle. A segment that is at no middle takes the cell of its first pixel.

    Returns:
        uint8 [rows, cols], segment numbers.
    """
    height, width = record.picture.height, record.picture.width
    step = max(1.0, max(height, width) / CELLS)
    rows, cols = (max(1, round(side / step)) for side in (height, width))
    ys, xs = (
        ((np.arange(count) + 0.5) * side / count).astype(np.int64) for count, side in ((rows, height), (cols, width))
    )
    grid = np.zeros((rows, cols), np.uint8)
    for region in sorted(record.segments, key=lambda region: -region.area):  # the smallest last: it may take a cell
        rle = {"size": list(region.rle.size), "counts": region.rle.counts.encode()}
        mask = coco_mask.decode(rle)  # uint8 [H, W]
        here = mask[ys[:, None], xs].astype(bool)
        if not here.any():
            y, x = np.unravel_index(int(mask.argmax()), mask.shape)
            here[int(y) * rows // height, int(x) * cols // width] = True
        grid[here] = region.id
    return grid


def pack_runs(grid: NDArray[np.uint8]) -> str:
    """A grid row by row as pairs of number and length, each as digits of 5 bits, the lowest first.

    A digit from 32 says that another one follows.

    >>> pack_runs(np.array([[1, 1, 1], [1, 2, 2]], np.uint8)), pack_runs(np.full((5, 8), 33, np.uint8))
    ('BECC', 'hBoB')
    """
    flat = grid.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    lengths = np.diff(starts, append=flat.size)
    return "".join(
        _digits(number) for pair in zip(flat[starts].tolist(), lengths.tolist(), strict=True) for number in pair
    )


def _digits(number: int) -> str:
    text = ""
    while number >= 32:
        text += DIGITS[32 + number % 32]
        number //= 32
    return text + DIGITS[number]


def _pack_picture(entry: Entry, record: Record, out: Path, pictures: Photographs) -> list[Any]:
    grid = shrink(record)
    original = _original(entry, out, pictures)
    return [
        entry.name,
        entry.width,
        entry.height,
        quote(entry.stem),
        original,
        grid.shape[1],
        grid.shape[0],
        pack_runs(grid),
    ]


def _pack_region(region: Region, record: Record, texts: tuple[Texts, Texts, Texts]) -> list[Any]:
    words, captions, indexes = texts
    return [
        region.id,
        words.number(region.label),
        round(region.score, 3),
        round(region.area / (record.picture.width * record.picture.height), 4),
        [[words.number(word.label), round(word.score, 3)] for word in region.alternatives],
        [
            [captions.number(each.caption), round(each.score, 3), indexes.number(each.index), each.row]
            for each in region.evidence[:CAPTIONS_SHOWN]
        ],
    ]


def _original(entry: Entry, out: Path, pictures: Photographs) -> str:
    """The way from the page to the photograph; empty if it is not there."""
    path = pictures.find(entry.name)
    if path is None:
        return ""
    way = Path(os.path.relpath(path.resolve(), out.resolve())).as_posix()
    return quote(os.fsencode(way))  # bytes: a name need not be UTF-8


def _part(name: str) -> str:
    return files("labeler").joinpath(name).read_text("utf-8")
