"""Captions that begin alike, as one tree: what a causal tower computes for a beginning, it need compute only once.

In causal attention a position sees itself and what stands before it, so its hidden state is a function of the
beginning of the caption up to it. Sorted captions are a depth-first walk of the tree of their beginnings: what a
caption has in common with the one before it, it has in common with all captions that share that beginning.
Shapes: n captions of at most l tokens, m nodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prefixes:
    """The distinct beginnings of some captions.

    Attributes:
        tokens: int64 [m], last token of each beginning.
        positions: int64 [m], where it stands, from 0.
        nodes: int64 [n, l], the node of every position of every caption; 0 behind a caption's end.
        fresh: bool [n, l], the first place in `nodes` where a node occurs: every node once, in order.
        lengths: int64 [n], positions of each caption.
    """

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    nodes: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    lengths: NDArray[np.int64]

    @property
    def ends(self) -> NDArray[np.int64]:
        """The node of each caption's last position, int64 [n]."""
        return self.nodes[np.arange(len(self.nodes)), self.lengths - 1]


def sorted_rows(tokens: NDArray[np.signedinteger[Any]]) -> NDArray[np.int64]:
    """The order of captions in a dictionary of token numbers: int64 [n], from tokens [n, context]."""
    big_endian = np.ascontiguousarray(tokens, ">u4")  # bytes compare as the numbers do
    return np.argsort(big_endian.view(f"S{4 * tokens.shape[1]}")[:, 0], kind="stable")


def shared_lengths(tokens: NDArray[np.signedinteger[Any]], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many positions each caption has in common with the one before it, int64 [n].

    Args:
        tokens: int64 or int32 [n, context].
        lengths: int64 [n], positions that count.

    >>> shared_lengths(np.array([[1, 5, 2], [1, 5, 6], [1, 7, 2]]), np.array([3, 3, 3])).tolist()
    [0, 2, 1]
    """
    shared = np.zeros(len(tokens), np.int64)
    if len(tokens):
        alike = np.logical_and.accumulate(tokens[1:] == tokens[:-1], axis=1).sum(axis=1)
        shared[1:] = np.minimum(alike, np.minimum(lengths[1:], lengths[:-1]))
    return shared


def tree_batches(lengths: NDArray[np.int64], shared: NDArray[np.int64], budget: int) -> Iterator[slice]:
    """Neighbours in batches of at most `budget` nodes (or a single caption).

    >>> list(tree_batches(np.array([3, 3, 3, 3]), np.array([0, 2, 1, 0]), budget=4))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    start = nodes = 0
    for row, (length, own) in enumerate(zip(lengths.tolist(), (lengths - shared).tolist(), strict=True)):
        if row > start and nodes + own > budget:
            yield slice(start, row)
            start = row
        nodes = length if row == start else nodes + own
    if start < len(lengths):
        yield slice(start, len(lengths))


def find_prefixes(tokens: NDArray[np.int64], lengths: NDArray[np.int64]) -> Prefixes:
    """The tree of sorted captions.

    Args:
        tokens: int64 [n, context], n at least 1, in the order of `sorted_rows`.
        lengths: int64 [n], positions that count, at least 1.
    """
    longest = int(lengths.max())
    tokens = tokens[:, :longest]
    shared = shared_lengths(tokens, lengths)
    place = np.arange(longest)
    inside = place < lengths[:, None]
    fresh = inside & (place >= shared[:, None])
    rows, positions = np.nonzero(fresh)
    numbers = np.where(fresh, np.cumsum(fresh).reshape(fresh.shape) - 1, 0)
    nodes = np.maximum.accumulate(numbers, axis=0) * inside  # a shared beginning was met last in the rows above
    return Prefixes(tokens[rows, positions], positions, nodes, fresh, lengths)
