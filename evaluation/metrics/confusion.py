"""Counts over a whole data set: what stood there against what was said, and the figures made of them.

Every measure begins with a picture's overlaps: int64 [S, C + 2], how many pixels of each segment lie on each of C
classes, on `OTHER` and on `VOID`, and with the class that each segment was given, `UNKNOWN_CLASS` if none. No measure
looks at pixels again.
"""

import numpy as np
from numpy.typing import NDArray

from evaluation.classes import UNKNOWN_CLASS
from evaluation.datasets.dataset import OTHER, VOID

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def overlaps(segments: NDArray[np.int32], truth: NDArray[np.int32], classes: int) -> Counts:
    """How many pixels of each segment lie on each class.

    >>> overlaps(np.array([[1, 1, 2]], np.int32), np.array([[0, 255, 0]], np.int32), classes=1).tolist()
    [[1, 0, 1], [1, 0, 0]]

    Args:
        segments: int32 [H, W], values 1 to S, each of which occurs.
        truth: int32 [H, W], values 0 to C - 1, `OTHER` or `VOID`.
        classes: C.

    Returns:
        int64 [S, C + 2]: the classes, then `OTHER`, then `VOID`. They sum to H x W.

    Raises:
        ValueError: the two are of different sizes.
    """
    if segments.shape != truth.shape:
        raise ValueError(f"segments are {list(segments.shape)}, the ground truth is {list(truth.shape)}")
    columns = np.where(truth == VOID, classes + 1, np.where(truth == OTHER, classes, truth))
    width = classes + 2
    flat = (segments.astype(np.int64) - 1) * width + columns
    count = int(segments.max())
    return np.bincount(flat.ravel(), minlength=count * width).reshape(count, width).astype(np.int64)


def confusion(table: Counts, given: NDArray[np.int64]) -> Counts:
    """What stood there against what was said.

    Args:
        table: int64 [S, C + 2], from `overlaps`.
        given: int64 [S], the class of each segment, `UNKNOWN_CLASS` if it has none.

    Returns:
        int64 [C, C + 1]: row = ground truth, column = what was said, the last one for `UNKNOWN_CLASS`. Pixels on
        `OTHER` and `VOID` are left out; a pixel of unknown class is a miss of the class that stands there.
    """
    classes = table.shape[1] - 2
    said = np.zeros((classes + 1, classes), np.int64)
    np.add.at(said, np.where(given == UNKNOWN_CLASS, classes, given), table[:, :classes])
    return said.T


def class_ious(matrix: Counts) -> Floats:
    """TP / (TP + FP + FN) of every class: float64 [C], NaN for one that is nowhere in the ground truth.

    >>> class_ious(np.array([[3, 1, 0], [0, 2, 2]])).tolist()
    [0.75, 0.4]

    Args:
        matrix: int64 [C, C + 1], from `confusion`, summed over pictures.
    """
    hits = np.diagonal(matrix).astype(np.float64)
    stood = matrix.sum(axis=1)
    said = matrix[:, :-1].sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.where(stood > 0, hits / (stood + said - hits), np.nan)


def mean_iou(matrix: Counts) -> float:
    """The mean of `class_ious` over the classes that occur in the ground truth; NaN if none does."""
    ious = class_ious(matrix)
    return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")


def mean_iou_of_union(matrix: Counts) -> float:
    """The mean over classes that occur in the ground truth or were said: one that is only said counts as 0.

    What torchmetrics and MMSegmentation compute. On a whole data set, where every class occurs, it is `mean_iou`.
    """
    occurs = matrix.sum(axis=1) + matrix[:, :-1].sum(axis=0) > 0
    return float(np.nan_to_num(class_ious(matrix))[occurs].mean()) if occurs.any() else float("nan")


def pixel_accuracy(matrix: Counts) -> float:
    """The share of pixels whose class was said; NaN if there are none.

    >>> pixel_accuracy(np.array([[3, 1, 0], [0, 2, 2]]))
    0.625
    """
    pixels = matrix.sum()
    return float(np.trace(matrix[:, :-1]) / pixels) if pixels else float("nan")
