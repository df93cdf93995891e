"""Classes for segments that have no words: what the outlines alone would be worth."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from evaluation.classes import UNKNOWN_CLASS

Counts = NDArray[np.int64]


def majority_classes(table: Counts) -> NDArray[np.int64]:
    """The class that most of a segment's pixels lie on: what perfect names would make of these outlines.

    Args:
        table: int64 [S, C + 2], from `overlaps`.

    Returns:
        int64 [S]; the first of those that tie; `UNKNOWN_CLASS` for a segment that lies on no class, of which no
        pixel is counted.
    """
    scored = table[:, :-2]
    return np.where(scored.any(axis=1), scored.argmax(axis=1), UNKNOWN_CLASS)


def hungarian_classes(table: Counts) -> NDArray[np.int64]:
    """One segment for each class of the picture, so that the sum of their IoUs is greatest.

    How segments without words are commonly scored (DiffSeg, arXiv 2308.12469; DiffCut, arXiv 2406.02842): a match in
    every picture, then counts over the whole data set. A segment that is left over is unknown, so its pixels are
    missed.

    Args:
        table: int64 [S, C + 2], from `overlaps`.

    Returns:
        int64 [S], each class at most once.
    """
    scored = table[:, :-2]
    present = np.flatnonzero(scored.any(axis=0))
    given = np.full(len(table), UNKNOWN_CLASS, np.int64)
    if not present.size:
        return given
    shared = scored[:, present]
    unions = scored.sum(axis=1)[:, None] + shared.sum(axis=0) - shared
    segments, places = linear_sum_assignment(shared / unions, maximize=True)
    given[segments] = np.where(shared[segments, places] > 0, present[places], UNKNOWN_CLASS)
    return given
