"""All pictures of a run in COCO's formats: one JSON of masks, and on request the panoptic JSON with its PNGs.

Both are written from the pictures' own JSON files, one picture in memory at a time, aside and then renamed.
"""

import json
from collections.abc import Collection, Iterable
from itertools import count
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from labeler.drawing import colour_of
from labeler.exports import COCO_FILE, PANOPTIC_FILE, PANOPTIC_FOLDER, Census, Record
from labeler.outputs import file_bytes
from labeler.regions import to_annotation
from shards.files import write_bytes, write_whole
from shards.manifest import PROGRAM


def write_coco(census: Census) -> Path:
    """Write `annotations.coco.json`: images, one annotation per segment with its mask as RLE, labels as categories.

    An image's id is the rank of its path among all, from 1, and a category's that of its label in the alphabet: they
    do not depend on the order in which pictures were labelled. Annotations are numbered through, and have a `score`.

    Returns:
        The path of the file.
    """
    categories = census.categories

    def annotations() -> Iterable[dict[str, Any]]:
        number = 0
        for image, _, record in census.records():
            for region in record.segments:
                number += 1
                yield {
                    "id": number,
                    "image_id": image,
                    **to_annotation(msgspec.to_builtins(region), categories[region.label]),
                }

    path = census.out / COCO_FILE
    names = ({"id": number, "name": label, "supercategory": ""} for label, number in categories.items())
    _write(path, {"images": _images(census), "annotations": annotations(), "categories": names})
    return path


def write_panoptic(census: Census) -> Path:
    """Write `panoptic.json`, and one PNG per picture below `panoptic/`: R + 256 G + 256^2 B is the segment's id.

    Every label is a "thing" to COCO, which allows several segments of one label in a picture.

    Returns:
        The path of the JSON.
    """
    categories, suffix = census.categories, panoptic_suffix({entry.stem for entry in census.entries})

    def annotations() -> Iterable[dict[str, Any]]:
        for image, entry, record in census.records():
            write_ids(ids_of(record), census.out / PANOPTIC_FOLDER / f"{entry.stem}{suffix}")
            yield {
                "image_id": image,
                "file_name": f"{entry.stem}{suffix}",
                "segments_info": [
                    {
                        "id": region.id,
                        "category_id": categories[region.label],
                        "area": region.area,
                        "bbox": list(region.bbox),
                        "iscrowd": 0,
                    }
                    for region in record.segments
                ],
            }

    path = census.out / PANOPTIC_FILE
    names = (
        {"id": number, "name": label, "supercategory": "", "isthing": 1, "color": list(colour_of(label))}
        for label, number in categories.items()
    )
    _write(path, {"images": _images(census), "annotations": annotations(), "categories": names})
    return path


def panoptic_suffix(stems: Collection[str]) -> str:
    """What the PNGs below `panoptic/` end in: none is called as the mask of a picture in a folder of that name.

    >>> panoptic_suffix({"a", "deep/b"}), panoptic_suffix({"a", "panoptic/a"})
    ('.png', '.ids.png')

    Args:
        stems: of the pictures, each once.
    """
    endings = (".ids" * times for times in count())
    free = (end for end in endings if not any(f"{PANOPTIC_FOLDER}/{stem}{end}" in stems for stem in stems))
    return f"{next(free)}.png"


def ids_of(record: Record) -> NDArray[np.int32]:
    """The segments' numbers: int32 [H, W], in memory column after column, as COCO's masks are."""
    ids = np.zeros((record.picture.height, record.picture.width), np.int32, order="F")
    for region in record.segments:
        rle = {"size": list(region.rle.size), "counts": region.rle.counts.encode()}
        ids[coco_mask.decode(rle).astype(bool)] = region.id
    return ids


def write_ids(ids: NDArray[np.int32], target: Path) -> None:
    """Write numbers of segments as COCO's panoptic PNGs are: a number becomes R + 256 G + 256^2 B."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, file_bytes(Image.fromarray(to_colours(ids)), "PNG"))


def to_colours(ids: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Numbers as colours, R the lowest byte.

    >>> to_colours(np.array([[0, 7, 258]], np.int32)).tolist()
    [[[0, 0, 0], [7, 0, 0], [2, 1, 0]]]
    """
    lowest_first = np.ascontiguousarray(ids, "<i4").view(np.uint8).reshape(*ids.shape, 4)
    return lowest_first[..., :3]


def _images(census: Census) -> Iterable[dict[str, Any]]:
    for number, entry in enumerate(census.entries, start=1):
        yield {"id": number, "file_name": entry.name, "width": entry.width, "height": entry.height}


def _write(path: Path, lists: dict[str, Iterable[dict[str, Any]]]) -> None:
    """A JSON object of a few long lists, a line for each item, none of them ever whole in memory."""

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(f'{{"info": {json.dumps({"description": PROGRAM})},\n"licenses": []')
            for name, items in lists.items():
                _write_list(stream, name, items)
            stream.write("}\n")

    write_whole(path, write)


def _write_list(stream: TextIO, name: str, items: Iterable[dict[str, Any]]) -> None:
    stream.write(f',\n"{name}": [')
    for place, item in enumerate(items):
        stream.write((",\n" if place else "\n") + json.dumps(item, ensure_ascii=False))
    stream.write("]")
