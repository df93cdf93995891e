"""The words of a picture and how much speaks for each, segment by segment."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeler.naming_config import NamingConfig
from labeler.retriever import Retriever
from labeler.seen import Seen, caption_weights


@dataclass(frozen=True, eq=False)
class Pool:
    """Words that the segments of a picture brought up.

    Attributes:
        numbers: int64 [W], in the retriever's space, ascending.
        own: bool [S, W], whether a segment brought the word up itself, by its captions or directly.
        support: float64 [S, W], share of the weight of a segment's captions that hold the word, 0 to 1.
    """

    numbers: NDArray[np.int64]
    own: NDArray[np.bool_]
    support: NDArray[np.float64]


def pool_words(seen: Seen, retriever: Retriever) -> Pool:
    """The concepts of every segment's captions, and those found directly."""
    segments, captions = seen.hits.rows.shape
    holder, held = retriever.concepts_of(seen.hits)  # L links: caption, word
    numbers = np.unique(np.concatenate([held, seen.direct.ravel()]))
    places = holder // max(captions, 1) * len(numbers) + np.searchsorted(numbers, held)
    cells = segments * len(numbers)
    weights = caption_weights(seen.hits).ravel()[holder]
    support = np.bincount(places, weights=weights, minlength=cells).astype(np.float64).reshape(segments, len(numbers))
    own = (np.bincount(places, minlength=cells) > 0).reshape(support.shape)
    np.put_along_axis(own, np.searchsorted(numbers, seen.direct), values=True, axis=1)
    return Pool(numbers, own, support)


def score_words(seen: Seen, pool: Pool, retriever: Retriever, config: NamingConfig) -> NDArray[np.float64]:
    """The score of every word for every segment, in cosines: float64 [S, W].

        score(z, w) = cos(z, w)
                    + captions_weight cos(centroid of z's captions, w)        as CaSED (arXiv 2306.00917)
                    + picture_weight  cos(whole picture, w)                   as FreeDA (arXiv 2404.06542)
                    - hub_weight      mean cosine of w to the captions of the index
                    + support_weight  log(support of w among z's captions + 1 / k)

    The first four are one product with `seen.queries`. A word that no caption of a segment holds counts as much as
    half the support of one average caption does, and not as impossible: 1 / k is that caption's share.
    """
    scores = seen.queries.astype(np.float64) @ retriever.space.vectors(pool.numbers).T.astype(np.float64)
    floor = 1 / max(seen.hits.rows.shape[1], 1)
    return scores + config.support_weight * np.log(pool.support + floor)
