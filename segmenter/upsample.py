"""Bilinear upsampling between a grid of cells and the pixels of a picture, and its adjoint.

The operator U takes values on a grid [rows, cols] to pixels [H, W]. Cells and pixels both cover the whole picture
evenly and their values sit at their centres, so pixel i lies at (i + 0.5) * cells / pixels - 0.5 on the axis of cells,
clamped to the outermost cells, and takes a straight blend of the two cells around it. When enlarging this is what
`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` does. A picture smaller than the grid is
sampled by the very same rule, without smoothing: cells that lie between pixels then count for nothing.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from segmenter.segments import Segments

Indices = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

BAND_PIXELS = 1 << 16  # what is in work at a time: large enough to hide Python, small enough for a processor's cache


def axis_weights(pixels: int, cells: int) -> tuple[Indices, Indices, Floats]:
    """Which two cells each pixel of an axis lies between, and how far along.

    >>> lower, upper, fraction = axis_weights(pixels=4, cells=2)
    >>> lower.tolist(), upper.tolist(), fraction.tolist()
    ([0, 0, 0, 1], [1, 1, 1, 1], [0.0, 0.25, 0.75, 0.0])

    Args:
        pixels: length of the axis in pixels, >= 1.
        cells: length of the axis in cells, >= 1.

    Returns:
        lower and upper, both integer [pixels] with values 0 to cells - 1; fraction, float32 [pixels], in [0, 1).
        Pixel i is (1 - fraction[i]) * cell[lower[i]] + fraction[i] * cell[upper[i]].

    Raises:
        ValueError: an axis without pixels or cells.
    """
    if min(pixels, cells) < 1:
        raise ValueError(f"an axis has at least one pixel and one cell, not {pixels} and {cells}")
    position = ((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5).clip(0, cells - 1)
    lower = position.astype(np.intp)
    upper = np.minimum(lower + 1, cells - 1)
    return lower, upper, (position - lower).astype(np.float32)


def upsample_argmax(scores: Floats, height: int, width: int) -> npt.NDArray[np.int32]:
    """Upsample k score maps to a picture and say which one wins at each pixel, the first of those that tie.

    Works through bands of picture rows, so that memory stays near that of the answer whatever k is.

    Args:
        scores: float32 [rows, cols, k], finite.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        int32 [height, width], values 0 to k - 1: argmax over k of U applied to each score map.

    Raises:
        ValueError: scores are not three-dimensional, or something has no extent.
    """
    if scores.ndim != 3 or scores.size == 0:
        raise ValueError(f"scores are [rows, cols, k] and not empty, got {list(scores.shape)}")
    rows, cols, _ = scores.shape
    maps = np.moveaxis(scores.astype(np.float32, copy=False), 2, 0)
    left, right, along_x = axis_weights(width, cols)
    wide = maps[:, :, left] + along_x * (maps[:, :, right] - maps[:, :, left])  # float32 [k, rows, width]
    above, below, along_y = axis_weights(height, rows)
    winners = np.empty((height, width), dtype=np.int32)
    for band in _bands(height, width):
        winners[band] = _blend_argmax(wide, above[band], below[band], along_y[band, None])
    return winners


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
    count = segments.count
    left, right, along_x = axis_weights(width, cols)
    above, below, along_y = axis_weights(height, rows)
    weights = np.zeros((rows, count, cols))
    for band in _bands(height, max(width, count * cols)):
        lines = _sum_along_x(segments.label_map[band] - 1, count, cols, (left, right, along_x))
        fraction = along_y[band, None, None]
        np.add.at(weights, above[band], lines * (1 - fraction))
        np.add.at(weights, below[band], lines * fraction)
    return np.ascontiguousarray(weights.transpose(1, 0, 2), dtype=np.float32)


def _bands(height: int, row_cost: int) -> Iterator[slice]:
    """Cut rows 0 to height into slices of about `BAND_PIXELS` / row_cost rows, one row at least."""
    step = max(1, BAND_PIXELS // row_cost)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _blend_argmax(wide: Floats, above: Indices, below: Indices, fraction: Floats) -> npt.NDArray[np.int32]:
    """Blend each map's lines above and below, and keep the number of the greatest: int32 [band, width]."""
    best = np.full((len(above), wide.shape[2]), -np.inf, dtype=np.float32)
    winner = np.zeros(best.shape, dtype=np.int32)
    for number, lines in enumerate(wide):
        score = lines[below]
        upper = lines[above]
        score -= upper
        score *= fraction
        score += upper
        np.copyto(winner, number, where=score > best)
        np.maximum(best, score, out=best)
    return winner


def _sum_along_x(
    labels: npt.NDArray[np.int32], count: int, cols: int, taps: tuple[Indices, Indices, Floats]
) -> npt.NDArray[np.float64]:
    """The x half of the adjoint: what each segment gives to each column of cells, line by line.

    Args:
        labels: int32 [band, W], values 0 to count - 1.
        count: S.
        cols: of the grid.
        taps: `axis_weights(W, cols)`.

    Returns:
        float64 [band, S, cols].
    """
    left, right, fraction = taps
    lines = len(labels)
    start = (np.arange(lines)[:, None] * count + labels) * cols  # of each pixel's row of cells in the flat result
    sums = np.zeros(lines * count * cols)
    for cell, weight in ((left, 1 - fraction), (right, fraction)):
        weights = np.broadcast_to(weight, labels.shape).ravel()
        sums += np.bincount((start + cell).ravel(), weights=weights, minlength=sums.size)
    return sums.reshape(lines, count, cols)
