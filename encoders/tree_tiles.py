"""The tree of captions cut into tiles for attention: positions that follow one another, and what they look at.

The nodes of a tree are numbered depth first. So what stands before the nodes of a tile, and is seen by one of them, is
what stands before the first of them in its caption: a tile of 32 nodes needs the keys of the beginning of one caption
and its own, whichever captions its nodes belong to. Every node asks once, and no caption is gathered or padded.
Shapes: m nodes in g tiles of T, M = g T places, k keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.prefixes import Prefixes

TILE = 32
"""Nodes of a tile. With 16 and 64 the whole encoder was as fast in float32, and 5 to 9 % slower in bfloat16."""

DEPTHS = (8, 16, 32, 48)
"""Tiles whose first node stands behind that many positions or fewer are computed together."""

KEYS_MULTIPLE = 8
"""Keys are padded to a multiple: GPUs' kernels want masks in rows of 16 bytes."""


@dataclass(frozen=True)
class TileGroup:
    """Tiles that are computed together.

    Attributes:
        places: which places are theirs, a slice of M whose length is a multiple of T.
        keys: int64 [g, k], places that some node of the tile looks at; padded with any.
        visible: bool [g, T, k], whether a node looks at a key: its caption up to itself.
    """

    places: slice
    keys: NDArray[np.int64]
    visible: NDArray[np.bool_]


@dataclass(frozen=True)
class Tiles:
    """A tree in tiles.

    Attributes:
        nodes: int64 [M], the node at every place; where the tree has no more, the last once again.
        places: int64 [m], the place of every node.
        groups: they cover all places.
    """

    nodes: NDArray[np.int64]
    places: NDArray[np.int64]
    groups: tuple[TileGroup, ...]


def cut_tiles(tree: Prefixes, size: int = TILE) -> Tiles:
    """Cut a tree into tiles of so many nodes, tiles of similar depth side by side."""
    count = len(tree.tokens)
    nodes = np.arange(-(-count // size) * size).reshape(-1, size)  # [g, T]; `count` and more are padding
    depths = tree.positions[nodes[:, 0]]  # [g]
    order = np.argsort(np.searchsorted(DEPTHS, depths), kind="stable")
    nodes, depths = nodes[order], depths[order]
    places = np.argsort(nodes, axis=None)[:count]
    behind = np.append(_ends(tree), 0)  # [m + 1]
    groups = tuple(_group(tree, behind, nodes, tiles, places) for tiles in _similar(depths))
    return Tiles(np.minimum(nodes, count - 1).ravel(), places, groups)


def _similar(depths: NDArray[np.int64]) -> Iterator[slice]:
    """Neighbours of similar depth, from depths [g] in the order of `cut_tiles`."""
    edges = np.flatnonzero(np.diff(np.searchsorted(DEPTHS, depths), prepend=-1, append=-1))
    yield from (slice(start, end) for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _group(
    tree: Prefixes, behind: NDArray[np.int64], nodes: NDArray[np.int64], tiles: slice, places: NDArray[np.int64]
) -> TileGroup:
    """Some of the tiles: a node is seen by those from itself to the last that begins like it."""
    (count, size), nodes = (len(tree.tokens), nodes.shape[1]), nodes[tiles]
    depths = tree.positions[nodes[:, 0]]  # [g]
    before = -(-int(depths.max()) // KEYS_MULTIPLE) * KEYS_MULTIPLE
    beginnings = _beginnings(tree, nodes[:, 0])[:, :before]
    keys = np.full((len(nodes), before + size), count)  # [g, k]; `count` stands for none
    keys[:, : beginnings.shape[1]] = np.where(np.arange(beginnings.shape[1]) < depths[:, None], beginnings, count)
    keys[:, before:] = np.minimum(nodes, count)
    asking = np.minimum(nodes, count - 1)[:, :, None]  # [g, T, 1]
    visible = (keys[:, None] <= asking) & (asking < behind[keys][:, None])
    there = slice(tiles.start * size, tiles.stop * size)
    return TileGroup(there, places[np.minimum(keys, count - 1)], visible)


def _beginnings(tree: Prefixes, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The nodes of a caption through each of some nodes: int64 [g, l]."""
    return tree.nodes[np.searchsorted(_ends_of_rows(tree), nodes, side="right")]


def _ends(tree: Prefixes) -> NDArray[np.int64]:
    """Behind the last node that begins like each node: int64 [m]."""
    inside = np.arange(tree.nodes.shape[1]) < tree.lengths[:, None]
    last = np.zeros(len(tree.tokens), np.int64)
    last[tree.nodes[inside]] = np.nonzero(inside)[0]  # rows in order, so that the last stays
    return _ends_of_rows(tree)[last]


def _ends_of_rows(tree: Prefixes) -> NDArray[np.int64]:
    """How many nodes the captions up to each one have together: int64 [n]."""
    return tree.fresh.sum(axis=1).cumsum()
