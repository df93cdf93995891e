"""Perfect, random and silent answers, for every list of classes and every mapping: known answers get known figures."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from mapping_material import minilm
from numpy.typing import NDArray

from evaluation.classes import UNKNOWN_CLASS, Classes, read_classes
from evaluation.datasets import OTHER, VOID, Dataset, DatasetName
from evaluation.datasets.known import CLASS_LISTS
from evaluation.mappings import Mapping, MappingName, Match, load_mapping
from evaluation.mappings.similarity import THRESHOLD, SimilarityMapping, SoftMapping
from evaluation.metrics.confusion import overlaps
from evaluation.observation import Observation, Region
from evaluation.observing import Observed
from evaluation.report import Evaluation
from evaluation.rows import RowName, class_of_words
from evaluation.run import score
from evaluation.scores import Score
from evaluation.table import format_evaluation
from evaluation.vocabulary import nearest
from labeler.labels import UNKNOWN
from segmenter import relabel

SIDE = 24


# --- perfect, random and silent answers, for every list of classes ---------------------------------------------------

LISTS = [name for name in DatasetName if name is not DatasetName.FOLDER]
OFFLINE = [MappingName.HARD, MappingName.LEXICAL, MappingName.TABLE]
BY_SENTENCES = [MappingName.SBERT_FORCED, MappingName.SBERT_THR, MappingName.SOFT]
MAPPED = [pytest.param(name, OFFLINE, id=f"{name.value}-offline") for name in LISTS] + [
    pytest.param(name, BY_SENTENCES, id=f"{name.value}-by-sentences", marks=pytest.mark.weights) for name in LISTS
]
"""Mappings are scored together, so that what they have in common is computed once."""


def annotated(classes: int, seed: int) -> NDArray[np.int32]:
    """Stripes of random classes, some void and some that are none of the classes."""
    generator = np.random.default_rng(seed)
    stripes = generator.choice([*range(classes), OTHER, VOID], SIDE).astype(np.int32)
    return np.repeat(stripes[:, None], SIDE, axis=1)


def observation(truth: NDArray[np.int32], classes: Classes, word: Callable[[int], str], seed: int = 0) -> Observation:
    """What a labeler saw that cuts pictures as the ground truth does, and says a word for every class."""
    generator = np.random.default_rng(seed)
    segments = relabel(truth)
    table = overlaps(segments.label_map, truth, len(classes))
    stands = [int(truth[segments.label_map == number][0]) for number in range(1, segments.count + 1)]
    present = [c for c in stands if c < len(classes)] or [0]

    def region(row: int, c: int) -> Region:
        known = c if c < len(classes) else int(generator.integers(len(classes)))
        cells = [(int(column), int(table[row, column])) for column in np.flatnonzero(table[row])]
        return Region(
            word=word(known),
            score=1.0,
            nearest=known,
            nearest_present=c if c < len(classes) else present[0],
            pictured=known,
            cosine=0.5,
            overlaps=cells,
        )

    regions = [region(row, c) for row, c in enumerate(stands)]
    return Observation(
        protocol="",
        id=f"{seed}",
        picture="",
        truth="",
        size=(SIDE, SIDE),
        own=regions,
        given=[each for each, c in zip(regions, stands, strict=True) if c < len(classes)],
    )


def by_sentences(name: MappingName, classes: Classes) -> Mapping:
    if name is MappingName.SOFT:
        return SoftMapping(classes, minilm())
    return SimilarityMapping(name, classes, minilm(), -1.0 if name is MappingName.SBERT_FORCED else THRESHOLD)


def mapping_for(name: MappingName, classes: Classes, folder: Path) -> Mapping:
    if name in BY_SENTENCES:
        return by_sentences(name, classes)
    if name is not MappingName.TABLE:
        return load_mapping(name, classes, table=None, sentences=None)
    path = folder / "table.json"
    path.write_text(json.dumps(dict(zip(classes.published, classes.names, strict=True))))
    return load_mapping(name, classes, table=path, sentences=None)


def scored(observations: Sequence[Observation], classes: Classes, *mappings: Mapping) -> Evaluation:
    def decode(_: Path) -> NDArray[np.int32]:
        raise NotImplementedError

    dataset = Dataset("made up", "", classes, (), decode)
    return score(Observed(tuple(observations), 0, ()), dataset, [*mappings])


def by_name(evaluation: Evaluation) -> dict[RowName, Score]:
    return {each.name: each for each in evaluation.scores}


@pytest.mark.parametrize(("name", "mappings"), MAPPED)
def test_perfect_answers_score_exactly_1(name: DatasetName, mappings: list[MappingName], tmp_path: Path) -> None:
    classes = read_classes(CLASS_LISTS / f"{name.value}.txt")
    seen = [
        observation(annotated(len(classes), seed), classes, lambda c: classes.published[c], seed) for seed in range(8)
    ]
    for each in scored(seen, classes, *(mapping_for(each, classes, tmp_path) for each in mappings)).scores:
        assert each.miou == 1.0, (each.name, each.mapping)
        assert each.pixel_accuracy == 1.0
        assert each.unknown == 0.0


@pytest.mark.parametrize(("name", "mappings"), MAPPED)
def test_a_labeler_that_never_has_a_word_scores_0(
    name: DatasetName, mappings: list[MappingName], tmp_path: Path
) -> None:
    classes = read_classes(CLASS_LISTS / f"{name.value}.txt")
    seen = [observation(annotated(len(classes), seed), classes, lambda _: UNKNOWN, seed) for seed in range(3)]
    evaluation = scored(seen, classes, *(mapping_for(each, classes, tmp_path) for each in mappings))
    by_words = [each for each in evaluation.scores if each.mapping]
    assert [each.name for each in by_words] == [RowName.LABELER, RowName.GIVEN_SEGMENTS] * len(mappings)
    for found in by_words:
        assert (found.miou, found.pixel_accuracy, found.unknown) == (0.0, 0.0, 1.0), found.mapping
        assert found.picture_iou == 0.0
        assert found.recall_area == 0.0
    assert evaluation.statistics.unknown == 1.0
    assert evaluation.statistics.distinct == 0


@pytest.mark.parametrize(("name", "mappings"), MAPPED)
def test_shuffled_answers_score_at_chance(name: DatasetName, mappings: list[MappingName], tmp_path: Path) -> None:
    classes = read_classes(CLASS_LISTS / f"{name.value}.txt")
    generator = np.random.default_rng([0, 1])
    seen = [
        observation(annotated(len(classes), seed), classes, lambda _: generator.choice(classes.published), seed)
        for seed in range(150)
    ]
    evaluation = scored(seen, classes, *(mapping_for(each, classes, tmp_path) for each in mappings))
    by_words = [each for each in evaluation.scores if each.name is RowName.LABELER]
    assert [each.mapping for each in by_words] == [each.value for each in mappings]
    for found in by_words:
        deviation = (len(classes) * found.cells.pixels.sum() / SIDE) ** -0.5  # of a share of 1 / C among the stripes
        assert found.pixel_accuracy == pytest.approx(1 / len(classes), abs=4 * deviation), found.mapping
        assert found.miou == pytest.approx(1 / (2 * len(classes) - 1), abs=4 * deviation), found.mapping


def test_a_word_without_a_class_is_background_where_that_is_one_but_no_word_is_a_miss(tmp_path: Path) -> None:
    for name, expected in ((DatasetName.VOC20, UNKNOWN_CLASS), (DatasetName.VOC21, 0)):
        classes = read_classes(CLASS_LISTS / f"{name.value}.txt")
        seen = observation(np.zeros((2, 2), np.int32), classes, lambda _: "xylophone lesson")
        silent = observation(np.zeros((2, 2), np.int32), classes, lambda _: UNKNOWN)
        numbers = class_of_words([seen, silent], classes, mapping_for(MappingName.HARD, classes, tmp_path))
        assert numbers == {"xylophone lesson": expected, UNKNOWN: UNKNOWN_CLASS}


def test_costs_are_differences_between_rows() -> None:
    from evaluation.scores import costs

    classes = Classes.of(["cat", "dog"])
    seen = observation(annotated(2, 0), classes, lambda _: UNKNOWN)
    found = costs(scored([seen], classes, load_mapping(MappingName.HARD, classes)).scores)
    assert found == {"segments": 0.0, "names": 1.0, "gating": 0.0}


def test_a_word_counts_from_the_level_on_at_which_it_is_the_class(tmp_path: Path) -> None:
    classes = read_classes(CLASS_LISTS / "voc20.txt")
    dog = classes.names.index("dog")
    seen = observation(np.full((2, 2), dog, np.int32), classes, lambda _: "poodle")
    evaluation = scored([seen], classes, mapping_for(MappingName.LEXICAL, classes, tmp_path))
    (curve,) = evaluation.levels
    assert curve.mious == {"exact": 0.0, "synonym": 0.0, "hyponym": 1.0, "meronym": 1.0}
    assert curve.area == 0.5
    assert scored([seen], classes, mapping_for(MappingName.HARD, classes, tmp_path)).levels == ()


def test_the_soft_mapping_has_a_measure_of_its_own() -> None:
    """By hand: the background is no class, void is nowhere, and a segment without a word weighs nothing."""

    class Cosines:
        identity = "written down"

        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            known = {
                "background": (0, 0, 1),
                "cat": (1, 0, 0),
                "dog": (0, 1, 0),
                "kitten": (0.6, 0.8, 0),
                "no": (-1, 0, 0),
            }
            return np.array([known[text] for text in texts], np.float32)

    classes = Classes(("background", "cat", "dog"), (("background",), ("cat",), ("dog",)), background=0)
    said = {"kitten": [(1, 6), (2, 2), (4, 5)], "no": [(0, 3), (1, 2)], UNKNOWN: [(2, 4)]}
    regions = [
        Region(word=w, score=1.0, nearest=0, nearest_present=0, pictured=0, cosine=0.0, overlaps=overlaps)
        for w, overlaps in said.items()
    ]
    seen = Observation(protocol="", id="a", picture="", truth="", size=(4, 6), own=regions, given=regions)
    cat = 0.6 * 6 / (0.6 * 8 + 8 - 0.6 * 6)
    dog = 0.8 * 2 / (0.8 * 8 + 6 - 0.8 * 2)
    found = scored([seen], classes, SoftMapping(classes, Cosines()))
    assert found.soft == pytest.approx((cat + dog) / 2)
    assert "soft Jaccard index of own words: 27.0" in format_evaluation(found.scores, (), found.soft, found.statistics)
    assert scored([seen], classes, load_mapping(MappingName.HARD, classes)).soft is None


def test_the_best_segment_of_a_class_is_chosen_by_the_mappings_cosine() -> None:
    said = {"far": Match(0, score=0.1), "near": Match(0, score=0.9)}

    class Cosines:
        name, version = "cosines", "1"

        def matches(self, names: Sequence[str]) -> tuple[Match, ...]:
            return tuple(said[name] for name in names)

    regions = [
        Region(word=w, score=1.0, nearest=0, nearest_present=0, pictured=0, cosine=0.0, overlaps=[(0, pixels)])
        for w, pixels in (("far", 6), ("near", 2))
    ]
    seen = Observation(protocol="", id="a", picture="", truth="", size=(2, 4), own=regions, given=regions)
    found = by_name(scored([seen], Classes.of(["cat"]), Cosines()))
    assert found[RowName.LABELER].best_segment_iou == 0.25
    assert found[RowName.LABELER].picture_iou == 1.0
    assert found[RowName.PICTURED].picture_iou == 0.0  # below the cosine that Zero-guidance asks for
    assert np.isnan(found[RowName.GIVEN_NAMES].best_segment_iou)


def test_the_nearest_of_the_allowed_names() -> None:
    vocabulary = np.eye(3, dtype=np.float32)
    vectors = np.array([[0.8, 0.0, 0.6], [0.0, 0.6, 0.8]], np.float32)
    assert nearest(vectors, vocabulary)[0].tolist() == [0, 2]
    found, cosines = nearest(vectors, vocabulary, np.array([1, 2]))
    assert found.tolist() == [2, 2]
    np.testing.assert_allclose(cosines, [0.6, 0.8], rtol=1e-6)
