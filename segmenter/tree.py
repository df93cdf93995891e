"""An adaptive number of regions: neighbouring cells merge, most alike first, until nothing alike is left.

Agglomeration by average linkage on a graph: the similarity of two regions is the mean cosine over all pairs of their
cells, and only regions that touch may merge. It goes in rounds. In each, every two neighbours of which each is the
other's most similar one merge, all such pairs at once; F. Murtagh, "A survey of recent advances in hierarchical
clustering algorithms", The Computer Journal 26 (1983), calls them reciprocal nearest neighbours. Where all regions
touch, this ends as one merge at a time does, because a merge never makes a third region more alike than it was to the
better half. On a grid that can happen, where only one half touches the third, so there the rounds are the definition.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segmenter.config import SegmentConfig
from segmenter.pool import unit_rows

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

SURE = 0.95  # regions of a higher mean cosine are one, however alike everything else is: a clear sky stays whole
CHUNK_VALUES = 1 << 17  # features compared at a time: what a processor's cache holds


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
    merge_alike(graph, lambda graph: graph.similarity >= alike)
    merge_alike(graph, lambda graph: graph.sizes[graph.pairs].min(axis=1) < config.min_cells)
    if config.join_apart:
        graph.connect_all()
        merge_alike(graph, lambda graph: graph.similarity >= alike)
    merge_alike(graph, lambda graph: np.ones(len(graph.pairs), dtype=bool), at_least=config.max_regions)
    return np.unique(graph.owner, return_inverse=True)[1].reshape(rows, cols)


@dataclass
class Graph:
    """Regions that merge. A region is known by the number of its first cell.

    Attributes:
        owner: [N], the region of each cell.
        sizes: int64 [N], cells of each region.
        sums: float32 [N, C], sum of the unit features of each region's cells.
        pairs: [E, 2], regions that touch; lower number first, ascending, none twice.
        similarity: float32 [E], mean cosine over all pairs of cells of such two regions.
    """

    owner: Integers
    sizes: npt.NDArray[np.int64]
    sums: Floats
    pairs: Integers
    similarity: Floats

    @classmethod
    def of_cells(cls, cells: Floats, pairs: Integers) -> "Graph":
        """Every cell is a region of its own.

        Args:
            cells: float32 [N, C], unit rows; rows of zeros are alike to nothing.
            pairs: [E, 2], which cells touch; lower number first, ascending, none twice.
        """
        count = len(cells)
        graph = cls(np.arange(count), np.ones(count, np.int64), cells.copy(), pairs, np.zeros(0, np.float32))
        graph.similarity = graph.compare(pairs)
        return graph

    @property
    def roots(self) -> Integers:
        """[R], the regions that are left, ascending."""
        return np.flatnonzero(self.owner == np.arange(len(self.owner)))

    def compare(self, pairs: Integers) -> Floats:
        """Mean cosine over all pairs of cells of two regions: [P, 2] -> float32 [P]."""
        means = np.empty(len(pairs), dtype=np.float32)
        step = max(1, CHUNK_VALUES // self.sums.shape[1])
        for start in range(0, len(pairs), step):
            first, second = pairs[start : start + step].T
            products = np.vecdot(self.sums.take(first, axis=0), self.sums.take(second, axis=0))
            means[start : start + step] = products / (self.sizes[first] * self.sizes[second])
        return means

    def connect_all(self) -> None:
        """From now on all regions touch."""
        roots = self.roots
        first, second = np.triu_indices(len(roots), 1)
        self.pairs = np.stack([roots[first], roots[second]], axis=1)
        self.similarity = self.compare(self.pairs)

    def merge(self, chosen: Integers) -> None:
        """Merge pairs of regions, none of which is in two pairs; the lower number stays.

        Args:
            chosen: [M, 2], lower number first.
        """
        kept, gone = chosen[:, 0], chosen[:, 1]
        self.sums[kept] += self.sums[gone]
        self.sizes[kept] += self.sizes[gone]
        becomes = np.arange(len(self.owner))
        becomes[gone] = kept
        self.owner = becomes[self.owner]
        changed = np.zeros(len(self.owner), dtype=bool)
        changed[chosen] = True
        self._reconnect(becomes, changed)

    def _reconnect(self, becomes: Integers, changed: Flags) -> None:
        """Pairs after a merge: those of changed regions are renamed, made unique and compared again."""
        touched = changed[self.pairs[:, 0]] | changed[self.pairs[:, 1]]
        code = np.array([len(becomes), 1])
        renamed = np.sort(becomes[self.pairs[touched]], axis=1)
        codes = np.unique(renamed[renamed[:, 0] != renamed[:, 1]] @ code)
        fresh = np.stack(np.divmod(codes, len(becomes)), axis=1)
        pairs = np.concatenate([self.pairs[~touched], fresh])
        similarity = np.concatenate([self.similarity[~touched], self.compare(fresh)])
        order = np.argsort(pairs @ code)
        self.pairs, self.similarity = pairs[order], similarity[order]


def merge_alike(graph: Graph, allowed: Callable[[Graph], Flags], at_least: int = 1) -> None:
    """Merge reciprocal nearest neighbours in rounds, for as long as there are pairs that may merge.

    Of equally similar pairs the first counts as more similar, so that nothing is left to chance and the most similar
    pair of all is always reciprocal.

    Args:
        graph: changed in place.
        allowed: which of the graph's pairs may merge, bool [E]; only these count as neighbours.
        at_least: regions at which to stop; of the last round, the most similar pairs merge.
    """
    spare = len(graph.roots) - at_least
    while spare > 0:
        may = np.flatnonzero(allowed(graph))
        if may.size == 0:
            return
        may = may[np.argsort(-graph.similarity[may], kind="stable")]  # the most similar first
        chosen = graph.pairs[may][_reciprocal(graph.pairs[may], len(graph.owner))][:spare]
        graph.merge(chosen)
        spare -= len(chosen)


def _reciprocal(pairs: Integers, count: int) -> Flags:
    """Which pairs, given best first, are the best of both their regions: bool [E]."""
    place = np.arange(len(pairs))
    best = np.full(count, len(pairs))
    np.minimum.at(best, pairs, place[:, None])
    return (best[pairs] == place[:, None]).all(axis=1)


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
