"""From what was retrieved for a picture to the names of its segments."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labeler.answers import EVIDENCE, Named, to_label, to_unknown
from labeler.concept_space import NOT_SAID
from labeler.gating import allowed, is_unknown, shares
from labeler.merging import stand_ins
from labeler.naming_config import Naming, NamingConfig
from labeler.retriever import Retriever
from labeler.scoring import pool_words, score_words
from labeler.seen import Seen
from labeler.tag_naming import name_as_tag
from labeler.zero_guidance import name_by_zero_guidance


def name_picture(seen: Seen, retriever: Retriever, config: NamingConfig) -> Named:
    """Name the segments of a picture.

    The same picture, index and configuration give the same names, whatever else is looked up or named beside it.

    Args:
        seen: S segments and what was retrieved for them.
        retriever: where words come from.
        config: the method and its settings.
    """
    return METHODS[config.naming](seen, retriever, config)


def name_by_score(seen: Seen, retriever: Retriever, config: NamingConfig) -> Named:
    """The default: every word of the captions and many more are weighed, then once more over the whole picture.

    A label's score is its share, the softmax of the scores over `TEMPERATURE`, among all words that were considered
    for the segment: its own, dropped or not, and those that the whole picture holds.
    """
    pool = pool_words(seen, retriever)  # W words
    scores = score_words(seen, pool, retriever, config)  # float64 [S, W], in cosines
    may = allowed(scores, pool.own, config.gate)  # bool [S, W]
    share = shares(scores, pool.own | may)  # float64 [S, W], rows sum to 1
    ranked = [best_first(score, mask) for score, mask in zip(scores, may, strict=True)]  # of each segment its words
    words = np.array(
        [
            NOT_SAID if is_unknown(scores[row, best], share[row, best[:1]].sum(), config) else pool.numbers[best[0]]
            for row, best in enumerate(ranked)
        ]
    )  # int64 [S]
    pairs = seen.pooled.pairs if config.merges_equal else seen.pooled.pairs[:0]
    groups = stand_ins(words, seen.pooled.areas, pairs)  # int64 [S]
    labels = {}
    for row in np.unique(groups).tolist():
        best = ranked[row]
        evidence = retriever.evidence(seen.hits.nearest(row, EVIDENCE))
        label = to_label(pool.numbers[best], share[row, best], evidence, retriever)
        labels[row] = to_unknown(label) if words[row] == NOT_SAID else label
    return Named(tuple(labels[row] for row in groups.tolist()), groups, words)


def best_first(scores: NDArray[np.float64], may: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The places of the words that may be said, best first; of equal ones the first is better."""
    places = np.flatnonzero(may)
    return places[np.argsort(-scores[places], kind="stable")]


METHODS: dict[Naming, Callable[[Seen, Retriever, NamingConfig], Named]] = {
    Naming.DEFAULT: name_by_score,
    Naming.TAG: name_as_tag,
    Naming.ZERO_GUIDANCE: name_by_zero_guidance,
}
