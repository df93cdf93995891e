"""What naming knows of a picture: its segments' vectors, and what the index holds near them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from labeler.naming_config import Naming, NamingConfig
from labeler.retriever import Hits, Retriever

TEMPERATURE = 0.01
"""CLIP's own: its logits are cosines times 100, so what is 0.01 nearer weighs e times more."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """What the networks say of a picture.

    Attributes:
        vectors: float32 [S, D], unit rows, one for each segment.
        areas: int64 [S], pixels of each.
        pairs: int64 [P, 2], rows of segments that touch, each pair once; none if segments shall stay as they are.
        whole: float32 [D], unit length, of the whole picture; None if it was not seen as a whole.
    """

    vectors: NDArray[np.float32]
    areas: NDArray[np.int64]
    pairs: NDArray[np.int64]
    whole: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture with what was retrieved for it: everything that its names depend on.

    Attributes:
        pooled: S segments.
        hits: captions of each segment, [S, k].
        queries: float32 [S, D], what words are compared with, from `aim`; not unit.
        direct: int64 [S, m], numbers of the words nearest to the queries.
    """

    pooled: Pooled
    hits: Hits
    queries: NDArray[np.float32]
    direct: NDArray[np.int64]


def look_up(pictures: Sequence[Pooled], retriever: Retriever, config: NamingConfig) -> list[Seen]:
    """Retrieve captions and words for the segments of several pictures, with one search each.

    Args:
        pictures: at least one.
        retriever: where words come from.
        config: how many captions and words, and the weights of the score.
    """
    hits = retriever.search_captions(np.concatenate([each.vectors for each in pictures]), config.captions)  # [n, k]
    ends = np.cumsum([0, *(len(each.vectors) for each in pictures)])
    spans = [slice(start, end) for start, end in pairwise(ends)]
    if config.naming is not Naming.DEFAULT:
        none = np.zeros((ends[-1], 0), np.int64)
        return [Seen(each, hits[span], each.vectors, none[span]) for each, span in zip(pictures, spans, strict=True)]
    queries = [aim(each, hits[span], retriever, config) for each, span in zip(pictures, spans, strict=True)]
    direct = retriever.search_concepts(np.concatenate(queries), config.direct)  # int64 [n, m]
    return [
        Seen(each, hits[span], query, direct[span]) for each, span, query in zip(pictures, spans, queries, strict=True)
    ]


def aim(picture: Pooled, hits: Hits, retriever: Retriever, config: NamingConfig) -> NDArray[np.float32]:
    """Where a segment's word is looked for: the terms of the score that are cosines, in one vector.

    With z the segment, c the centroid of its captions, x the whole picture and m the index's mean caption,

        cos(z, w) + a cos(c, w) + g cos(x, w) - h mean_t cos(t, w) = (z + a c + g x - h m) . w

    for any word w of length 1. So one search finds the words that are best by all of these terms.

    Returns:
        float32 [S, D], not unit; the segments' vectors themselves if the weights are 0.
    """
    query = picture.vectors.astype(np.float64)
    if config.captions_weight and hits.rows.shape[1]:
        centroids = unit((caption_weights(hits)[:, None] @ retriever.caption_vectors(hits))[:, 0])
        query = query + config.captions_weight * centroids
    if config.picture_weight and picture.whole is not None:
        query = query + config.picture_weight * picture.whole
    if config.hub_weight:
        query = query - config.hub_weight * retriever.mean_caption
    return query.astype(np.float32)


def caption_weights(hits: Hits) -> NDArray[np.float64]:
    """How much each caption counts for its segment: softmax(cosine / `TEMPERATURE`), float64 [n, k], rows sum to 1."""
    return softmax(hits.cosines.astype(np.float64) / TEMPERATURE)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares along the last axis; minus infinity has none. Rows of nothing else have none at all."""
    if not logits.shape[-1]:
        return logits
    highest = logits.max(axis=-1, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(highest), highest, 0.0))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total, total, 1.0)


def unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows scaled to length 1; zeros stay."""
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(norms, norms, 1.0)
