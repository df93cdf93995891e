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
        lower and upper, both integer [pixels] with values 0 to cells - 1; fraction, float32 [pixels], 0 to 1;
        it is 1 where rounding puts a pixel just before the cell that it lies on.
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
    for band in bands(height, width):
        winners[band] = _blend_argmax(wide, above[band], below[band], along_y[band, None])
    return winners


def upsample(values: Floats, height: int, width: int) -> Floats:
    """U applied to each of k maps, all kept, which takes k times a picture's memory.

    Args:
        values: float32 [rows, cols, k].
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        float32 [height, width, k].

    Raises:
        ValueError: an axis without pixels or cells.
    """
    left, right, along_x = axis_weights(width, values.shape[1])
    above, below, along_y = axis_weights(height, values.shape[0])
    wide = values[:, left] + along_x[:, None] * (values[:, right] - values[:, left])  # float32 [rows, width, k]
    lower: Floats = wide[below] - wide[above]
    lower *= along_y[:, None, None]
    lower += wide[above]
    return lower


def nearest_labels(label_map: npt.NDArray[np.int32], height: int, width: int) -> npt.NDArray[np.int32]:
    """Labels of a resized picture for the picture itself: each pixel takes the one that its centre falls into.

    >>> nearest_labels(np.array([[1, 2]], dtype=np.int32), 2, 4).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]

    Args:
        label_map: int32 [h, w].
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Returns:
        int32 [height, width]; the label map itself if it has that size.
    """
    if label_map.shape == (height, width):
        return label_map
    rows, cols = (
        (np.arange(to) * 2 + 1) * of // (2 * to) for to, of in zip((height, width), label_map.shape, strict=True)
    )
    return label_map.take(cols, axis=1).take(rows, axis=0)


def bands(height: int, row_cost: int) -> Iterator[slice]:
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
