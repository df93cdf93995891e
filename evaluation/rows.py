"""The rows of the table: whose segments, whose names. The differences between rows say what each of them costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from evaluation.classes import UNKNOWN_CLASS, Classes
from evaluation.mappings import Level, Mapping, Match
from evaluation.metrics.matching import hungarian_classes, majority_classes
from evaluation.observation import Observation, Region, words_said
from labeler.labels import UNKNOWN

PICTURED_FROM = 0.1
"""Cosine below which Zero-guidance gives a segment no class in its IoU_st."""

Counts = NDArray[np.int64]


class RowName(Enum):
    """Whose segments, whose names."""

    LABELER = "labeler"
    GIVEN_SEGMENTS = "given_segments"
    GIVEN_NAMES = "given_names"
    GIVEN_BOTH = "given_segments_and_names"
    GIVEN_NAMES_HERE = "given_names_here"
    GIVEN_BOTH_HERE = "given_segments_and_names_here"
    PICTURED = "pictured"
    BEST_NAMES = "best_names"
    HUNGARIAN = "hungarian"


TITLES = {
    RowName.LABELER: "own segments, own words",
    RowName.GIVEN_SEGMENTS: "true segments, own words",
    RowName.GIVEN_NAMES: "own segments, data set's names",
    RowName.GIVEN_BOTH: "true segments, data set's names",
    RowName.GIVEN_NAMES_HERE: "own segments, picture's own names",
    RowName.GIVEN_BOTH_HERE: "true segments, picture's own names",
    RowName.PICTURED: "own segments, 'Image of a ...'",
    RowName.BEST_NAMES: "own segments, best class for each",
    RowName.HUNGARIAN: "own segments, Hungarian match",
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What one row says of one picture.

    Attributes:
        table: int64 [S, C + 2], from `metrics.confusion.overlaps`.
        given: int64 [S], the class of each segment, `UNKNOWN_CLASS` if it has none.
        cosines: float64 [S], of each segment to its class; None where classes were not chosen by a cosine.
    """

    table: Counts
    given: NDArray[np.int64]
    cosines: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """What one row says of every picture.

    Attributes:
        name: whose segments, whose names.
        mapping: how words became classes; empty where there are no words.
        answers: one for each picture.
    """

    name: RowName
    mapping: str
    answers: tuple[Answer, ...]


def word_rows(observations: Sequence[Observation], classes: Classes, mapping: Mapping) -> list[Row]:
    """The rows that depend on how words become classes."""
    numbers = class_of_words(observations, classes, mapping)
    cosines = _cosines_of_words(observations, mapping)

    def answer(o: Observation, regions: list[Region]) -> Answer:
        near = None if cosines is None else np.array([cosines[region.word] for region in regions])
        return _answer(o, classes, regions, [numbers[region.word] for region in regions], near)

    return [
        Row(RowName.LABELER, mapping.name, tuple(answer(o, o.own) for o in observations)),
        Row(RowName.GIVEN_SEGMENTS, mapping.name, tuple(answer(o, o.given) for o in observations)),
    ]


def oracle_rows(observations: Sequence[Observation], classes: Classes) -> list[Row]:
    """The rows that need no words."""

    def row(name: RowName, regions: Callable[[Observation], list[Region]], number: Callable[[Region], int]) -> Row:
        answers = (_answer(o, classes, regions(o), [number(each) for each in regions(o)]) for o in observations)
        return Row(name, "", tuple(answers))

    tables = [o.table(o.own, len(classes)) for o in observations]
    return [
        row(RowName.GIVEN_NAMES, _own, lambda region: region.nearest),
        row(RowName.GIVEN_BOTH, _given, lambda region: region.nearest),
        row(RowName.GIVEN_NAMES_HERE, _own, lambda region: region.nearest_present),
        row(RowName.GIVEN_BOTH_HERE, _given, lambda region: region.nearest_present),
        Row(RowName.PICTURED, "", tuple(_pictured(o, classes) for o in observations)),
        Row(RowName.BEST_NAMES, "", tuple(Answer(table, majority_classes(table)) for table in tables)),
        Row(RowName.HUNGARIAN, "", tuple(Answer(table, hungarian_classes(table)) for table in tables)),
    ]


def class_of_words(
    observations: Sequence[Observation], classes: Classes, mapping: Mapping, level: Level | None = None
) -> dict[str, int]:
    """The class of every word that was said.

    A word that the mapping places nowhere means the background where that is a class, since it names something that
    the list does not; but where the labeler had no word at all, nothing was said.

    Args:
        observations: the pictures.
        classes: of the data set.
        mapping: from words to classes.
        level: the loosest reason that counts; None if all do.
    """
    words = words_said(region for o in observations for region in (*o.own, *o.given))
    nowhere = UNKNOWN_CLASS if classes.background is None else classes.background
    placed = {
        word: nowhere if match.class_number == UNKNOWN_CLASS or not _within(match, level) else match.class_number
        for word, match in zip(words, mapping.matches(words) if words else (), strict=True)
    }
    return placed | {UNKNOWN: UNKNOWN_CLASS}


def _cosines_of_words(observations: Sequence[Observation], mapping: Mapping) -> dict[str, float] | None:
    """The cosine by which each word got its class; None for a mapping that takes no cosines."""
    words = words_said(region for o in observations for region in (*o.own, *o.given))
    scores = [match.score for match in mapping.matches(words)]
    if not words or any(score is None for score in scores):
        return None
    return {word: float(score or 0.0) for word, score in zip(words, scores, strict=True)} | {UNKNOWN: -1.0}


def _within(match: Match, level: Level | None) -> bool:
    levels = list(Level)
    return level is None or match.level is None or levels.index(match.level) <= levels.index(level)


def _own(observation: Observation) -> list[Region]:
    return observation.own


def _given(observation: Observation) -> list[Region]:
    return observation.given


def _pictured(observation: Observation, classes: Classes) -> Answer:
    cosines = np.array([region.cosine for region in observation.own])
    numbers = [region.pictured if region.cosine >= PICTURED_FROM else UNKNOWN_CLASS for region in observation.own]
    return _answer(observation, classes, observation.own, numbers, cosines)


def _answer(
    observation: Observation,
    classes: Classes,
    regions: list[Region],
    numbers: list[int],
    cosines: NDArray[np.float64] | None = None,
) -> Answer:
    return Answer(observation.table(regions, len(classes)), np.array(numbers, np.int64), cosines)
