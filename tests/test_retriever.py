"""Captions and their concepts over two indexes on disk, against plain loops."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from naming_material import CORPORA, DIMENSION, Told, retriever_of, unit
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from labeler import retriever as module
from labeler.retriever import Hits, Retriever
from shards import ShardDamaged, open_indexes
from shards.removal import remove


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return retriever_of(tmp_path_factory.mktemp("indexes"), CORPORA, Told())


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    return unit(Generator(PCG64(1)).standard_normal((6, DIMENSION)))


def test_it_can_be_sent_to_another_process(retriever: Retriever, queries: NDArray[np.float32]) -> None:
    there = pickle.loads(pickle.dumps(retriever))
    here, found = retriever.search_captions(queries, 5), there.search_captions(queries, 5)
    for name in ("places", "rows", "cosines"):
        np.testing.assert_array_equal(getattr(found, name), getattr(here, name))
    assert there.evidence(found) == retriever.evidence(here)


@pytest.mark.parametrize("k", [1, 5, 50])
def test_captions_are_the_nearest_of_all_indexes(retriever: Retriever, queries: NDArray[np.float32], k: int) -> None:
    hits = retriever.search_captions(queries, k)
    for row, query in enumerate(queries):
        every = []
        for place, index in enumerate(retriever.indexes):
            for number in range(index.manifest.rows):
                every.append((-float(index.vectors([number])[0] @ query), place, number))
        expected = sorted(every)[:k]
        assert hits.places[row].tolist() == [place for _, place, _ in expected]
        assert hits.rows[row].tolist() == [number for _, _, number in expected]
        np.testing.assert_allclose(hits.cosines[row], [-negated for negated, _, _ in expected], atol=1e-6)


def test_evidence_is_what_the_search_found(retriever: Retriever, queries: NDArray[np.float32]) -> None:
    hits = retriever.search_captions(queries, 4)
    for row, found in enumerate(retriever.evidence(hits[row : row + 1]) for row in range(len(queries))):
        assert found == retriever.evidence(hits[row : row + 1])
        for place, number, cosine, shown in zip(
            hits.places[row], hits.rows[row], hits.cosines[row], found, strict=True
        ):
            index = retriever.indexes[place]
            assert (shown.index, shown.row, shown.score) == (index.name, number, float(cosine))
            assert shown.caption == CORPORA[index.name][number]
    assert retriever.evidence(hits.nearest(2, 3)) == retriever.evidence(hits[2:3])[:3]


def test_concepts_of_hits(retriever: Retriever, queries: NDArray[np.float32]) -> None:
    hits = retriever.search_captions(queries, 50)
    first_of_second = len(retriever.indexes[0].concepts)
    expected = []
    for hit, (place, row) in enumerate(zip(hits.places.ravel(), hits.rows.ravel(), strict=True)):
        concepts = retriever.indexes[place].concepts
        for number in concepts.of_row(int(row)).tolist():
            word = concepts.words([number])[0]
            first = retriever.indexes[0].concepts.words(range(first_of_second))
            expected.append((hit, first.index(word) if word in first else first_of_second + number))
    holder, numbers = retriever.concepts_of(hits)
    assert list(zip(holder.tolist(), numbers.tolist(), strict=True)) == expected
    assert {"dog", "grass"} <= set(retriever.space.words(numbers))


def test_concepts_of_each_row_are_those_of_the_row(retriever: Retriever) -> None:
    concepts = retriever.indexes[1].concepts
    rows = np.array([8, 0, 3, 3, 7])
    sizes, ids = concepts.of_each(rows)
    assert sizes.tolist() == [len(concepts.of_row(row)) for row in rows.tolist()]
    assert ids.tolist() == [number for row in rows.tolist() for number in concepts.of_row(row).tolist()]
    assert [len(part) for part in concepts.of_each(rows[:0])] == [0, 0]
    for wrong in (-1, 9):
        with pytest.raises(IndexError, match=rf"row {wrong} of .*town, which has rows 0 to 8"):
            concepts.of_each(np.array([2, wrong]))


def test_links_that_lead_nowhere_are_damage(retriever: Retriever, monkeypatch: pytest.MonkeyPatch) -> None:
    concepts = retriever.indexes[1].concepts
    monkeypatch.setattr(concepts, "_links", np.full_like(concepts._links, len(concepts)))
    with pytest.raises(ShardDamaged, match="links of row 2 or later are not ids of concepts"):
        concepts.of_each(np.array([4, 2]))
    monkeypatch.setattr(concepts, "_starts", concepts._starts[::-1])
    with pytest.raises(ShardDamaged, match="not ascending where rows 2 to 4 begin"):
        concepts.of_each(np.array([4, 2]))


def test_stored_vectors_of_hits(retriever: Retriever, queries: NDArray[np.float32]) -> None:
    hits = retriever.search_captions(queries, 7)
    vectors = retriever.caption_vectors(hits)
    assert vectors.shape == (6, 7, DIMENSION)
    for row in range(6):
        for at in range(7):
            index = retriever.indexes[hits.places[row, at]]
            np.testing.assert_array_equal(vectors[row, at], index.vectors([int(hits.rows[row, at])])[0])
    none = Hits(*(np.zeros((2, 0), kind) for kind in (np.int64, np.int64, np.float32)))
    assert retriever.caption_vectors(none).shape == (2, 0, DIMENSION)
    assert [len(part) for part in retriever.concepts_of(none)] == [0, 0]


def test_the_mean_caption_is_that_of_all_in_small_indexes(retriever: Retriever) -> None:
    every = [index.vectors(range(index.manifest.rows)) for index in retriever.indexes]
    np.testing.assert_allclose(retriever.mean_caption, np.concatenate(every).mean(axis=0), atol=1e-6)


def test_the_mean_caption_is_that_of_even_runs_in_large_ones(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RUNS", 3)
    monkeypatch.setattr(module, "RUN_ROWS", 2)
    again = Retriever(retriever.indexes)
    rows = [0, 1, 7, 8, 15, 16]  # of 17
    expected = [again.indexes[row >= 8].vectors([row - 8 * (row >= 8)])[0] for row in rows]
    np.testing.assert_allclose(again.mean_caption, np.mean(expected, axis=0), atol=1e-6)


def test_removed_captions_have_no_part_in_the_mean(tmp_path: Path) -> None:
    retriever_of(tmp_path, {"town": CORPORA["town"]}, Told())
    assert remove(tmp_path / "shards" / "town", source=None, pattern="cars|grass")[1] == 3
    (index,) = open_indexes(tmp_path / "shards")
    left = [row for row in range(9) if row not in (2, 4, 5)]
    np.testing.assert_allclose(Retriever([index]).mean_caption, index.vectors(left).mean(axis=0), atol=1e-6)


def test_a_vector_is_answered_alike_in_any_company(retriever: Retriever, queries: NDArray[np.float32]) -> None:
    together, words = retriever.search_captions(queries, 9), retriever.search_concepts(queries, 9)
    for row in range(len(queries)):
        alone = retriever.search_captions(queries[row : row + 1], 9)
        for name in ("places", "rows", "cosines"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[row])
        np.testing.assert_array_equal(retriever.search_concepts(queries[row : row + 1], 9)[0], words[row])
