"""From retrieved captions to a name: every caption votes for its words, near captions louder."""

import math
import re
from collections.abc import Sequence

from labeler.labeled import UNKNOWN, Evidence, Label, Name

TEMPERATURE = 0.01
"""CLIP's own: its logits are cosines times 100, so a caption 0.01 nearer weighs e times more."""

ALTERNATIVES = 5

_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_NOT_NAMES = frozenset(
    """
    a an and are as at be been being but by can do does for from had has have he her here hers him his how i if in into
    is it its just like more most my near next no not now of off on one only or other our out over own per she so some
    such than that the their them then there these they this those through to too two under up us very was we were what
    when where which while who why will with you your
    image images photo photos photograph picture pictures stock view views background illustration
    """.split()
)
"""Words that no region is called by: function words, and words for the picture itself."""


def candidate_words(caption: str) -> tuple[str, ...]:
    """The words of a caption that could be names, in lower case, each once, in order.

    >>> candidate_words("A photo of the cat on a T-shirt, near another cat")
    ('cat', 't-shirt', 'another')
    """
    words = (word.lower() for word in _WORD.findall(caption))
    return tuple(dict.fromkeys(word for word in words if word not in _NOT_NAMES and len(word) > 1))


def choose_label(evidence: Sequence[Evidence]) -> Label:
    """Name a segment by the word that its captions agree on.

    A word's score is the share of the retrieval weight, softmax(cosine / `TEMPERATURE`), of the captions that hold
    it: 1 where all do. Equal scores are ordered by the alphabet.
    """
    best = max((hit.score for hit in evidence), default=0.0)
    weights = [math.exp((hit.score - best) / TEMPERATURE) for hit in evidence]
    votes: dict[str, float] = {}
    for hit, weight in zip(evidence, weights, strict=True):
        for word in candidate_words(hit.caption):
            votes[word] = votes.get(word, 0.0) + weight
    total = sum(weights)
    ranked = sorted(votes, key=lambda word: (-votes[word], word))
    names = [Name(word, votes[word] / total) for word in ranked[: ALTERNATIVES + 1]] or [Name(UNKNOWN, 0.0)]
    return Label(name=names[0], alternatives=tuple(names[1:]), evidence=tuple(evidence))
