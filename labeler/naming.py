"""From what was retrieved for a picture to the names of its segments."""

from collections.abc import Callable, Sequence

import numpy as np

from labeler.answers import EVIDENCE, Named, to_label, to_unknown
from labeler.gating import allowed, is_unknown, shares
from labeler.labeled import Label
from labeler.merging import merge_equal
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
    labels = []
    for row in range(len(scores)):
        words = np.flatnonzero(may[row])
        words = words[np.argsort(-scores[row, words], kind="stable")]
        evidence = retriever.evidence(seen.hits.nearest(row, EVIDENCE))
        label = to_label(pool.numbers[words], share[row, words], evidence, retriever)
        unknown = is_unknown(scores[row, words], label.name.score, config)
        labels.append(to_unknown(label) if unknown else label)
    return _merged(labels, seen, config)


def _merged(labels: Sequence[Label], seen: Seen, config: NamingConfig) -> Named:
    """Touching segments of one name become one, with the label of the largest."""
    if config.keep_equal:
        return Named(tuple(labels), np.arange(len(labels)))
    groups = merge_equal([label.name.label for label in labels], seen.pooled.pairs)
    largest = np.array([max(np.flatnonzero(groups == group), key=seen.pooled.areas.__getitem__) for group in groups])
    return Named(tuple(labels[row] for row in largest), largest)


METHODS: dict[Naming, Callable[[Seen, Retriever, NamingConfig], Named]] = {
    Naming.DEFAULT: name_by_score,
    Naming.TAG: name_as_tag,
    Naming.ZERO_GUIDANCE: name_by_zero_guidance,
}
