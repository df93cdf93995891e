"""A data set's own names as vectors, for the oracles that are told what there is to be seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from build_index.concept_stage import embed_concepts
from build_index.encoding import TextEncoder
from evaluation.classes import Classes

BARE = ("{}",)
"""What words are embedded as where an index does not say."""

IMAGE_OF = ("Image of a {}.",)
"""Zero-guidance's prompt, for its IoU_st."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The published strings of C classes as vectors.

    Attributes:
        as_concepts: float32 [C, D], unit rows, with the prompts of the index, as its own words were embedded.
        as_images: float32 [C, D], unit rows, with Zero-guidance's prompt.
    """

    as_concepts: NDArray[np.float32]
    as_images: NDArray[np.float32]


def embed_vocabulary(encoder: TextEncoder, classes: Classes, prompts: Sequence[str]) -> Vocabulary:
    """Embed the published string of every class.

    Args:
        encoder: the text tower of the index.
        classes: C classes.
        prompts: the templates with which the index's words were embedded; none means bare words.
    """
    return Vocabulary(
        embed_concepts(encoder, classes.published, tuple(prompts) or BARE),
        embed_concepts(encoder, classes.published, IMAGE_OF),
    )


def nearest(
    vectors: NDArray[np.float32], vocabulary: NDArray[np.float32], allowed: NDArray[np.intp] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class of highest cosine for each vector, the first of those that tie.

    Args:
        vectors: float32 [S, D], unit rows.
        vocabulary: float32 [C, D], unit rows.
        allowed: numbers of the classes that may be chosen, ascending and not empty; None for all.

    Returns:
        Classes, int64 [S], and their cosines, float64 [S].
    """
    chosen = np.arange(len(vocabulary)) if allowed is None else allowed
    cosines = vectors.astype(np.float64) @ vocabulary[chosen].T.astype(np.float64)
    best = cosines.argmax(axis=1)
    return chosen[best].astype(np.int64), cosines[np.arange(len(vectors)), best]
