"""A second look over the whole picture: which words it holds at all, and which segments stay without one.

The idea is FreeCP's, which prunes a list of classes; here it prunes the words that the segments themselves brought up.
"""

import numpy as np
from numpy.typing import NDArray

from labeler.naming_config import NamingConfig
from labeler.seen import TEMPERATURE, softmax

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


def supported(scores: Scores, own: Mask, gate: float) -> Mask:
    """The words that some segment supports well: among its own words, it gives them a share of at least `gate`.

    Args:
        scores: float64 [S, W], in cosines.
        own: bool [S, W], the words that each segment brought up.
        gate: 0 to 1. FreeCP's thresholds for the same purpose are 0.1 to 0.15.

    Returns:
        bool [W]. All words where none is supported so well: then the picture gives nothing to go by.
    """
    good: Mask = np.any(shares(scores, own) >= gate, axis=0)
    return good if good.any() else np.ones_like(good)


def allowed(scores: Scores, own: Mask, gate: float) -> Mask:
    """The words that may be said of each segment: bool [S, W].

    With a gate, any word that the picture holds, so that a blurred segment may take its neighbours' word; without
    (0), every segment's own words.
    """
    return np.broadcast_to(supported(scores, own, gate), own.shape) if gate else own


def shares(scores: Scores, considered: Mask) -> Scores:
    """softmax(score / `TEMPERATURE`) of each segment among the words considered: float64 [S, W], 0 for the others."""
    return softmax(np.where(considered, scores / TEMPERATURE, -np.inf))


def is_unknown(leading: Scores, share: float, config: NamingConfig) -> bool:
    """Whether a segment is better left without a word.

    Args:
        leading: the scores of its words, best first, in cosines.
        share: that of the best, 0 to 1.
        config: the least share, and the least lead over the next word.
    """
    leads = len(leading) < 2 or leading[0] - leading[1] >= config.least_margin
    return not len(leading) or share < config.least_score or not leads
