"""Where names are written: inside their own segment as far as can be, never over another name, never cut off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 96
"""Cells along the longer side of the grid on which places are compared."""

LEAST_INSIDE = 0.6
"""Share of a name's box that must lie in its own segment: what sticks out more is taken for its neighbour's name."""


@dataclass(frozen=True)
class Place:
    """Where a name goes.

    Attributes:
        row: of the name.
        choice: which of its sizes fits.
        box: x, y, width, height in pixels.
    """

    row: int
    choice: int
    box: tuple[int, int, int, int]


def place_names(label_map: NDArray[np.int32], boxes: Sequence[Sequence[tuple[int, int]]]) -> list[Place]:
    """Place names one after another, those of the largest segments first.

    Every position on a grid is looked at: of those where the box lies in the picture and covers no name that is
    already there, it goes where most of it lies in its segment, and there as far from the segment's edges as can be.
    If less than `LEAST_INSIDE` of it would, the next smaller size is tried; if none is left, the name is left out.

    Args:
        label_map: int32 [H, W], segments 1 to S.
        boxes: for each of S names its width and height in pixels, in sizes from the largest to the smallest; none for a
            name that is to be left out.

    Returns:
        The names that found a place.
    """
    step = max(1, -(-max(label_map.shape) // GRID))
    height, width = (side // step for side in label_map.shape)  # whole cells only
    cells = label_map[step // 2 :: step, step // 2 :: step][:height, :width]  # int32 [height, width]
    if not cells.size:
        return []
    areas = np.bincount(cells.ravel(), minlength=len(boxes) + 1)[1:]
    taken = np.zeros(cells.shape, np.bool_)
    places = []
    for row in np.argsort(-areas, kind="stable").tolist():
        mask = cells == row + 1
        depth = depths(mask)
        for choice, size in enumerate(boxes[row]):
            rows, cols = (-(-side // step) for side in reversed(size))
            best = _best(mask, depth, taken, (rows, cols))
            if best is None:
                continue
            y, x = best
            taken[y : y + rows, x : x + cols] = True
            places.append(Place(row, choice, (x * step, y * step, *size)))
            break
    return places


def depths(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many layers of a segment lie between a cell and what is not the segment, the picture's border included.

    Returns:
        int32 [rows, cols], 0 outside, 1 along the edges.
    """
    depth = np.zeros(mask.shape, np.int32)
    left = np.pad(mask, 1)
    while left.any():
        depth += left[1:-1, 1:-1]
        inner = left[1:-1, 1:-1] & left[:-2, 1:-1] & left[2:, 1:-1] & left[1:-1, :-2] & left[1:-1, 2:]
        left = np.pad(inner, 1)
    return depth


def box_sums(values: NDArray[np.integer] | NDArray[np.bool_], rows: int, cols: int) -> NDArray[np.int64]:
    """Sums over every box of a size: int64 [R - rows + 1, C - cols + 1], empty if the box is larger than the grid."""
    sums = np.pad(values.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    if rows >= len(sums) or cols >= sums.shape[1]:
        return np.zeros((0, 0), np.int64)
    return sums[rows:, cols:] - sums[:-rows, cols:] - sums[rows:, :-cols] + sums[:-rows, :-cols]


def _best(
    mask: NDArray[np.bool_], depth: NDArray[np.int32], taken: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[int, int] | None:
    """Row and column of the best corner for a box of rows and columns; None if nothing will do."""
    inside = box_sums(mask, *size)
    if not inside.size:
        return None
    inside[box_sums(taken, *size) > 0] = -1
    most = int(inside.max())
    if most < LEAST_INSIDE * size[0] * size[1]:
        return None
    deep = np.where(inside == most, box_sums(depth, *size), -1)
    y, x = np.unravel_index(int(deep.argmax()), deep.shape)
    return int(y), int(x)
