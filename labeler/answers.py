"""What every way of naming hands back."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeler.concept_space import NOT_SAID
from labeler.labels import UNKNOWN, Evidence, Label, Name
from labeler.retriever import Retriever

ALTERNATIVES = 5
EVIDENCE = 10
"""Captions shown for a label. More may have had a say; a person reads no more."""


@dataclass(frozen=True, eq=False)
class Named:
    """The names of a picture's segments, and which segments are one thing.

    Attributes:
        labels: S labels. Segments of one group have the same.
        groups: int64 [S], for each segment the row of one that stands for its group; its own row if it is alone.
        words: int64 [S], numbers of the names in the retriever's space; `NOT_SAID` for unknown ones.
    """

    labels: tuple[Label, ...]
    groups: NDArray[np.int64]
    words: NDArray[np.int64]


def first_of(numbers: NDArray[np.int64]) -> int:
    """The number of the first word, `NOT_SAID` if there is none."""
    return int(numbers[0]) if len(numbers) else NOT_SAID


def to_label(
    numbers: NDArray[np.int64], shares: NDArray[np.float64], evidence: Sequence[Evidence], retriever: Retriever
) -> Label:
    """A label from words in order: the first is the name, the next are the runners-up; unknown if there is none.

    Args:
        numbers: of words in the retriever's space, best first.
        shares: of each, 0 to 1.
        evidence: the segment's captions.
        retriever: what knows the words' texts.
    """
    shown = slice(0, ALTERNATIVES + 1)
    words = retriever.space.words(numbers[shown])
    names = [Name(word, share) for word, share in zip(words, shares[shown].tolist(), strict=True)]
    best, *others = names or [Name(UNKNOWN, 0.0)]
    return Label(best, tuple(others), tuple(evidence))


def to_unknown(label: Label) -> Label:
    """The label of a segment that is better left without a word: what would have been said leads the runners-up."""
    if label.name.label == UNKNOWN:
        return label
    return Label(Name(UNKNOWN, 0.0), (label.name, *label.alternatives)[:ALTERNATIVES], label.evidence)
