"""From retrieved captions to a name: the concepts they hold, weighed by the segment and by the captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeler.labeled import UNKNOWN, Evidence, Label, Name

TEMPERATURE = 0.01
"""CLIP's own: its logits are cosines times 100, so what is 0.01 nearer weighs e times more."""

ALTERNATIVES = 5


@dataclass(frozen=True, eq=False)
class Candidates:
    """The concepts that a segment's captions hold.

    Attributes:
        words: n concepts, in order of first appearance.
        vectors: float32 [n, d], unit rows.
        held: bool [n, k], whether caption k holds concept n.
    """

    words: Sequence[str]
    vectors: NDArray[np.float32]
    held: NDArray[np.bool_]


def choose_label(vector: NDArray[np.float32], evidence: Sequence[Evidence], candidates: Candidates) -> Label:
    """Name a segment.

    A concept's logit is its cosine to the segment over `TEMPERATURE`, as CLIP would classify it among the candidates,
    plus the logarithm of its support: the share of the retrieval weight, softmax(cosine / `TEMPERATURE`), of the
    captions that hold it. Scores are the softmax of the logits. Equal scores are ordered by the alphabet.

    Args:
        vector: float32 [d], unit length.
        evidence: k captions.
        candidates: their concepts.
    """
    if not len(candidates.words):
        return Label(Name(UNKNOWN, 0.0), (), tuple(evidence))
    cosines = np.array([hit.score for hit in evidence])
    support = candidates.held @ _softmax(cosines / TEMPERATURE)
    scores = _softmax(candidates.vectors.astype(np.float64) @ vector / TEMPERATURE + np.log(support))
    ranked = sorted(range(len(scores)), key=lambda place: (-scores[place], candidates.words[place]))
    names = [Name(candidates.words[place], float(scores[place])) for place in ranked[: ALTERNATIVES + 1]]
    return Label(names[0], tuple(names[1:]), tuple(evidence))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
