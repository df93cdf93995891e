"""Segments and their labels as files have them: JSON with masks as RLE, COCO's annotations, a palette picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from labeler.drawing import colour_of
from labeler.labels import Label
from segmenter import Segments

DECIMALS = 6
"""Digits of scores: more would be float noise."""


def regions_of(segments: Segments, labels: Sequence[Label]) -> list[dict[str, Any]]:
    """The segments of a picture as `schema.json` describes them.

    Args:
        segments: S segments.
        labels: of each.
    """
    measured = zip(labels, segments.areas.tolist(), segments.boxes.tolist(), strict=True)
    columns = np.asfortranarray(segments.label_map, np.uint8)  # COCO's runs go down columns
    return [_region(number, *of_one, columns == number) for number, of_one in enumerate(measured, start=1)]


def to_annotation(region: dict[str, Any], category: int) -> dict[str, Any]:
    """A segment, as the JSON of a picture has it, as COCO's annotations are, but for its own id and its picture's."""
    return {
        "category_id": category,
        "segmentation": region["rle"],
        "area": region["area"],
        "bbox": region["bbox"],
        "iscrowd": 0,
        "score": region["score"],
    }


def palette_mask(segments: Segments, names: Sequence[str]) -> Image.Image:
    """A palette picture of the segments: pixel value = segment id, coloured by label."""
    mask = Image.fromarray(segments.label_map.astype(np.uint8), "P")
    colours = [(0, 0, 0), *map(colour_of, names)]
    mask.putpalette([channel for colour in colours for channel in colour])
    return mask


def _region(number: int, label: Label, area: int, box: list[int], mask: NDArray[np.bool_]) -> dict[str, Any]:
    encoded = coco_mask.encode(mask.view(np.uint8))
    return {
        "id": number,
        "label": label.name.label,
        "score": round(label.name.score, DECIMALS),
        "alternatives": [{"label": name.label, "score": round(name.score, DECIMALS)} for name in label.alternatives],
        "area": area,
        "bbox": box,
        "rle": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
        "evidence": [
            {"index": hit.index, "row": hit.row, "score": round(hit.score, DECIMALS), "caption": hit.caption}
            for hit in label.evidence
        ],
    }
