"""Regions by merging, and the order of parts, against slow, obvious twins."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from segmenter import Regions, SegmentConfig, Segments, merge_tree, neighbours, relabel
from segmenter.parts import agglomerate
from segmenter.tree import SURE, Graph, touching, tree_regions

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]
Region = list[int]  # its cells
Pair = tuple[int, int]


def unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def config(**changes: float) -> SegmentConfig:
    return SegmentConfig(regions=Regions.TREE, **changes)


def slow_touching(rows: int, cols: int) -> set[Pair]:
    found = set()
    for y in range(rows):
        for x in range(cols):
            for below, right in ((0, 1), (1, 0)):
                if y + below < rows and x + right < cols:
                    found.add((y * cols + x, (y + below) * cols + x + right))
    return found


class SlowGraph:
    """Regions as lists of cells, similarity as a mean over all pairs of cells, rounds by the letter."""

    def __init__(self, cells: Floats, touching: set[Pair]) -> None:
        self.cosines = cells.astype(np.float64) @ cells.astype(np.float64).T
        self.regions: list[Region] = [[cell] for cell in range(len(cells))]
        self.touching = touching
        self.everything_touches = False

    def similarity(self, one: Region, other: Region) -> float:
        return float(np.mean([self.cosines[a, b] for a in one for b in other]))

    def touch(self, one: Region, other: Region) -> bool:
        return self.everything_touches or any((min(a, b), max(a, b)) in self.touching for a in one for b in other)

    def pairs(self, allowed: Callable[[Region, Region, float], bool]) -> list[tuple[float, int, int]]:
        """What may merge, the most similar first, then the pair of the lowest first cells."""
        self.regions.sort()
        found = []
        for i, one in enumerate(self.regions):
            for j, other in enumerate(self.regions[i + 1 :], start=i + 1):
                if self.touch(one, other) and allowed(one, other, similarity := self.similarity(one, other)):
                    found.append((-similarity, i, j))
        return sorted(found)

    def merge(self, allowed: Callable[[Region, Region, float], bool], at_least: int, *, singly: bool = False) -> None:
        while len(self.regions) > at_least and (pairs := self.pairs(allowed)):
            first: dict[int, Pair] = {}
            for _, i, j in pairs:
                first.setdefault(i, (i, j))
                first.setdefault(j, (i, j))
            chosen = [(i, j) for _, i, j in pairs if first[i] == first[j] == (i, j)]
            for i, j in chosen[: 1 if singly else len(self.regions) - at_least]:
                self.regions[i] = sorted(self.regions[i] + self.regions[j])
                self.regions[j] = []
            self.regions = [region for region in self.regions if region]

    def owners(self) -> Integers:
        owner = np.zeros(len(self.cosines), dtype=np.intp)
        for number, region in enumerate(sorted(self.regions)):
            owner[region] = number
        return owner


def slow_tree(features: Floats, settings: SegmentConfig) -> Integers:
    rows, cols, channels = features.shape
    cells = unit(features.reshape(-1, channels))
    graph = SlowGraph(cells, slow_touching(rows, cols))
    anything = graph.cosines.mean()
    alike = min(anything + settings.alike * (1 - anything), SURE)
    graph.merge(lambda _, __, similarity: similarity >= alike, 1)
    graph.merge(lambda one, other, _: min(len(one), len(other)) < settings.min_cells, 1)
    if settings.join_apart:
        graph.everything_touches = True
        graph.merge(lambda _, __, similarity: similarity >= alike, 1)
    graph.merge(lambda *_: True, settings.max_regions)
    return graph.owners().reshape(rows, cols)


@pytest.mark.parametrize(
    "changes",
    [
        {"alike": 0.1},
        {"alike": 0.3, "join_apart": False},
        {"alike": 0.6, "min_cells": 1, "max_regions": 255},
        {"alike": 0.9, "min_cells": 1, "join_apart": False},
        {"alike": 1.0, "min_cells": 1, "max_regions": 5},
        {"alike": 1.0, "min_cells": 3, "max_regions": 2, "join_apart": False},
        {"alike": 0.0, "min_cells": 1, "max_regions": 1},
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_against_the_slow_tree(changes: dict[str, float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    fields = rng.standard_normal((4, 6))[rng.integers(4, size=(4, 5))].repeat(2, axis=0)  # [8, 5, 6]
    features = (fields + 0.7 * rng.standard_normal(fields.shape) + 0.5).astype(np.float32)
    settings = config(**changes)
    np.testing.assert_array_equal(tree_regions(features, settings), slow_tree(features, settings))


@given(st.integers(1, 5), st.integers(1, 5), st.floats(0, 1), st.integers(1, 4), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_ties_go_to_the_first(rows: int, cols: int, alike: float, least: int, seed: int) -> None:
    """Unit features with whole numbers: cosines are 0 or 1, so that nearly everything ties."""
    kinds = np.random.default_rng(seed).integers(3, size=(rows, cols))
    features = np.eye(4, dtype=np.float32)[kinds]
    graph = Graph.of_cells(features.reshape(-1, 4), touching(rows, cols))
    slow = SlowGraph(features.reshape(-1, 4), slow_touching(rows, cols))
    graph.merge(alike=alike)
    slow.merge(lambda _, __, similarity: similarity >= alike, 1)
    graph.merge(smaller_than=least, at_least=2)
    slow.merge(lambda one, other, _: min(len(one), len(other)) < least, 2)
    np.testing.assert_array_equal(np.unique(graph.owner, return_inverse=True)[1], slow.owners())


@pytest.mark.parametrize("alike", [-0.2, 0.0, 0.2, 0.5])
def test_where_all_touch_rounds_are_average_linkage(alike: float) -> None:
    """Three ways to one partition: rounds, one merge at a time, SciPy."""
    cells = unit(np.random.default_rng(1).standard_normal((40, 4)))
    complete = {(i, j) for i in range(40) for j in range(i + 1, 40)}
    graph = Graph.of_cells(cells, np.array(sorted(complete)))
    graph.merge(alike=alike)
    mine = np.unique(graph.owner, return_inverse=True)[1]
    slow = SlowGraph(cells, complete)
    slow.merge(lambda _, __, similarity: similarity >= alike, 1, singly=True)
    np.testing.assert_array_equal(mine, slow.owners())
    distance = np.maximum(1 - cells @ cells.T, 0)
    tree = linkage(squareform(distance, checks=False), method="average")
    clusters = fcluster(tree, 1 - alike, criterion="distance")
    np.testing.assert_array_equal(relabel(mine[None]).label_map, relabel(clusters[None]).label_map)


def test_what_touches() -> None:
    for rows, cols in ((1, 1), (1, 4), (3, 1), (4, 5)):
        assert [tuple(pair) for pair in touching(rows, cols)] == sorted(slow_touching(rows, cols))


def test_planted_regions_come_back_and_apart_ones_join() -> None:
    """Sky, tower, sky: five columns of sky are two regions, or one."""
    kinds = np.array([[0, 0, 1, 0, 0]] * 4)
    features = np.eye(2, dtype=np.float32)[kinds] + 0.3
    np.testing.assert_array_equal(tree_regions(features, config()), kinds)
    apart = tree_regions(features, config(join_apart=False))
    np.testing.assert_array_equal(apart, [[0, 0, 1, 2, 2]] * 4)


def test_a_small_region_joins_its_likest_neighbour() -> None:
    features = np.zeros((4, 6, 3), dtype=np.float32)
    features[:, :3], features[:, 3:] = [1, 0, 0], [0, 1, 0]
    features[1, 2] = [0.3, 0.4, 1]  # in the first region, but nearer to the second
    regions = tree_regions(features, config(min_cells=2))
    assert regions.max() == 1
    assert regions[1, 2] == regions[1, 3]
    assert tree_regions(features, config(min_cells=1)).max() == 2


def test_a_plain_picture_is_one_region() -> None:
    noise = np.random.default_rng(0).standard_normal((12, 16, 32)).astype(np.float32)
    assert tree_regions(1 + 0.2 * noise, config()).max() == 0
    assert tree_regions(np.zeros((20, 9, 3), dtype=np.float32), config()).max() == 0
    assert tree_regions(np.ones((1, 1, 3), dtype=np.float32), config()).shape == (1, 1)


def test_bounds_hold() -> None:
    noise = np.random.default_rng(0).standard_normal((16, 20, 24)).astype(np.float32)
    for least, most in ((1, 32), (4, 255), (6, 7), (1, 1)):
        regions = tree_regions(noise, config(alike=1.0, min_cells=least, max_regions=most))
        sizes = np.bincount(regions.ravel())
        assert len(sizes) <= most
        assert sizes.min() >= least
        assert list(np.unique(regions, return_index=True)[1]) == sorted(np.unique(regions, return_index=True)[1])


def slow_average_linkage(vectors: Floats, clusters: int) -> tuple[list[Pair], Integers]:
    """One merge at a time: the children of every node, and who owns each vector at some number of clusters."""
    cosines = unit(vectors).astype(np.float64) @ unit(vectors).astype(np.float64).T
    nodes = {number: [number] for number in range(len(vectors))}
    children: list[Pair] = []
    owner = np.arange(len(vectors))
    while len(nodes) > 1:
        _, one, other = max(
            (np.mean(cosines[np.ix_(nodes[a], nodes[b])]), -a, -b) for a in nodes for b in nodes if a < b
        )
        pair = -one, -other
        children.append(pair)
        nodes[len(vectors) + len(children) - 1] = nodes.pop(pair[0]) + nodes.pop(pair[1])
        if len(nodes) == clusters:
            for node, members in nodes.items():
                owner[members] = node
    return children, owner


@pytest.mark.parametrize("parts", [1, 5, 20, 48])
def test_parts_and_their_tree_against_one_merge_at_a_time(parts: int) -> None:
    features = np.random.default_rng(parts).standard_normal((6, 8, 5)).astype(np.float32)
    children, owner = slow_average_linkage(features.reshape(48, 5), parts)
    np.testing.assert_array_equal(merge_tree(features.reshape(48, 5)), children)
    found = agglomerate(features, parts)
    assert len(np.unique(found)) == parts
    np.testing.assert_array_equal(found + 1, relabel(owner.reshape(6, 8)).label_map)


def test_more_parts_than_cells_and_one_vector() -> None:
    features = np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(agglomerate(features, 20), [[0, 1], [2, 3]])
    assert merge_tree(features[0, :1]).shape == (0, 2)
    assert merge_tree(np.zeros((3, 2), dtype=np.float32)).shape == (2, 2)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_neighbours_against_a_walk(height: int, width: int, seed: int) -> None:
    segments: Segments = relabel(np.random.default_rng(seed).integers(4, size=(height, width)))
    counts: dict[Pair, int] = {}
    labels = segments.label_map.ravel().tolist()
    for here, there in slow_touching(height, width):
        pair = min(labels[here], labels[there]), max(labels[here], labels[there])
        if pair[0] != pair[1]:
            counts[pair] = counts.get(pair, 0) + 1
    pairs, lengths = neighbours(segments)
    assert {tuple(pair): length for pair, length in zip(pairs.tolist(), lengths.tolist(), strict=True)} == counts
    assert pairs.tolist() == sorted(pairs.tolist())
