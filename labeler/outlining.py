"""From named regions to labelled segments: outlines at the picture's own size.

Outlines are drawn before regions are named (`regions`), or once they have names and those that touch under one name
are one thing: from the things as they are (`names`), or from the cells anew (`words`): then every cell goes to the word
that fits it best among those that the picture was given, and a thing may win what its neighbour had.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labeler.answers import Named
from labeler.concept_space import NOT_SAID
from labeler.config import LabelerConfig
from labeler.labeled import LabeledImage
from labeler.merging import regroup, stand_ins
from labeler.methods import Outlines
from labeler.naming_config import Naming
from labeler.retriever import Retriever
from labeler.seen import Pooled
from segmenter import Segments, draw_outlines, neighbours
from segmenter.upsample import upsample

Floats = NDArray[np.float32]
Cells = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen of a picture before anything has a name.

    Attributes:
        picture: uint8 [H, W, 3] RGB.
        segments: S segments of the picture; of its cells, [rows, cols], where outlines are drawn later.
        pooled: what the networks say of them.
        cells: float32 [rows', cols', D], unit rows, dense vectors in the space shared with text; None where outlines
            are not drawn from them.
    """

    picture: NDArray[np.uint8]
    segments: Segments
    pooled: Pooled
    cells: Floats | None = None


def outline(look: Look, named: Named, retriever: Retriever, config: LabelerConfig) -> LabeledImage:
    """Named regions -> labelled segments.

    Args:
        look: a picture and its S segments.
        named: their names, and which of them are one thing.
        retriever: where the words come from.
        config: what outlines are drawn from, and how.
    """
    labeled = OUTLINES[config.recipe.outlines](look, named, retriever, config)
    return replace(labeled, picture=look.picture)


def keep_outlines(look: Look, named: Named, *_: object) -> LabeledImage:
    """Segments have outlines; each thing becomes one."""
    return regroup(look.segments, named.labels, named.groups)


def outline_names(look: Look, named: Named, _: Retriever, config: LabelerConfig) -> LabeledImage:
    """Draw every thing as its cells lie."""
    return _drawn(look, named, *things_of(look, named), config)


def outline_words(look: Look, named: Named, retriever: Retriever, config: LabelerConfig) -> LabeledImage:
    """Give every cell to the word that fits it best, of those that the picture has, then draw."""
    things, home = things_of(look, named)
    words = named.words[things]  # int64 [T]
    known = np.unique(words[words != NOT_SAID])  # int64 [W]
    if len(known) > 1:
        scores = upsample(score_cells(look, known, retriever, config), *home.shape)  # float32 [rows, cols, W]
        home = deal_cells(scores, known, words, home, config.home_weight)
    return _drawn(look, named, things, home, config)


def things_of(look: Look, named: Named) -> tuple[NDArray[np.int64], Cells]:
    """The things of a picture, by the rows of the segments that stand for them, and the thing that each cell is in.

    Returns:
        int64 [T], ascending; integer [rows, cols], values 0 to T - 1.
    """
    things, which = np.unique(named.groups, return_inverse=True)
    return things, which[look.segments.label_map - 1]


def score_cells(look: Look, words: NDArray[np.int64], retriever: Retriever, config: LabelerConfig) -> Floats:
    """The score of words for every cell, by those terms of a segment's score that need no captions.

        score(c, w) = cos(c, w) + picture_weight cos(whole picture, w) - hub_weight mean cosine of w to the captions

    Ways of naming that know no such terms have the cosine alone.

    Args:
        look: a picture.
        words: int64 [W], their numbers.
        retriever: where they come from.
        config: the weights.

    Returns:
        float32 [rows', cols', W], in cosines.
    """
    wording, vectors = config.wording, retriever.space.vectors(words)  # float32 [W, D]
    assert look.cells is not None, "words are scored by cells"
    scores: Floats = look.cells @ vectors.T
    if wording.naming is not Naming.DEFAULT:
        return scores
    scores -= np.float32(wording.hub_weight) * (vectors @ retriever.mean_caption)
    if look.pooled.whole is not None:
        scores += np.float32(wording.picture_weight) * (vectors @ look.pooled.whole)
    return scores


def deal_cells(scores: Floats, known: NDArray[np.int64], words: NDArray[np.int64], home: Cells, ahead: float) -> Cells:
    """The thing that each cell goes to: that of the highest score.

    A word's score counts for one thing, the nearest that has it, so that two things of one word stay two; the cell's
    own thing is `ahead` of the others. Cells of a thing without a word stay with it, and it gets no others.

    Args:
        scores: float32 [rows, cols, W], of each word for each cell, in cosines.
        known: int64 [W], the numbers of these words, ascending.
        words: int64 [T], the word of each thing, `NOT_SAID` if it has none.
        home: integer [rows, cols], the thing that each cell is in.
        ahead: a cosine.

    Returns:
        integer [rows, cols], values 0 to T - 1; of equal scores the first thing's.
    """
    own = home[..., None] == np.arange(len(words))  # bool [rows, cols, T]
    column = np.searchsorted(known, words).clip(max=len(known) - 1)  # of each thing; what has no word is left out
    counts = nearest_of_word(own, words) & (words != NOT_SAID)
    chances = np.where(counts, scores[..., column] + np.float32(ahead) * own, -np.inf)
    return np.where(words[home] == NOT_SAID, home, chances.argmax(axis=2))


def nearest_of_word(own: NDArray[np.bool_], words: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each cell and word, the thing of that word that has the nearest cell, the first of those that tie.

    Args:
        own: bool [rows, cols, T], whether a cell is in a thing.
        words: int64 [T], the word of each thing.

    Returns:
        bool [rows, cols, T].
    """
    from scipy.ndimage import distance_transform_edt  # not loaded for --help

    nearest = np.ones(own.shape, np.bool_)
    for word in np.unique(words):
        same = np.flatnonzero(words == word)
        if len(same) > 1:
            away = np.stack([distance_transform_edt(~own[..., thing]) for thing in same], axis=2)
            nearest[..., same] = away.argmin(axis=2)[..., None] == np.arange(len(same))
    return nearest


def _drawn(look: Look, named: Named, things: NDArray[np.int64], home: Cells, config: LabelerConfig) -> LabeledImage:
    """Outlines of things, from the thing that each cell is in, [rows, cols]; what touches under one name is one."""
    maps = np.eye(len(things), dtype=np.float32)[home]  # float32 [rows, cols, T]
    segments, which = draw_outlines(look.picture, maps, config.cutting)
    rows = things[which]
    labels, words = [named.labels[row] for row in rows], named.words[rows]
    if not config.wording.merges_equal or len(np.unique(words)) == len(words):
        return LabeledImage(segments, tuple(labels))
    touching, _ = neighbours(segments)  # only now is it known for certain, to the pixel
    return regroup(segments, labels, stand_ins(words, segments.areas, touching - 1))


OUTLINES: dict[Outlines, Callable[..., LabeledImage]] = {
    Outlines.REGIONS: keep_outlines,
    Outlines.NAMES: outline_names,
    Outlines.WORDS: outline_words,
}
