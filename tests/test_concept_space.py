"""The words of several indexes under one numbering, and the exact search among them."""

from dataclasses import dataclass

import numpy as np
import pytest
from naming_material import unit
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from labeler import concept_space
from labeler.concept_space import NOT_SAID, ConceptSpace


@dataclass
class Table:
    """The concepts of an index, in two parts, held in memory."""

    texts: list[str]
    stored: NDArray[np.float16]
    counts: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.texts)

    def words(self, ids: NDArray[np.int64]) -> list[str]:
        return [self.texts[number] for number in ids]

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.stored[np.asarray(ids, np.int64)].astype(np.float32)

    def part_vectors(self) -> list[NDArray[np.float16]]:
        half = len(self.stored) // 2
        return [self.stored[:half], self.stored[half:]]


def table(texts: list[str], seed: int, unsaid: tuple[int, ...] = ()) -> Table:
    vectors = unit(Generator(PCG64(seed)).standard_normal((max(len(texts), 1), 9)))[: len(texts)]
    counts = np.ones(len(texts), np.uint32)
    counts[list(unsaid)] = 0
    return Table(texts, vectors.astype(np.float16), counts)


def slow_search(tables: list[Table], queries: NDArray[np.float32], m: int) -> list[list[int]]:
    """Every query with every word, one by one."""
    said: dict[str, tuple[int, NDArray[np.float64]]] = {}
    number = 0
    for one in tables:
        for text, vector, count in zip(one.texts, one.stored, one.counts, strict=True):
            if count and text not in said:
                said[text] = number, vector.astype(np.float64)
            number += 1
    found = []
    for query in queries:
        cosines = [
            (-sum(float(a) * float(b) for a, b in zip(vector, query, strict=True)), n) for n, vector in said.values()
        ]
        found.append([n for _, n in sorted(cosines)[:m]])
    return found


def tables() -> list[Table]:
    first = [f"word {number}" for number in range(40)]
    second = [f"word {number}" for number in range(25, 75)]
    return [table(first, 1, unsaid=(3, 30)), table(second, 2, unsaid=(0, 49)), table([], 3)]


@pytest.mark.parametrize("kept", [0, 2**28])
@pytest.mark.parametrize("block", [1, 7, 8192])
@pytest.mark.parametrize("m", [1, 6, 40, 500])
def test_search_is_exact(monkeypatch: pytest.MonkeyPatch, block: int, kept: int, m: int) -> None:
    monkeypatch.setattr(concept_space, "BLOCK", block)
    monkeypatch.setattr(concept_space, "KEPT_BYTES", kept)
    queries = 1.3 * unit(Generator(PCG64(4)).standard_normal((11, 9)))
    space = ConceptSpace(tables())  # type: ignore[arg-type]
    assert space.search(queries.astype(np.float32), m).tolist() == slow_search(tables(), queries, m)


def test_words_that_rise_towards_the_query_do_not_escape_the_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concept_space, "BLOCK", 4)
    angles = np.linspace(1.5, 0.1, 60)
    rising = Table(
        [str(number) for number in range(60)],
        np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16),
        np.ones(60, np.uint32),
    )
    space = ConceptSpace([rising])  # type: ignore[list-item]
    assert space.search(np.array([[1, 0]], np.float32), 3).tolist() == [[59, 58, 57]]


def test_equal_words_are_ordered_by_number_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concept_space, "BLOCK", 16)
    same = Table([str(n) for n in range(100)], np.full((100, 9), 1 / 3, np.float16), np.ones(100, np.uint32))
    space = ConceptSpace([same])  # type: ignore[list-item]
    for rows in (1, 2, 13):
        assert (space.search(np.full((rows, 9), 1 / 3, np.float32), 5) == np.arange(5)).all()


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-42])
@pytest.mark.parametrize("block", [3, 16, 8192])
def test_a_query_of_next_to_no_length_finds_as_many_words(
    monkeypatch: pytest.MonkeyPatch, block: int, length: float
) -> None:
    monkeypatch.setattr(concept_space, "BLOCK", block)
    space = ConceptSpace([table([str(n) for n in range(40)], 8, unsaid=(0, 2))])  # type: ignore[list-item]
    found = space.search(np.full((2, 9), length, np.float32), 5)
    assert all(len(set(row)) == 5 and not {0, 2} & set(row) for row in found.tolist())
    if not length:
        assert found.tolist() == [[1, 3, 4, 5, 6]] * 2


def test_a_query_is_answered_alike_in_any_company() -> None:
    space = ConceptSpace([table([str(n) for n in range(3000)], 5)])  # type: ignore[list-item]
    queries = unit(Generator(PCG64(6)).standard_normal((33, 9)))
    together = space.search(queries, 30)
    for row in range(33):
        np.testing.assert_array_equal(space.search(queries[row : row + 1], 30)[0], together[row])
    np.testing.assert_array_equal(space.search(queries[::-1].copy(), 30)[::-1], together)


def test_numbers_words_and_vectors() -> None:
    space = ConceptSpace(tables())  # type: ignore[arg-type]
    assert len(space) == 90
    assert space.words(np.array([41, 2, 88])) == ["word 26", "word 2", "word 73"]
    expected = [tables()[1].stored[1], tables()[0].stored[2], tables()[1].stored[48]]
    np.testing.assert_array_equal(space.vectors(np.array([41, 2, 88])), np.array(expected, np.float32))
    # word 26 is said by the first index, word 30 only by the second, word 25 only by the first, word 74 by none.
    assert space.numbers(1, np.array([1, 5, 0, 49], np.int32)).tolist() == [26, 45, NOT_SAID, NOT_SAID]
    assert space.numbers(0, np.array([25, 30, 3], np.int32)).tolist() == [25, NOT_SAID, NOT_SAID]


def test_single_words_are_found_by_their_text() -> None:
    space = ConceptSpace([table(["dog", "red bus", "bus", "gone"], 7, unsaid=(3,))])  # type: ignore[list-item]
    assert space.find(["bus", "red bus", "gone", "cat", "dog"]) == [2, 0]


def test_no_words_at_all() -> None:
    space = ConceptSpace([table([], 8), table(["gone"], 9, unsaid=(0,))])  # type: ignore[list-item]
    assert space.search(np.ones((3, 9), np.float32), 5).shape == (3, 0)
    assert space.vectors(np.zeros(0, np.int64)).shape == (0, 9)
    assert space.words(np.zeros(0, np.int64)) == []
