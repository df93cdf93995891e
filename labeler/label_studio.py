"""All pictures of a run as tasks of Label Studio, every segment a brush stroke, and the labelling interface for them.

Label Studio's own converter takes COCO's boxes and polygons, but no masks; these files are what it imports itself.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from labeler.coco import ids_of
from labeler.drawing import colour_of
from labeler.exports import TASKS_FILE, TASKS_INTERFACE, Census, Record
from shards.files import write_bytes, write_whole

LENGTH_BITS = (3, 4, 8, 16)
"""Bits that a run's length, less one, may take: a run names the first of these sizes that holds it."""

LONGEST_RUN = 1 << 16
WORD_BITS = 8
CHANNELS = 4
"""Label Studio keeps a mask as a picture of red, green, blue and opacity; all four are 255 in the mask."""


def write_tasks(census: Census, root: str) -> Path:
    """Write `label-studio.json`, one task per picture, and `label-studio.xml`, the labelling interface.

    Labels come as predictions, whose regions a person accepts or corrects.

    Args:
        census: the finished pictures.
        root: the URL below which Label Studio finds the pictures: of a server, of a bucket (`s3://photos`), or
            `/data/local-files/?d=FOLDER` for files beside it.

    Returns:
        The path of the JSON.
    """
    write_bytes(census.out / TASKS_INTERFACE, interface(census.categories).encode())

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            for number, entry, record in census.records():
                task = {"data": {"image": url_of(root, entry.name)}, "predictions": [prediction(record)]}
                stream.write(("[\n" if number == 1 else ",\n") + json.dumps(task, ensure_ascii=False))
            stream.write("\n]\n")

    path = census.out / TASKS_FILE
    write_whole(path, write)
    return path


def url_of(root: str, name: str) -> str:
    """Where a picture is found.

    >>> url_of("/data/local-files/?d=photos", "deep/a b.jpg")
    '/data/local-files/?d=photos/deep/a%20b.jpg'
    >>> url_of("s3://photos/", "a b.jpg")  # a key, not a URL
    's3://photos/a b.jpg'
    """
    slash = "" if root.endswith(("/", "=")) else "/"
    return root + slash + (quote(name) if root.startswith(("http:", "https:", "/")) else name)


def interface(labels: Iterable[str]) -> str:
    """The labelling interface: a brush for every label, in its colour.

    >>> print(interface(["cat & dog"]))
    <View>
      <Image name="image" value="$image" zoom="true"/>
      <BrushLabels name="label" toName="image">
        <Label value="cat &amp; dog" background="#3de3c2"/>
      </BrushLabels>
    </View>
    <BLANKLINE>
    """
    brushes = (
        f'    <Label value={quoteattr(label)} background="#{bytes(colour_of(label)).hex()}"/>\n' for label in labels
    )
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="label" toName="image">\n{"".join(brushes)}  </BrushLabels>\n</View>\n'
    )


def prediction(record: Record) -> dict[str, Any]:
    """The segments of a picture as Label Studio has what a network said."""
    ids = np.ascontiguousarray(ids_of(record))  # its runs go along rows
    regions = [
        {
            "id": f"segment-{region.id}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": record.picture.width,
            "original_height": record.picture.height,
            "image_rotation": 0,
            "score": region.score,
            "value": {"format": "rle", "rle": list(encode_mask(ids == region.id)), "brushlabels": [region.label]},
        }
        for region in record.segments
    ]
    return {"model_version": str(record.made_by["program"]), "result": regions}


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """A mask as Label Studio's brush keeps it: the runs of its bytes, in bits.

    The bits are: the number of bytes (32), the bits of a byte less one (5), the four sizes of `LENGTH_BITS` less one
    (4 each); then for every run a 1, the size of its length (2), its length less one, and the byte; zeros to the end
    of the last byte. (The format is rle-pack's of the thi.ng/umbrella collection; its runs of single bytes, which
    start with a 0, do not occur, as every pixel is four equal bytes.)

    >>> encode_mask(np.array([[True, True, False]])).hex()
    '0000000c391bfcfff18000'

    Args:
        mask: bool [H, W].
    """
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size)) * CHANNELS
    bits = [f"{flat.size * CHANNELS:032b}", f"{WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in LENGTH_BITS)]
    for value, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
        for start in range(0, length, LONGEST_RUN):
            bits.append(_run(min(length - start, LONGEST_RUN), 255 if value else 0))
    packed = "".join(bits)
    size = -(-len(packed) // 8)
    return int(packed.ljust(size * 8, "0"), 2).to_bytes(size, "big")


def _run(length: int, byte: int) -> str:
    place = next(place for place, size in enumerate(LENGTH_BITS) if length <= 1 << size)
    return f"1{place:02b}{length - 1:0{LENGTH_BITS[place]}b}{byte:0{WORD_BITS}b}"
