"""One vector per segment, from vectors per cell."""

import numpy as np
import numpy.typing as npt

from segmenter.grid import grid_weights
from segmenter.segments import Segments

SAFE = 1e-20, 1e30
"""Squared lengths between which single precision rounds squares, and loses none."""


def pool_by_segment(dense: npt.NDArray[np.float32], segments: Segments) -> npt.NDArray[np.float32]:
    """The mean, over each segment's pixels, of the dense vectors upsampled to pixels, as a unit row.

    TAG's released code lifts the vectors to pixels for this, more than half a gigabyte per picture, and divides by
    zero where a segment is empty. Here the masks come down to the grid instead, through the adjoint of the
    upsampling: (U d) . m = d . (U^T m). The numbers are the same, and `Segments` are never empty.

    Args:
        dense: float32 [rows, cols, D], finite; a grid that covers the whole picture evenly. Vectors are averaged at
            the lengths they come with.
        segments: S segments of a picture of any size.

    Returns:
        float32 [S, D], unit rows; a row of zeros where the mean is zero and so has no direction.

    Raises:
        ValueError: dense is not three-dimensional, or is empty.
    """
    if dense.ndim != 3 or dense.size == 0:
        raise ValueError(f"dense vectors are [rows, cols, D] and not empty, got {list(dense.shape)}")
    rows, cols, channels = dense.shape
    weights = grid_weights(segments, rows, cols).reshape(segments.count, rows * cols)
    weights /= segments.areas[:, None]  # now each segment's sum to 1
    means: npt.NDArray[np.float32] = weights @ dense.reshape(rows * cols, channels)
    return unit_rows(means)


def unit_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors scaled to length 1 along the last axis.

    >>> unit_rows(np.array([[3, 4], [0, 0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]

    Args:
        vectors: float [..., D], finite, of any width.

    Returns:
        float32 [..., D]; zeros stay zeros.
    """
    if vectors.dtype != np.float64:  # in float16, as an index has them, lengths would be wrong by a thousandth
        vectors = vectors.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        squares = np.vecdot(vectors, vectors)[..., None]
    if squares.min(initial=1) > SAFE[0] and squares.max(initial=1) < SAFE[1]:
        return (vectors / np.sqrt(squares)).astype(np.float32, copy=False)
    # Scaled by the largest entry first, whose square can neither overflow nor vanish.
    largest = np.abs(vectors).max(axis=-1, keepdims=True, initial=0)
    scaled: npt.NDArray[np.float32] = (vectors / np.where(largest > 0, largest, 1)).astype(np.float32)
    length = np.linalg.norm(scaled, axis=-1, keepdims=True)
    scaled /= np.where(length > 0, length, 1)
    return scaled
