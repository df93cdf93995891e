"""What is outlined: cells dealt out to words against plain loops, and pictures whose right answer can be seen."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from naming_material import CORPORA, DIMENSION, Told, unit
from naming_material import retriever_of as build_retriever
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from labeler.answers import Named
from labeler.concept_space import NOT_SAID
from labeler.config import LabelerConfig
from labeler.labeled import LabeledImage
from labeler.labels import UNKNOWN, Evidence, Label, Name
from labeler.methods import Method, Outlines
from labeler.models import Models
from labeler.naming_config import Naming
from labeler.outlining import OUTLINES, Look, deal_cells, outline, score_cells
from labeler.outputs import describe_run
from labeler.pipeline import Labeler
from labeler.retriever import Retriever
from labeler.seen import Pooled
from segmenter import Edges, Segments, relabel

SIDE = 8  # pixels along a cell of the pictures below
PLAIN = LabelerConfig(edges=Edges.NONE, picture_weight=0.0, hub_weight=0.0, home_weight=0.0)


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    return build_retriever(tmp_path_factory.mktemp("indexes"), CORPORA, Told())


def word(name: str, retriever: Retriever) -> tuple[int, NDArray[np.float32]]:
    """The number and the vector of a word."""
    (number,) = retriever.space.find([name])
    return number, retriever.space.vectors(np.array([number]))[0]


# --- cells ------------------------------------------------------------------------------------------------------------


def slow_deal(
    scores: NDArray[np.float32], known: list[int], words: list[int], home: NDArray[np.intp], ahead: float
) -> NDArray[np.intp]:
    """Cell by cell, thing by thing."""
    dealt = home.copy()
    for y, x in np.ndindex(home.shape):
        if words[home[y, x]] == NOT_SAID:
            continue
        best = -math.inf
        for thing, number in enumerate(words):
            if number == NOT_SAID:
                continue
            rivals = [other for other, its in enumerate(words) if its == number]
            distances = [min(math.dist(cell, (y, x)) for cell in np.argwhere(home == other)) for other in rivals]
            if rivals[distances.index(min(distances))] != thing:
                continue
            score = float(scores[y, x, known.index(number)]) + (ahead if home[y, x] == thing else 0.0)
            if score > best:
                best, dealt[y, x] = score, thing
    return dealt


@pytest.mark.parametrize("seed", range(12))
def test_every_cell_goes_to_the_best_word(seed: int) -> None:
    generator = Generator(PCG64(seed))
    home = generator.integers(0, 6, (5, 7))
    home.ravel()[:6] = range(6)  # no thing is without a cell
    words = generator.choice([NOT_SAID, 4, 8, 9], 6)
    words[:2] = 4, 9
    known = np.unique(words[words != NOT_SAID])
    scores = generator.random((5, 7, len(known)), dtype=np.float32)
    for ahead in (0.0, 0.3):
        found = deal_cells(scores, known, words, home, ahead)
        np.testing.assert_array_equal(found, slow_deal(scores, known.tolist(), words.tolist(), home, ahead))
    np.testing.assert_array_equal(deal_cells(scores, known, words, home, 2.0), home)


@pytest.mark.parametrize("naming", Naming)
@pytest.mark.parametrize("whole", [True, False])
def test_scores_of_cells_are_their_formula(retriever: Retriever, naming: Naming, whole: bool) -> None:  # noqa: FBT001
    generator = Generator(PCG64(1))
    cells, seen = unit(generator.standard_normal((3, 4, DIMENSION))), unit(generator.standard_normal(DIMENSION))
    numbers = np.array([word(name, retriever)[0] for name in ("dog", "grass", "bus")])
    pooled = Pooled(cells[0, :1], np.ones(1, np.int64), np.zeros((0, 2), np.int64), seen if whole else None)
    picture = np.zeros((3, 4, 3), np.uint8)
    config = LabelerConfig(naming=naming, picture_weight=0.4, hub_weight=0.7)
    found = score_cells(Look(picture, relabel(picture[..., 0]), pooled, cells), numbers, retriever, config)
    captions = np.concatenate([index.vectors(np.arange(index.manifest.rows)) for index in retriever.indexes])
    for (y, x, column), score in np.ndenumerate(found):
        vector = retriever.space.vectors(numbers[[column]])[0].astype(np.float64)
        expected = float(cells[y, x] @ vector)
        if naming is Naming.DEFAULT:
            expected -= 0.7 * sum(float(caption @ vector) for caption in captions) / len(captions)
            expected += 0.4 * float(seen @ vector) * whole
        assert score == pytest.approx(expected, abs=1e-5)


# --- pictures ---------------------------------------------------------------------------------------------------------


def look_of(regions: list[list[int]], cells: NDArray[np.float32]) -> Look:
    """A grey picture whose cells are in regions, numbered from 1 in the order in which they are met."""
    segments = Segments(np.array(regions, np.int32), max(map(max, regions)))
    pooled = Pooled(unit(np.ones((segments.count, DIMENSION))), segments.areas, np.zeros((0, 2), np.int64))
    return Look(np.full((SIDE * len(regions), SIDE * len(regions[0]), 3), 90, np.uint8), segments, pooled, cells)


def named_of(said: list[tuple[str, int]], groups: list[int]) -> Named:
    """Labels whose evidence tells which segment they are of."""
    labels = [
        Label(Name(name, 0.5), (), (Evidence("told", row, 0.5, f"segment {row}"),))
        for row, (name, _) in enumerate(said)
    ]
    words = np.array([number for _, number in said])
    return Named(tuple(labels[row] for row in groups), np.array(groups), words)


def drawn(labeled: LabeledImage) -> list[list[int]]:
    """The segment in the middle of each cell."""
    return labeled.segments.label_map[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE].tolist()


def evidence(labeled: LabeledImage) -> list[tuple[str, int]]:
    return [(label.name.label, label.evidence[0].row) for label in labeled.labels]


def test_things_of_one_name_that_lie_apart_stay_apart_and_unknown_cells_stay(retriever: Retriever) -> None:
    dog, grass = word("dog", retriever), word("grass", retriever)
    said = [("dog", dog[0]), ("grass", grass[0]), ("dog", dog[0]), (UNKNOWN, NOT_SAID)]
    cells = np.stack([[dog[1]] * 2 + [grass[1]] * 5 + [dog[1]] * 3] * 3)
    look = look_of([[1, 2, 2, 2, 2, 2, 2, 2, 3, 4]] * 3, cells)
    named = named_of(said, [0, 1, 2, 3])
    words = outline(look, named, retriever, replace(PLAIN, outlines=Outlines.WORDS))
    assert drawn(words) == [[1, 1, 2, 2, 2, 2, 2, 3, 3, 4]] * 3  # both dogs have won a column of the grass
    assert evidence(words) == [("dog", 0), ("grass", 1), ("dog", 2), (UNKNOWN, 3)]
    names = outline(look, named, retriever, replace(PLAIN, outlines=Outlines.NAMES))
    assert drawn(names) == [[1, 2, 2, 2, 2, 2, 2, 2, 3, 4]] * 3
    assert evidence(names) == evidence(words)
    assert words.picture is names.picture is look.picture


def test_things_that_come_to_touch_are_one_unless_they_shall_be_kept_apart(retriever: Retriever) -> None:
    dog, grass = word("dog", retriever), word("grass", retriever)
    said = [("dog", dog[0]), ("grass", grass[0]), ("dog", dog[0])]
    cells = np.stack([[dog[1]] * 6, [grass[1]] * 6])
    look = look_of([[1, 2, 2, 3, 3, 3], [2] * 6], cells)
    named = named_of(said, [0, 1, 2])
    together = outline(look, named, retriever, PLAIN)
    assert drawn(together) == [[1] * 6, [2] * 6]
    assert evidence(together) == [("dog", 2), ("grass", 1)]  # the larger dog's evidence
    apart = outline(look, named, retriever, replace(PLAIN, keep_equal=True))
    assert drawn(apart) == [[1, 1, 2, 2, 2, 2], [3] * 6]
    assert evidence(apart) == [("dog", 0), ("dog", 2), ("grass", 1)]


def test_a_thing_that_loses_all_its_cells_has_no_segment_and_numbers_go_from_the_top_left(
    retriever: Retriever,
) -> None:
    dog, grass, bus = (word(name, retriever) for name in ("dog", "grass", "bus"))
    said = [("bus", bus[0]), ("grass", grass[0]), ("dog", dog[0])]
    cells = np.stack([[grass[1]] * 2 + [dog[1]] * 2] * 2)
    look = look_of([[1, 1, 2, 2], [2, 3, 3, 3]], cells)
    labeled = outline(look, named_of(said, [0, 1, 2]), retriever, PLAIN)
    assert drawn(labeled) == [[1, 1, 2, 2]] * 2
    assert evidence(labeled) == [("grass", 1), ("dog", 2)]


def test_groups_are_drawn_as_one_with_the_label_that_stands_for_them(retriever: Retriever) -> None:
    dog, grass = word("dog", retriever), word("grass", retriever)
    said = [("dog", dog[0]), ("dog", dog[0]), ("grass", grass[0])]
    look = look_of([[1, 2, 2, 3]], np.stack([[dog[1]] * 3 + [grass[1]]]))
    for outlines in (Outlines.NAMES, Outlines.WORDS):
        labeled = outline(look, named_of(said, [1, 1, 2]), retriever, replace(PLAIN, outlines=outlines))
        assert drawn(labeled) == [[1, 1, 1, 2]]
        assert evidence(labeled) == [("dog", 1), ("grass", 2)]


# --- the labeler ------------------------------------------------------------------------------------------------------


class Cells:
    """Sees every `SIDE` x `SIDE` cell as the vector of its red value's word."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.vectors[picture[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE, 0]]


def labeler_of(retriever: Retriever, **options: object) -> Labeler:
    cells = Cells(np.stack([word(name, retriever)[1] for name in ("dog", "grass", "bus")]))
    config = LabelerConfig(edges=Edges.NONE, direct=5, gate=0.0, alike=0.99, min_cells=1, **options)
    return Labeler(Models(cells, cells, "told", {}), retriever, config)


@pytest.mark.parametrize("seed", range(4))
def test_where_cells_are_clear_all_ways_agree(retriever: Retriever, seed: int) -> None:
    """Bands of cells, whose outlines no way of drawing bends; equal bands that touch are one, others are not."""
    bands = Generator(PCG64(seed)).integers(0, 3, 8).astype(np.uint8)
    picture = np.repeat(bands, SIDE)[:, None, None].repeat(5 * SIDE, axis=1).repeat(3, axis=2)
    answers = [labeler_of(retriever, outlines=each, join_apart=False).label(picture) for each in Outlines]
    for answer in answers:
        assert answer.names == answers[0].names
        np.testing.assert_array_equal(answer.segments.label_map, answers[0].segments.label_map)
    assert answers[0].segments.count == 1 + np.count_nonzero(np.diff(bands.astype(int)))


def test_every_choice_is_in_the_table_and_in_the_outputs(retriever: Retriever) -> None:
    assert set(OUTLINES) == set(Outlines)
    for method in Method:
        expected = Outlines.WORDS if method is Method.DEFAULT else Outlines.REGIONS
        assert LabelerConfig(method=method).recipe.outlines is expected
    made_by = [
        json.dumps(describe_run(labeler_of(retriever, **options)))
        for options in ({}, {"outlines": Outlines.NAMES}, {"home_weight": 0.1})
    ]
    assert len(set(made_by)) == 3  # so that pictures are labelled again


def test_segments_that_are_given_keep_their_outlines(retriever: Retriever) -> None:
    labeler = labeler_of(retriever)
    picture = np.zeros((2 * SIDE, 3 * SIDE, 3), np.uint8)
    given = relabel(np.arange(2 * SIDE * 3 * SIDE).reshape(2 * SIDE, 3 * SIDE) // (SIDE * 3 * SIDE))
    labeled = labeler.name(picture, given)
    assert labeled.names == ("dog", "dog")
    np.testing.assert_array_equal(labeled.segments.label_map, given.label_map)
    for work in (labeler.name, labeler.embed):
        with pytest.raises(ValueError, match="pixels high and wide"):
            work(picture[1:], given)


def test_settings(tmp_path: Path) -> None:
    assert LabelerConfig(outlines=Outlines.REGIONS).settings["outlines"] == "regions"
    assert LabelerConfig(index=tmp_path).settings["home_weight"] == 0.05
