"""Segments that become one, against plain loops."""

from itertools import combinations

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from labeler.concept_space import NOT_SAID
from labeler.labels import Label, Name
from labeler.merging import connected, merge_alike, merge_equal, regroup, stand_ins
from segmenter import relabel


def slow_merge_equal(words: list[int], pairs: np.ndarray) -> list[int]:
    """From every segment, walk to every segment of its word that can be reached."""
    groups = []
    for start in range(len(words)):
        reached, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            for pair in pairs.tolist():
                for one, other in (pair, pair[::-1]):
                    if one == here and other not in reached and words[other] == words[start] != NOT_SAID:
                        reached.add(other)
                        waiting.append(other)
        groups.append(min(reached))
    return groups


def random_pairs(generator: Generator, count: int, share: float) -> np.ndarray:
    pairs = [pair for pair in combinations(range(count), 2) if generator.random() < share]
    return np.array(pairs, np.int64).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(20))
def test_touching_segments_of_one_name_are_one(seed: int) -> None:
    generator = Generator(PCG64(seed))
    pairs = random_pairs(generator, 12, 0.25)
    words = generator.integers(NOT_SAID, 2, 12)
    expected = slow_merge_equal(words.tolist(), pairs)
    assert merge_equal(words, pairs).tolist() == expected
    assert merge_equal(words, pairs[::-1, ::-1]).tolist() == expected
    areas = generator.integers(1, 5, 12)
    for row, chosen in enumerate(stand_ins(words, areas, pairs).tolist()):
        members = [other for other in range(12) if expected[other] == expected[row]]
        assert chosen == min(members, key=lambda member: (-areas[member], member))


def test_segments_that_do_not_touch_and_unknown_ones_stay_apart() -> None:
    pairs = np.array([[0, 1], [1, 2], [3, 4]])
    assert merge_equal(np.array([7, 3, 7, NOT_SAID, NOT_SAID]), pairs).tolist() == [0, 1, 2, 3, 4]
    assert merge_equal(np.array([7, 7, 7]), np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]
    assert connected(4, np.array([[3, 2], [2, 0]])).tolist() == [0, 1, 0, 0]


Toy = tuple[float, ...]
"""A node of the tests: the numbers of its members, which are alike as far as their means are near."""


def toy_likeness(one: Toy, other: Toy) -> float:
    return 1 - abs(sum(one) / len(one) - sum(other) / len(other))


def toy_joined(one: Toy, other: Toy) -> Toy:
    return one + other


def slow_merge_alike(numbers: list[float], pairs: np.ndarray, least: float) -> list[int]:
    """Groups of rows; in every round all of them are compared anew."""
    groups = [[row] for row in range(len(numbers))]
    while True:
        found = []
        for one, other in combinations(groups, 2):
            if any((a in one and b in other) or (a in other and b in one) for a, b in pairs.tolist()):
                means = [sum(numbers[row] for row in group) / len(group) for group in (one, other)]
                found.append((abs(means[0] - means[1]), sorted((one[0], other[0]))))
        if not found or 1 - min(found)[0] < least:
            return [group[0] for row in range(len(numbers)) for group in groups if row in group]
        low, high = min(found)[1]
        merged = sorted(row for group in groups if group[0] in (low, high) for row in group)
        groups = sorted([group for group in groups if group[0] not in (low, high)] + [merged])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("least", [0.5, 0.9])
def test_the_most_alike_merge_first_until_none_are_alike(seed: int, least: float) -> None:
    generator = Generator(PCG64(seed))
    numbers = generator.random(10).tolist()
    pairs = random_pairs(generator, 10, 0.35)
    groups, nodes = merge_alike([(number,) for number in numbers], pairs, toy_likeness, toy_joined, least)
    assert groups.tolist() == slow_merge_alike(numbers, pairs, least)
    assert {row: sorted(node) for row, node in nodes.items()} == {
        row: sorted(number for number, group in zip(numbers, groups, strict=True) if group == row)
        for row in set(groups.tolist())
    }


def test_equally_alike_pairs_merge_from_the_lowest_rows() -> None:
    pairs = np.array([[3, 2], [1, 0]])
    _, nodes = merge_alike([(0.0,), (0.1,), (5.0,), (5.1,)], pairs, toy_likeness, toy_joined, 0.5)
    assert nodes == {0: (0.0, 0.1), 2: (5.0, 5.1)}


def test_a_merged_node_is_compared_as_what_it_became() -> None:
    pairs = np.array([[0, 1], [1, 2]])
    chain = [(0.0,), (0.3,), (0.62,)]  # 0.3 is near 0.62, but 0.15, the mean of the first two, is not
    assert merge_alike(chain, pairs, toy_likeness, toy_joined, 0.65)[0].tolist() == [0, 0, 2]


def label(name: str) -> Label:
    return Label(Name(name, 0.5), (), ())


def test_groups_become_segments_with_the_label_that_stands_for_them() -> None:
    segments = relabel(np.array([[0, 0, 1, 1], [2, 2, 1, 3], [4, 2, 3, 3]]))
    labels = [label(name) for name in ("sky", "tree", "sky too", "tree too", "dog")]
    groups = np.array([2, 3, 2, 3, 4])
    found = regroup(segments, labels, groups)
    assert found.segments.count == 3
    for number, one in enumerate(found.labels, start=1):
        members = [row for row in range(5) if labels[groups[row]] is one]
        expected = np.isin(segments.label_map - 1, members)
        np.testing.assert_array_equal(found.segments.mask(number), expected)
    assert [one.name.label for one in found.labels] == ["sky too", "tree too", "dog"]


def test_without_groups_nothing_changes() -> None:
    segments = relabel(np.array([[5, 1], [1, 2]]))
    labels = [label(name) for name in "abc"]
    found = regroup(segments, labels, np.arange(3))
    np.testing.assert_array_equal(found.segments.label_map, segments.label_map)
    assert list(found.labels) == labels
