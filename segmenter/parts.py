"""A picture in a fixed number of parts, and the order in which parts belong together.

The first two steps of P. Rewatbowornwong, N. Chatthee, E. Chuangsuwanich and S. Suwajanakorn, "Zero-guidance
Segmentation Using Zero Segment Labels", ICCV 2023, arXiv 2303.13396: agglomerative clustering into 20 parts, then a
binary tree of merges, which its naming climbs from the leaves. Ours merges any parts that touch instead, see
`labeler.zero_guidance`; whoever wants the paper's tree has it in `merge_tree`.
"""

import numpy as np
import numpy.typing as npt

from segmenter.pool import unit_rows
from segmenter.segments import Segments

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]


def agglomerate(features: Floats, parts: int) -> Integers:
    """Cluster the cells of a picture by average linkage on cosines, wherever they lie.

    Args:
        features: float32 [rows, cols, C], finite.
        parts: clusters to end with, >= 1.

    Returns:
        integer [rows, cols], the part of each cell: 0 to k - 1 by first appearance, k = min(parts, rows * cols).
    """
    from scipy.sparse import coo_array  # not loaded for --help
    from scipy.sparse.csgraph import connected_components

    rows, cols, channels = features.shape
    count = rows * cols
    merges = merge_tree(features.reshape(count, channels))[: max(0, count - parts)]
    nodes = count + np.arange(len(merges))
    edges = np.ones(2 * len(merges)), (merges.T.ravel(), np.tile(nodes, 2))
    graph = coo_array(edges, shape=(count + len(merges),) * 2)
    _, owner = connected_components(graph, directed=False)
    _, first, which = np.unique(owner[:count], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which].reshape(rows, cols)


def merge_tree(vectors: Floats) -> Integers:
    """The binary tree of average linkage on cosines: which two belong together most, then next, up to the whole.

    Zero-guidance builds its tree by lowering a threshold step by step; this is the same with steps so small that each
    merges two. For the tree of a picture's parts, give the mean features of its segments, as
    `embed_segments(picture, segments, patch_features)` returns them: row i is segment i + 1.

    >>> merge_tree(np.array([[1, 0], [0, 1], [0.1, 1]], dtype=np.float32)).tolist()
    [[1, 2], [0, 3]]

    Args:
        vectors: float32 [n, C], finite; rows of zeros are alike to nothing.

    Returns:
        integer [n - 1, 2], children of the nodes n, n + 1, ..., the smaller number first, children before their parents
        and the most alike first. Nodes 0 to n - 1 are the vectors; the last one is the whole.
    """
    from scipy.cluster.hierarchy import linkage  # not loaded for --help
    from scipy.spatial.distance import squareform

    if len(vectors) < 2:
        return np.zeros((0, 2), dtype=np.intp)
    rows = unit_rows(vectors)
    distance = (1 - rows @ rows.T).astype(np.float64)
    upper = squareform(distance, checks=False)  # of the two roundings of each product, one
    return np.sort(linkage(upper, method="average")[:, :2].astype(np.intp), axis=1)


def neighbours(segments: Segments) -> tuple[Integers, npt.NDArray[np.int64]]:
    """Which segments touch along an edge of two pixels, and for how long.

    >>> from segmenter.segments import relabel
    >>> pairs, lengths = neighbours(relabel(np.array([[1, 1, 2], [3, 3, 2]])))
    >>> pairs.tolist(), lengths.tolist()
    ([[1, 2], [1, 3], [2, 3]], [1, 2, 1])

    Returns:
        pairs, integer [P, 2], numbers of segments from 1, the lower first, ascending; lengths, int64 [P], the edges
        between pixels that each pair shares.
    """
    label_map = segments.label_map
    sides = (label_map[:, :-1], label_map[:, 1:]), (label_map[:-1], label_map[1:])
    base = segments.count + 1
    shared = np.zeros(base * base, dtype=np.int64)
    for one, other in sides:
        differs = one != other
        low, high = np.minimum(one[differs], other[differs]), np.maximum(one[differs], other[differs])
        shared += np.bincount(low * base + high, minlength=base * base)
    codes = np.flatnonzero(shared)
    return np.stack(np.divmod(codes, base), axis=1), shared[codes]
