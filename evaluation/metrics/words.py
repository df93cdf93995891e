"""What the labels themselves are like, whatever they are worth: how many, how different, how often none."""

from collections.abc import Sequence
from dataclasses import dataclass

from labeler.labels import UNKNOWN


@dataclass(frozen=True)
class LabelStatistics:
    """Facts about the labels of a run.

    Attributes:
        segments: labelled in all.
        unknown: share of segments for which the labeler had no word, 0 to 1.
        distinct: different labels, unknown not among them.
        per_picture: mean number of different labels in a picture, unknown not among them.
    """

    segments: int
    unknown: float
    distinct: int
    per_picture: float


def label_statistics(pictures: Sequence[Sequence[str]]) -> LabelStatistics:
    """Count the labels of pictures.

    >>> label_statistics([["cat", "cat", "sofa"], ["unknown"]])
    LabelStatistics(segments=4, unknown=0.25, distinct=2, per_picture=1.0)
    """
    said = [set(labels) - {UNKNOWN} for labels in pictures]
    segments = sum(len(labels) for labels in pictures)
    unknown = sum(label == UNKNOWN for labels in pictures for label in labels)
    return LabelStatistics(
        segments=segments,
        unknown=unknown / segments if segments else 0.0,
        distinct=len(set().union(*said)),
        per_picture=sum(map(len, said)) / len(said) if said else 0.0,
    )
