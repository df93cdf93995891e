"""Figures in which a word counts for every class a little, as far as the two mean the same."""

import numpy as np
from numpy.typing import NDArray


def soft_jaccard(pixels: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The soft Jaccard index of the classes of one picture: SJI of vicss (arXiv 2404.10864).

    With A[n, c] pixels of segment n on class c and w the weights, for each class c that stands in the picture:

        intersection = sum_n w[n, c] A[n, c]
        union        = sum_n w[n, c] sum_k A[n, k]  +  sum_n A[n, c]  -  intersection

    Args:
        pixels: int64 [S, C], pixels of each segment on each class.
        weights: float32 [S, C], 0 to 1, how far each segment's word means each class.

    Returns:
        float64 [C], 0 to 1; NaN for a class that the picture does not have.

    >>> pixels = np.array([[6, 2], [0, 2]])
    >>> soft_jaccard(pixels, np.array([[1.0, 0.0], [0.5, 1.0]], np.float32)).round(3).tolist()
    [0.667, 0.5]
    """
    areas = pixels.sum(axis=1, keepdims=True)
    true = pixels.sum(axis=0).astype(np.float64)
    intersection = (weights * pixels).sum(axis=0, dtype=np.float64)
    union = (weights * areas).sum(axis=0, dtype=np.float64) + true - intersection
    return np.divide(intersection, union, out=np.full(len(true), np.nan), where=true > 0)
