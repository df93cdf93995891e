"""The files of a finished run: `results.json`, `per_class.csv` and `pictures.npz`.

`pictures.npz` holds what resampling over pictures needs and nothing else:

    ids       str [N]      the pictures, in the order of the data set
    classes   str [C]      official names
    rows      str [R]      "labeler/lexical", "given_names", ...
    row       int16 [n]    one entry for each cell of a confusion that is not zero, ascending by row and picture:
    picture   int32 [n]    the row, the picture,
    truth     int16 [n]    the class that stands there,
    said      int16 [n]    the class that was said, C where there was none,
    pixels    int64 [n]    and how many pixels

It needs NumPy alone, and `read_pictures` reads it.
"""

import csv
import io
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.errors import EvaluationError
from evaluation.scores import Cells, Score, costs
from shards.files import write_bytes

RESULTS_VERSION = 1
RESULTS = "results.json"
PER_CLASS = "per_class.csv"
PICTURES = "pictures.npz"
PAGE = "index.html"
FILES = (RESULTS, PER_CLASS, PICTURES, PAGE)

_NAMES = ("ids", "classes", "rows")
_COLUMNS = ("row", "picture", "truth", "said", "pixels")
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises where a file is none of its archives, or is cut short, or holds other bytes than were written."""


def row_key(score: Score) -> str:
    """What a row is called in the files: its name, and its mapping if it has one.

    A key is unique within a run.
    """
    return f"{score.name.value}/{score.mapping}" if score.mapping else score.name.value


@dataclass(frozen=True, eq=False)
class Pictures:
    """What `pictures.npz` holds.

    Attributes:
        ids: the pictures.
        classes: official names.
        rows: keys of the rows, each with the confusions of all pictures.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    rows: dict[str, Cells]


def write_results(out: Path, content: dict[str, Any], scores: Sequence[Score], pictures: Pictures) -> None:
    """Write the three files, `results.json` last: where it is, the others are.

    Args:
        out: the folder of results.
        content: what `results.json` says besides the figures.
        scores: the rows, at least one.
        pictures: the confusions of every picture.
    """
    write_bytes(out / PER_CLASS, per_class_csv(pictures.classes, scores).encode())
    write_pictures(out / PICTURES, pictures)
    rows = [to_json(score) for score in scores]
    whole = {"version": RESULTS_VERSION, **_finite(content), "rows": rows, "costs": _finite(costs(scores))}
    write_bytes(out / RESULTS, (json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def to_json(score: Score) -> dict[str, Any]:
    """The figures of a row; null where there is none."""
    figures = {
        "miou": score.miou,
        "miou_of_union": score.miou_of_union,
        "pixel_accuracy": score.pixel_accuracy,
        "unknown": score.unknown,
        "picture_iou": score.picture_iou,
        "best_segment_iou": score.best_segment_iou,
        "recall_area": score.recall_area,
        "recall": score.recall.tolist(),
        "class_ious": score.class_ious.tolist(),
    }
    return {"key": row_key(score), "name": score.name.value, "mapping": score.mapping or None, **_finite(figures)}


def per_class_csv(classes: Sequence[str], scores: Sequence[Score]) -> str:
    """A line for each class: its pixels in the ground truth and its IoU in every row, empty where it does not occur."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["class", "pixels", *(row_key(score) for score in scores)])
    stood = scores[0].cells.total(len(classes)).sum(axis=1)
    for c, name in enumerate(classes):
        ious = [float(score.class_ious[c]) for score in scores]
        writer.writerow([name, int(stood[c]), *("" if math.isnan(iou) else repr(iou) for iou in ious)])
    return stream.getvalue()


def write_pictures(path: Path, pictures: Pictures) -> None:
    """Write `pictures.npz`; the same content gives the same bytes."""
    cells = list(pictures.rows.values())
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        ids=np.array(pictures.ids, np.str_),
        classes=np.array(pictures.classes, np.str_),
        rows=np.array(list(pictures.rows), np.str_),
        row=np.concatenate([np.full(len(each.pixels), number, np.int16) for number, each in enumerate(cells)]),
        picture=np.concatenate([each.picture for each in cells]),
        truth=np.concatenate([each.truth for each in cells]),
        said=np.concatenate([each.said for each in cells]),
        pixels=np.concatenate([each.pixels for each in cells]),
    )
    write_bytes(path, stream.getvalue())


def read_pictures(path: Path) -> Pictures:
    """Read `pictures.npz`.

    Raises:
        EvaluationError: there is no such file, it is another one, or it is damaged.
    """
    try:
        held = _read_arrays(path)
        _require_whole(held)
    except _UNREADABLE as error:
        raise EvaluationError(
            f"{path}: no confusions of pictures can be read from it ({error}); put the run's own beside its "
            f"{RESULTS}, or run it again"
        ) from error
    ids, classes, keys = (tuple(held[name].tolist()) for name in _NAMES)
    row, *columns = (held[name] for name in _COLUMNS)
    cells = [Cells(*(column[row == number] for column in columns)) for number in range(len(keys))]
    return Pictures(ids, classes, dict(zip(keys, cells, strict=True)))


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as stream:  # by name, NumPy leaves a file open that is no archive
        found = np.load(stream, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise ValueError("a single array, expected an archive of several")
        return {name: np.asarray(found[name]) for name in (*_NAMES, *_COLUMNS)}


def _require_whole(held: dict[str, NDArray[Any]]) -> None:
    """Refuse arrays of which no confusions can be made."""
    for name, array in held.items():
        kind, what = ("U", "strings") if name in _NAMES else ("i", "whole numbers")
        if array.ndim != 1 or array.dtype.kind != kind:
            raise ValueError(f"{name}: expected a list of {what}, found {array.dtype} of shape {list(array.shape)}")
    lengths = {name: len(held[name]) for name in _COLUMNS}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise ValueError(f"expected one length of all columns, found {found}")
    ids, classes, keys = (len(held[name]) for name in _NAMES)
    for name, end in {"row": keys, "picture": ids, "truth": classes, "said": classes + 1}.items():
        outside = held[name][(held[name] < 0) | (held[name] >= end)]
        if outside.size:
            raise ValueError(f"{name}: expected numbers of 0 and more, below {end}, found {outside[0]}")
    if (held["pixels"] < 1).any():
        raise ValueError(f"pixels: expected numbers above 0, found {held['pixels'].min()}")


def _finite(figures: Any) -> Any:
    """NaN becomes null, which JSON has."""
    if isinstance(figures, dict):
        return {name: _finite(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [_finite(value) for value in figures]
    return None if isinstance(figures, float) and math.isnan(figures) else figures
