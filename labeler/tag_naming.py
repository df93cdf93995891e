"""Names as TAG chooses them (arXiv 2403.11197): the word of its filter that lies nearest to the segment."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labeler.answers import EVIDENCE, Named, first_of, to_label
from labeler.labels import Label
from labeler.merging import connected
from labeler.naming_config import NamingConfig
from labeler.retriever import Hits, Retriever
from labeler.seen import TEMPERATURE, Seen, softmax
from labeler.tag_words import other_singulars, tag_words

NEAR_DUPLICATE = 0.94
"""Captions nearer to each other than this count as one, TAG's value."""


def name_as_tag(seen: Seen, retriever: Retriever, _: NamingConfig) -> Named:
    """Name each segment by itself, as published.

    What differs from the released code, and why:

    - Candidates of other segments are left out. There their cosines are multiplied by 0 and take part in the maximum,
      so that a word of another segment, or another picture, wins where all of a segment's own cosines are negative.
    - Captions and words are compared by the vectors stored in the index. There all captions are encoded again for
      every picture, and words by the bare word; here words have the prompts that the index was built with.
    - What is a noun or a name was decided when the index was built, in the sentence. There flair tags the words of all
      captions strung together, in lower case, and lets adjectives and participles pass. A word of the filter that is
      no concept of the index cannot be said; of plurals that the filter leaves as they are (women, cherries, tomatoes)
      the index holds the singular, and that is said.
    - A segment whose filter lets no word pass is unknown. There it is an "object".
    - Words are ordered, so that equal cosines have one winner. There they are a set.
    """
    vectors = retriever.caption_vectors(seen.hits)  # float32 [S, k, D]
    named = [
        _name(z, seen.hits[row : row + 1], distinct(vectors[row], NEAR_DUPLICATE), retriever)
        for row, z in enumerate(seen.pooled.vectors)
    ]
    labels, words = zip(*named, strict=True)
    return Named(labels, np.arange(len(labels)), np.array(words))


def distinct(vectors: NDArray[np.float32], above: float) -> NDArray[np.int64]:
    """The first of each group of near-duplicates; groups are connected by cosines above a threshold.

    Args:
        vectors: float32 [k, d], unit rows.
        above: the threshold.

    Returns:
        int64 [up to k], ascending.
    """
    return np.unique(connected(len(vectors), np.argwhere(vectors @ vectors.T > above)))


def _sayable(words: Sequence[str], hits: Hits, retriever: Retriever) -> list[int]:
    """The numbers of words, or else of what they are plurals of, each once and in the order of the words.

    Of plurals only what the captions hold: what flies in them is no fly.
    """
    space, held = retriever.space, set(retriever.concepts_of(hits)[1].tolist())
    found = [
        space.find([word]) or [number for number in space.find(list(other_singulars(word))) if number in held][:1]
        for word in words
    ]
    return list(dict.fromkeys(number for numbers in found for number in numbers))


def _name(z: NDArray[np.float32], hits: Hits, kept: NDArray[np.int64], retriever: Retriever) -> tuple[Label, int]:
    """A segment's label and the number of its word."""
    captions = retriever.evidence(hits)
    words = tag_words([captions[place].caption for place in kept])
    numbers = np.array(_sayable(words, hits, retriever), np.int64)
    cosines = retriever.space.vectors(numbers).astype(np.float64) @ z
    order = np.argsort(-cosines, kind="stable")
    label = to_label(numbers[order], softmax(cosines / TEMPERATURE)[order], captions[:EVIDENCE], retriever)
    return label, first_of(numbers[order])
