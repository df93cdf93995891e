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
                    + support_weight  log(support of w + 1 / k)

    The first four are one product with `seen.queries`. Support is that among z's captions, and for a part of
    `shared_support` that among the captions of all the picture's segments, by their areas: they speak of one picture.
    A word that no caption holds counts as much as half the support of one average caption does, and not as impossible:
    1 / k is that caption's share.
    """
    scores = seen.queries.astype(np.float64) @ retriever.space.vectors(pool.numbers).T.astype(np.float64)
    floor = 1 / max(seen.hits.rows.shape[1], 1)
    support = share_support(pool.support, seen.pooled.areas, config.shared_support)
    return scores + config.support_weight * np.log(support + floor)


def share_support(support: NDArray[np.float64], areas: NDArray[np.int64], shared: float) -> NDArray[np.float64]:
    """Own support, and the mean over the picture by area for a part of it.

    >>> share_support(np.array([[1.0, 0.0], [0.0, 0.2]]), np.array([30, 10]), 0.5).round(3).tolist()
    [[0.875, 0.025], [0.375, 0.125]]

    Args:
        support: float64 [S, W], of words by the captions of each segment, 0 to 1.
        areas: int64 [S].
        shared: the part, 0 to 1.

    Returns:
        float64 [S, W].
    """
    picture = areas / areas.sum() @ support  # float64 [W]
    return (1 - shared) * support + shared * picture
