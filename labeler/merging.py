"""Segments that are one thing: those of one name that touch, and those that Zero-guidance finds alike."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from labeler.concept_space import NOT_SAID
from labeler.labeled import LabeledImage
from labeler.labels import Label
from segmenter import Segments

Node = TypeVar("Node")
Pairs = NDArray[np.int64]
Groups = NDArray[np.int64]


def merge_equal(words: Groups, pairs: Pairs) -> Groups:
    """Put segments of one word together where they touch, directly or through others of that word.

    >>> merge_equal(np.array([7, 3, 7, 7]), np.array([[0, 1], [1, 2], [2, 3]])).tolist()
    [0, 1, 2, 2]

    Args:
        words: int64 [S], numbers of words. Unknown ones, `NOT_SAID`, stay apart: nothing says that they are the same.
        pairs: int64 [P, 2], rows of segments that touch.

    Returns:
        int64 [S], for each segment the lowest row of its group.
    """
    first, second = words[pairs].T
    return connected(len(words), pairs[(first == second) & (first != NOT_SAID)])


def stand_ins(words: Groups, areas: Groups, pairs: Pairs) -> Groups:
    """Of the segments that `merge_equal` puts together, the largest stands for them, the first of equal ones.

    Args:
        words: int64 [S], as for `merge_equal`.
        areas: int64 [S].
        pairs: int64 [P, 2], rows of segments that touch.

    Returns:
        int64 [S], for each segment the row of the one that stands for its group.
    """
    groups = merge_equal(words, pairs)
    return np.array([max(np.flatnonzero(groups == group), key=areas.__getitem__) for group in groups])


def connected(count: int, pairs: Pairs) -> Groups:
    """The groups that pairs connect: for each of `count` rows the lowest row of its group, int64 [count]."""
    groups = np.arange(count)
    for first, second in pairs.tolist():
        low, high = sorted((groups[first], groups[second]))
        if low != high:
            groups[groups == high] = low
    return groups


def merge_alike(
    nodes: Sequence[Node],
    pairs: Pairs,
    likeness: Callable[[Node, Node], float],
    joined: Callable[[Node, Node], Node],
    least: float,
) -> tuple[Groups, dict[int, Node]]:
    """Merge touching nodes bottom-up, the most alike first, until none are alike enough.

    Of equally alike pairs the one with the lowest rows comes first. A merged node touches what its parts touched and
    is known by the lower of their rows.

    Args:
        nodes: S nodes.
        pairs: int64 [P, 2], rows of nodes that touch.
        likeness: of two nodes.
        joined: what two nodes become, the one with the lower row first.
        least: likeness from which two nodes are merged.

    Returns:
        int64 [S], for each node the lowest row of its group; and the node that each group became.
    """
    alive = dict(enumerate(nodes))
    groups = np.arange(len(nodes))
    touching = {tuple(sorted(pair)) for pair in pairs.tolist() if pair[0] != pair[1]}
    alike = {pair: likeness(alive[pair[0]], alive[pair[1]]) for pair in touching}
    while alike and -(best := min((-value, pair) for pair, value in alike.items()))[0] >= least:
        low, high = best[1]
        alive[low] = joined(alive[low], alive.pop(high))
        groups[groups == high] = low
        beside = {other for pair in alike if {low, high} & set(pair) for other in pair} - {low, high}
        alike = {pair: value for pair, value in alike.items() if not {low, high} & set(pair)}
        for other in beside:
            pair = (min(low, other), max(low, other))
            alike[pair] = likeness(alive[pair[0]], alive[pair[1]])
    return groups, alive


def regroup(segments: Segments, labels: Sequence[Label], groups: Groups) -> LabeledImage:
    """Make each group one segment.

    Args:
        segments: S segments.
        labels: of each.
        groups: int64 [S], for each segment the row of the one whose label its group bears.

    Returns:
        The picture with one segment for each group, in the order of their first segments: from the top left as ever.
    """
    first = np.unique(groups, return_index=True)[1]  # of each group the segment that is met first, in no order
    rows = groups[np.sort(first)]  # in the order in which groups are met, as segments are numbered
    number = np.empty(len(groups), np.int32)
    number[rows] = np.arange(1, len(rows) + 1)
    merged = Segments(number[groups][segments.label_map - 1], count=len(rows))
    return LabeledImage(merged, tuple(labels[row] for row in rows))
