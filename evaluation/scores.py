"""The figures of a row, and what they say together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.classes import Classes
from evaluation.mappings import Level, Mapping
from evaluation.mappings.similarity import SoftMapping
from evaluation.metrics.confusion import class_ious, confusion, mean_iou, mean_iou_of_union, pixel_accuracy
from evaluation.metrics.pictures import (
    best_segment_iou,
    picture_iou,
    recall_area,
    segment_recall,
    with_background_as_other,
)
from evaluation.metrics.soft import soft_jaccard
from evaluation.observation import Observation, words_said
from evaluation.rows import TITLES, Row, RowName, class_of_words

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cells:
    """The confusions of pictures, without their zeros: five of a hundred cells are not zero, or fewer.

    Attributes:
        picture: int32 [n], number of the picture, ascending.
        truth: int16 [n], the class that stands there.
        said: int16 [n], the class that was said, C for none.
        pixels: int64 [n], above 0.
    """

    picture: NDArray[np.int32]
    truth: NDArray[np.int16]
    said: NDArray[np.int16]
    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, matrices: Iterable[Counts]) -> "Cells":
        """Take the cells that are not zero out of int64 [C, C + 1] matrices."""
        columns = []
        for number, matrix in enumerate(matrices):
            truth, said = np.nonzero(matrix)
            columns.append((np.full(len(truth), number), truth, said, matrix[truth, said]))
        picture, truth, said, pixels = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls(picture.astype(np.int32), truth.astype(np.int16), said.astype(np.int16), pixels.astype(np.int64))

    def matrix(self, picture: int, classes: int) -> Counts:
        """The confusion of one picture: int64 [C, C + 1]."""
        matrix = np.zeros((classes, classes + 1), np.int64)
        here = slice(*np.searchsorted(self.picture, [picture, picture + 1]))
        matrix[self.truth[here], self.said[here]] = self.pixels[here]
        return matrix

    def total(self, classes: int) -> Counts:
        """The confusion of all pictures: int64 [C, C + 1]."""
        total = np.zeros((classes, classes + 1), np.int64)
        np.add.at(total, (self.truth, self.said), self.pixels)
        return total


@dataclass(frozen=True, eq=False)
class Score:
    """The figures of a row, all from 0 to 1.

    Attributes:
        name: whose segments, whose names.
        mapping: how words became classes; empty where there are no words.
        miou: mean IoU over the classes that occur in the ground truth, over the whole data set.
        miou_of_union: the same over the classes that occur or were said.
        pixel_accuracy: share of pixels.
        unknown: share of pixels that were given no class.
        picture_iou: Zero-guidance's mean over pictures: IoU_tt where classes come from words, IoU_st where they come
            from vectors.
        best_segment_iou: the same with the best segment of each class alone; NaN where classes come without cosines.
        recall: float64 [101], Zero-guidance's segment recall, mean over pictures.
        class_ious: float64 [C], NaN for a class that does not occur.
        cells: the confusion of every picture.
    """

    name: RowName
    mapping: str
    miou: float
    miou_of_union: float
    pixel_accuracy: float
    unknown: float
    picture_iou: float
    best_segment_iou: float
    recall: Floats
    class_ious: Floats
    cells: Cells

    @property
    def title(self) -> str:
        """What the row is called for people."""
        return TITLES[self.name] + (f" ({self.mapping})" if self.mapping else "")

    @property
    def figures(self) -> tuple[float, ...]:
        """What tables show: mIoU, pixel accuracy, unknown, per picture, recall."""
        return self.miou, self.pixel_accuracy, self.unknown, self.picture_iou, self.recall_area

    @property
    def recall_area(self) -> float:
        """The area below the recall curve."""
        return recall_area(self.recall)


def score_row(row: Row, classes: Classes, *, excuses_other: bool) -> Score:
    """Score a row over all its pictures.

    Args:
        row: what is said of every picture; at least one.
        classes: of the data set.
        excuses_other: see `Dataset`.
    """
    cells = Cells.of(confusion(answer.table, answer.given) for answer in row.answers)
    total = cells.total(len(classes))
    seen = [with_background_as_other(answer.table, answer.given, classes.background) for answer in row.answers]
    ious = [picture_iou(table, given, excuses_other=excuses_other) for table, given in seen]
    curves = [segment_recall(table, given, excuses_other=excuses_other) for table, given in seen]
    best = [
        best_segment_iou(table, given, answer.cosines, excuses_other=excuses_other)
        for (table, given), answer in zip(seen, row.answers, strict=True)
        if answer.cosines is not None
    ]
    pixels = int(total.sum())
    return Score(
        name=row.name,
        mapping=row.mapping,
        miou=mean_iou(total),
        miou_of_union=mean_iou_of_union(total),
        pixel_accuracy=pixel_accuracy(total),
        unknown=float(total[:, -1].sum() / pixels) if pixels else 0.0,
        picture_iou=_mean(np.array(ious)),
        best_segment_iou=_mean(np.array(best)),
        recall=_mean_curve(np.array(curves)),
        class_ious=class_ious(total),
        cells=cells,
    )


def costs(scores: Sequence[Score]) -> dict[str, float]:
    """What segments, names and gating cost, as differences of mIoU between rows, for the first mapping.

    - segments: what true segments would add to the data set's names;
    - names: what the data set's names would add to own segments;
    - gating: what knowing which of them are in the picture would add to that.
    """
    found: dict[RowName, float] = {}
    for score in scores:
        found.setdefault(score.name, score.miou)
    return {
        "segments": found[RowName.GIVEN_BOTH] - found[RowName.GIVEN_NAMES],
        "names": found[RowName.GIVEN_NAMES] - found[RowName.LABELER],
        "gating": found[RowName.GIVEN_NAMES_HERE] - found[RowName.GIVEN_NAMES],
    }


def soft_score(observations: Sequence[Observation], classes: Classes, mapping: Mapping) -> float | None:
    """The labeler's soft Jaccard index, the mean over pictures of the mean over their classes; None of other mappings.

    As vicss has it (arXiv 2404.10864), the background is none of the classes. A segment without a word has no weight.
    NaN where no picture has any class.
    """
    if not isinstance(mapping, SoftMapping):
        return None
    words = words_said(region for o in observations for region in o.own)
    weights = dict(zip(words, mapping.weights(words), strict=True))
    nothing = np.zeros(len(classes), np.float32)
    means = []
    for o in observations:
        pixels = o.table(o.own, len(classes))[:, : len(classes)]
        found = soft_jaccard(pixels, np.stack([weights.get(region.word, nothing) for region in o.own]))
        counted = np.delete(found, [] if classes.background is None else classes.background)
        means.append(_mean(counted))
    return _mean(np.array(means))


@dataclass(frozen=True, eq=False)
class LevelCurve:
    """The labeler's mIoU under one mapping, with ever looser reasons allowed for a word to be a class.

    Attributes:
        mapping: its name.
        mious: by level, from the closest to the loosest.
    """

    mapping: str
    mious: dict[str, float]

    @property
    def area(self) -> float:
        """The mean over the levels."""
        return sum(self.mious.values()) / len(self.mious)


def level_curve(observations: Sequence[Observation], classes: Classes, mapping: Mapping) -> LevelCurve | None:
    """The labeler's mIoU at every level; None where the mapping used none but the first."""
    words = words_said(region for o in observations for region in o.own)
    used = {match.level for match in mapping.matches(words)} if words else set()
    if not used - {None, Level.EXACT}:
        return None
    tables = [o.table(o.own, len(classes)) for o in observations]
    mious = {}
    for level in Level:
        numbers = class_of_words(observations, classes, mapping, level)
        given = [np.array([numbers[region.word] for region in o.own], np.int64) for o in observations]
        total: Counts = np.sum([confusion(table, each) for table, each in zip(tables, given, strict=True)], axis=0)
        mious[level.value] = mean_iou(total)
    return LevelCurve(mapping.name, mious)


def _mean(values: Floats) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _mean_curve(curves: Floats) -> Floats:
    counted = curves[np.isfinite(curves).all(axis=1)]
    mean: Floats = counted.mean(axis=0) if len(counted) else np.full(curves.shape[1], np.nan)
    return mean
