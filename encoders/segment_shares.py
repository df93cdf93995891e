"""What encoders that look at segments expect to be told about them."""

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-4  # shares come from sums of float32


def checked_shares(weights: NDArray[np.float32], grid: tuple[int, int]) -> NDArray[np.float32]:
    """Segments on a network's grid, cells in one row.

    Args:
        weights: float32 [S, rows, cols], 0 to 1: the share of each cell that belongs to each segment.
        grid: (rows, cols) of the network.

    Returns:
        float32 [S, rows * cols].

    Raises:
        ValueError: the weights are for another grid, out of range, or a segment has none.
    """
    if weights.ndim != 3 or weights.shape[1:] != grid or not len(weights):
        raise ValueError(
            f"weights are {list(weights.shape)}, expected [S, {grid[0]}, {grid[1]}] with at least 1 segment"
        )
    if not (weights.min() >= 0 and weights.max() <= 1 + ROUNDING):
        raise ValueError(f"weights lie between {weights.min()} and {weights.max()}, expected shares of 0 to 1")
    empty = np.flatnonzero(weights.max(axis=(1, 2)) <= 0)
    if len(empty):
        raise ValueError(f"segment {empty[0]} has no share of any cell; leave empty segments out")
    return np.ascontiguousarray(weights.reshape(len(weights), -1), dtype=np.float32)
