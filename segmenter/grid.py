"""From the pixels of segments to a grid of cells: the adjoint of the upsampling, and shares of area."""

import numpy as np
import numpy.typing as npt

from segmenter.segments import Segments
from segmenter.upsample import Floats, Indices, axis_weights, bands

Taps = tuple[Indices, Indices, Floats]
"""For each pixel of an axis two cells, and the part of it that the second one gets."""


def grid_weights(segments: Segments, rows: int, cols: int) -> Floats:
    """How much of each segment falls to each cell: U transposed, applied to every segment's mask.

    For dense values d on the grid, sum(U d over the segment's pixels) = sum(weights * d), so a mean over pixels needs
    no values at pixels. A segment's weights sum to its area.

    Args:
        segments: S masks of a picture of H x W pixels.
        rows: of the grid.
        cols: of the grid.

    Returns:
        float32 [S, rows, cols], >= 0, in pixels.

    Raises:
        ValueError: the grid has no cells.
    """
    height, width = segments.size
    taps = axis_weights(height, rows), axis_weights(width, cols)
    return _summed(segments.label_map, (segments.count, rows, cols), taps)


def cell_shares(segments: Segments, rows: int, cols: int) -> Floats:
    """Which share of each cell's area lies in each segment: masks downsampled by area.

    Args:
        segments: S masks of a picture of H x W pixels.
        rows: of the grid.
        cols: of the grid.

    Returns:
        float32 [S, rows, cols], 0 to 1; they sum to 1 over the segments. No segment is without a share.

    Raises:
        ValueError: the grid has no cells.
    """
    if min(rows, cols) < 1:
        raise ValueError(f"a grid has at least one cell, not {rows} x {cols}")
    height, width = segments.size
    finer = -(-rows // height), -(-cols // width)  # a pixel may reach into two cells of an axis, not three
    label_map = np.repeat(np.repeat(segments.label_map, finer[0], axis=0), finer[1], axis=1)
    taps = area_weights(label_map.shape[0], rows), area_weights(label_map.shape[1], cols)
    weights = _summed(label_map, (segments.count, rows, cols), taps)
    return weights * np.float32(rows * cols / label_map.size)


def area_weights(pixels: int, cells: int) -> Taps:
    """Which two cells each pixel of an axis lies in, where no cell is smaller than a pixel.

    >>> lower, upper, fraction = area_weights(pixels=3, cells=2)
    >>> lower.tolist(), upper.tolist(), fraction.tolist()
    ([0, 0, 1], [0, 1, 1], [0.0, 0.5, 0.0])

    Args:
        pixels: length of the axis in pixels.
        cells: length of the axis in cells, 1 to `pixels`.

    Returns:
        lower and upper, both integer [pixels]; fraction, float32 [pixels]: the part of the pixel that lies in `upper`.
    """
    starts = np.arange(pixels) * cells  # in parts of 1 / pixels of a cell
    lower = starts // pixels
    past = np.maximum(starts + cells - (lower + 1) * pixels, 0)
    upper = np.where(past > 0, lower + 1, lower)
    return lower, upper, (past / cells).astype(np.float32)


def _summed(label_map: npt.NDArray[np.int32], shape: tuple[int, int, int], taps: tuple[Taps, Taps]) -> Floats:
    """Give every pixel to its cells.

    Args:
        label_map: int32 [H, W], values 1 to S.
        shape: (S, rows, cols).
        taps: of the y axis and of the x axis.

    Returns:
        float32 [S, rows, cols], in pixels.
    """
    (above, below, along_y), along_x = taps
    count, rows, cols = shape
    weights = np.zeros((rows, count, cols))
    for band in bands(len(label_map), max(label_map.shape[1], count * cols)):
        lines = _sum_along_x(label_map[band] - 1, count, cols, along_x)
        fraction = along_y[band, None, None]
        np.add.at(weights, above[band], lines * (1 - fraction))
        np.add.at(weights, below[band], lines * fraction)
    return np.ascontiguousarray(weights.transpose(1, 0, 2), dtype=np.float32)


def _sum_along_x(labels: npt.NDArray[np.int32], count: int, cols: int, taps: Taps) -> npt.NDArray[np.float64]:
    """The x half of the adjoint: what each segment gives to each column of cells, line by line.

    Args:
        labels: int32 [band, W], values 0 to count - 1.
        count: S.
        cols: of the grid.
        taps: of the x axis.

    Returns:
        float64 [band, S, cols].
    """
    left, right, fraction = taps
    lines, width = labels.shape
    begins = np.ones(labels.shape, dtype=bool)  # runs of pixels of one segment that lie between the same two cells
    begins[:, 1:] = labels[:, 1:] != labels[:, :-1]
    begins[:, 1:] |= (left[1:] != left[:-1]) | (right[1:] != right[:-1])
    starts = np.flatnonzero(begins)
    line, first = np.divmod(starts, width)
    pixels = np.diff(starts, append=labels.size)
    before = np.concatenate([[0], np.cumsum(fraction, dtype=np.float64)])  # of each pixel, what those before it give
    to_right = before[first + pixels] - before[first]
    row = (line * count + labels.ravel()[starts]) * cols  # of each run's cells in the flat result
    cells = np.concatenate([row + left[first], row + right[first]])
    sums = np.bincount(cells, weights=np.concatenate([pixels - to_right, to_right]), minlength=lines * count * cols)
    return sums.astype(np.float64, copy=False).reshape(lines, count, cols)
