"""An adaptive number of regions: neighbouring cells merge, most alike first, until nothing alike is left.

Agglomeration by average linkage on a graph: the similarity of two regions is the mean cosine over all pairs of their
cells, and only regions that touch may merge. It goes in rounds. In each, every two neighbours of which each is the
other's most similar one merge, all such pairs at once; F. Murtagh, "A survey of recent advances in hierarchical
clustering algorithms", The Computer Journal 26 (1983), calls them reciprocal nearest neighbours. Where all regions
touch, this ends as one merge at a time does, because a merge never makes a third region more alike than it was to the
better half. On a grid that can happen, where only one half touches the third, so there the rounds are the definition.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segmenter.config import SegmentConfig
from segmenter.pool import unit_rows

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

SURE = 0.95  # regions of a higher mean cosine are one, however alike everything else is: a clear sky stays whole
ANY_SIZE = np.iinfo(np.int64).max


def tree_regions(features: Floats, config: SegmentConfig) -> Integers:
    """Merge neighbouring cells that are alike, for the features of one picture.

    What counts as alike depends on the network, whose cosines may all be high, and on the picture. So similarity is
    measured from the mean cosine of any two cells of the picture (0) to equality (1), and 0.25 means the same for all.

    Regions that do not touch may be one thing: the sky left and right of a tower. They merge last, when regions are
    large enough for their means to be trusted, by the same measure.

    Args:
        features: float32 [rows, cols, C], finite.
        config: `alike`, `min_cells`, `max_regions` and `join_apart`.

    Returns:
        integer [rows, cols], the region of each cell: 0 to k - 1 by first appearance, k <= `max_regions`.
    """
    rows, cols, channels = features.shape
    cells = unit_rows(features).reshape(-1, channels)
    if not cells.any():  # nothing to tell places apart by
        return np.zeros((rows, cols), dtype=np.intp)
    mean = cells.mean(axis=0, dtype=np.float64)
    anything = float(mean @ mean)  # the mean cosine over all pairs of cells
    alike = min(anything + config.alike * (1 - anything), SURE)
    graph = Graph.of_cells(cells, touching(rows, cols))
    graph.merge(alike=alike)
    graph.merge(smaller_than=config.min_cells)
    if config.join_apart:
        graph.connect_all()
        graph.merge(alike=alike)
    graph.merge(at_least=config.max_regions)
    return np.unique(graph.owner, return_inverse=True)[1].reshape(rows, cols)


@dataclass
class Graph:
    """Regions that merge. A region is known by the number of its first cell.

    Attributes:
        owner: int64 [N], the region of each cell.
        sizes: int64 [N], cells of each region.
        sums: float32 [N, C], sum of the unit features of each region's cells.
        pairs: int64 [E, 2], regions that touch; lower number first, none twice.
        similarity: float32 [E], mean cosine over all pairs of cells of such two regions.
    """

    owner: Integers
    sizes: Integers
    sums: Floats
    pairs: Integers
    similarity: Floats

    @classmethod
    def of_cells(cls, cells: Floats, pairs: Integers) -> "Graph":
        """Every cell is a region of its own.

        Args:
            cells: float32 [N, C], unit rows; rows of zeros are alike to nothing.
            pairs: int64 [E, 2], which cells touch; lower number first, none twice.
        """
        from segmenter.merging_rounds import compare  # not loaded for --help

        owner, sizes = np.arange(len(cells), dtype=np.int64), np.ones(len(cells), np.int64)
        return cls(owner, sizes, cells.copy(), pairs.copy(), compare(cells, sizes, pairs))

    def connect_all(self) -> None:
        """From now on all regions touch."""
        from segmenter.merging_rounds import compare  # not loaded for --help

        roots = np.flatnonzero(self.owner == np.arange(len(self.owner)))
        first, second = np.triu_indices(len(roots), 1)
        self.pairs = np.stack([roots[first], roots[second]], axis=1)
        self.similarity = compare(self.sums, self.sizes, self.pairs)

    def merge(self, *, alike: float = -np.inf, smaller_than: int = ANY_SIZE, at_least: int = 1) -> None:
        """Merge neighbours for as long as there are some that may; see `merging_rounds.merge_rounds`.

        Args:
            alike: the least similarity of two that merge.
            smaller_than: cells; one of the two must have fewer.
            at_least: regions at which to stop.
        """
        from segmenter.merging_rounds import merge_rounds  # not loaded for --help

        regions, bounds = (self.owner, self.sizes, self.sums), (float(alike), smaller_than, at_least)
        left = merge_rounds(regions, self.pairs, self.similarity, bounds)
        self.pairs, self.similarity = self.pairs[:left], self.similarity[:left]


def touching(rows: int, cols: int) -> Integers:
    """Which cells of a grid share an edge. Corners in addition double the work and measure no better.

    >>> touching(2, 2).tolist()
    [[0, 1], [0, 2], [1, 3], [2, 3]]

    Returns:
        [E, 2], cells counted row by row; lower number first, ascending.
    """
    cells = np.arange(rows * cols).reshape(rows, cols)
    across = np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], axis=1)
    down = np.stack([cells[:-1].ravel(), cells[1:].ravel()], axis=1)
    pairs = np.concatenate([across, down])
    return pairs[np.lexsort(pairs.T[::-1])]
