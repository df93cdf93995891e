"""Zero-guidance's measures (arXiv 2303.13396, after its released evaluator): one figure a picture, then their mean.

With a segment's class from its words these give the paper's IoU_tt, with the class from its own vector IoU_st. They
differ from the figures over the whole data set in that every class that stands in a picture, or is said of it, weighs
the same there, and every picture weighs the same in the end.

Void pixels are taken out of what was said. Pixels on `OTHER` count against a class that stands in the picture; against
one that does not, they count unless they are excused, as VOC's background is.
"""

import math

import numpy as np
from numpy.typing import NDArray

from evaluation.classes import UNKNOWN_CLASS

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

THRESHOLDS = np.arange(101) / 100
"""IoU from which a class counts as found: 0, 0.01, ..., 1."""

NOT_FOUND = -1.0
"""Below every threshold."""


def with_background_as_other(
    table: Counts, given: NDArray[np.int64], background: int | None
) -> tuple[Counts, NDArray[np.int64]]:
    """Zero-guidance knows no background class: its pixels are `OTHER` and what was called so is unknown."""
    if background is None:
        return table, given
    moved = table.copy()
    moved[:, -2] += moved[:, background]
    moved[:, background] = 0
    return moved, np.where(given == background, UNKNOWN_CLASS, given)


def picture_iou(table: Counts, given: NDArray[np.int64], *, excuses_other: bool) -> float:
    """The mean IoU over the classes that stand in a picture or are said of it, each the union of its segments.

    Args:
        table: int64 [S, C + 2], from `overlaps`.
        given: int64 [S], the class of each segment, `UNKNOWN_CLASS` if it has none.
        excuses_other: whether a class that does not stand in the picture is forgiven where it lies on `OTHER`.

    Returns:
        0 to 1; NaN for a picture of which nothing can be said: no class stands there, and none was said that counts.
    """
    ious = [_iou(table[given == c].sum(axis=0), c, table, excuses_other=excuses_other) for c in _classes(table, given)]
    return _mean(ious)


def best_segment_iou(table: Counts, given: NDArray[np.int64], cosines: Floats, *, excuses_other: bool) -> float:
    """As `picture_iou`, but a class is only its best segment: that of the highest cosine, then of the largest area.

    Args:
        table: int64 [S, C + 2], from `overlaps`.
        given: int64 [S], the class of each segment, `UNKNOWN_CLASS` if it has none.
        cosines: float64 [S], of each segment to its class.
        excuses_other: whether a class that does not stand in the picture is forgiven where it lies on `OTHER`.
    """
    areas = table.sum(axis=1)
    ious = []
    for c in _classes(table, given):
        segments = np.flatnonzero(given == c)
        best = max(segments, key=lambda s: (cosines[s], areas[s], -s), default=None)
        said = np.zeros(table.shape[1], np.int64) if best is None else table[best]
        ious.append(_iou(said, c, table, excuses_other=excuses_other))
    return _mean(ious)


def segment_recall(table: Counts, given: NDArray[np.int64], *, excuses_other: bool) -> Floats:
    """The share of classes of which some single segment reaches an IoU, for every IoU in `THRESHOLDS`.

    Over the classes that stand in the picture or are said of it, as the released evaluator counts, so that a class
    said in vain lowers it. A class without a segment, or with none of which a pixel counts, is not found at any
    threshold, not even at 0.

    Args:
        table: int64 [S, C + 2], from `overlaps`.
        given: int64 [S], the class of each segment, `UNKNOWN_CLASS` if it has none.
        excuses_other: whether a class that does not stand in the picture is forgiven where it lies on `OTHER`.

    Returns:
        float64 [101]; NaN where there is no class at all.
    """
    best = [
        max(
            (_found(_iou(table[s], c, table, excuses_other=excuses_other)) for s in np.flatnonzero(given == c)),
            default=NOT_FOUND,
        )
        for c in _classes(table, given)
    ]
    if not best:
        return np.full(len(THRESHOLDS), np.nan)
    shares: Floats = (np.array(best)[:, None] >= THRESHOLDS).mean(axis=0)
    return shares


def recall_area(curve: Floats) -> float:
    """The area below a curve over `THRESHOLDS`, by the trapezoidal rule: 0 to 1."""
    return float(((curve[1:] + curve[:-1]) / 2).sum() * (THRESHOLDS[1] - THRESHOLDS[0]))


def _classes(table: Counts, given: NDArray[np.int64]) -> list[int]:
    """Classes that stand in the picture or are said of it."""
    stands = np.flatnonzero(table[:, :-2].sum(axis=0))
    return sorted({*stands.tolist(), *given[given != UNKNOWN_CLASS].tolist()})


def _iou(said: Counts, c: int, table: Counts, *, excuses_other: bool) -> float:
    """IoU of a class with what was said to be it; NaN if neither has a pixel that counts.

    Args:
        said: int64 [C + 2], pixels of what was said, by what stands there.
        c: the class.
        table: int64 [S, C + 2], of the whole picture.
        excuses_other: whether pixels on `OTHER` are taken out if the class does not stand in the picture.
    """
    stood = int(table[:, c].sum())
    area = int(said[:-2].sum())
    if stood or not excuses_other:
        area += int(said[-2])
    union = stood + area - int(said[c])
    return int(said[c]) / union if union else float("nan")


def _found(iou: float) -> float:
    """A segment of which no pixel counts finds nothing."""
    return NOT_FOUND if math.isnan(iou) else iou


def _mean(values: list[float]) -> float:
    counted = [value for value in values if not math.isnan(value)]
    return sum(counted) / len(counted) if counted else float("nan")
