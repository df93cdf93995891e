"""Names as in Zero-guidance Segmentation (arXiv 2303.13396): segments are merged where they mean the same."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from labeler.answers import EVIDENCE, Named, first_of, to_label
from labeler.labels import Label
from labeler.merging import merge_alike
from labeler.naming_config import NamingConfig
from labeler.retriever import Hits, Retriever
from labeler.seen import TEMPERATURE, Seen, softmax, unit

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Node:
    """A segment, or several that were merged.

    Attributes:
        total: float64 [D], the sum of the segments' vectors, each times its area.
        hits: its captions, [1, k], nearest first.
        numbers: int64 [n], words of these captions, best first.
        cosines: float64 [n], of each word to the mean caption.
        text: float64 [D], the first word's vector; zeros if there is none.
    """

    total: Vector
    hits: Hits
    numbers: NDArray[np.int64]
    cosines: Vector
    text: Vector

    @property
    def image(self) -> Vector:
        """float64 [D], the mean of the segments' vectors by area, scaled to length 1."""
        return unit(self.total)


def name_by_zero_guidance(seen: Seen, retriever: Retriever, config: NamingConfig) -> Named:
    """Name segments, then merge those that touch and are alike, bottom-up.

    The paper lets GPT-2 write a text for each segment, guided by CLIP. No text is written here: a segment's text is the
    concept of its captions that lies nearest to the mean of these captions. The paper merges siblings of the tree that
    its clustering made; here any two that touch may be merged, the most alike first, so that halves of one thing become
    one though they look different and stand in branches far apart. A merged segment's vector is the mean of its parts'
    by area; no mask is seen a second time. What it is called is found again from the captions of its parts, among which
    its own nearest are chosen.
    """
    picture = seen.pooled
    vectors = retriever.caption_vectors(seen.hits)  # float32 [S, k, D]
    nodes = [
        _node(area * z.astype(np.float64), seen.hits[row : row + 1], vectors[row], retriever)
        for row, (z, area) in enumerate(zip(picture.vectors, picture.areas, strict=True))
    ]
    joined = partial(join, retriever=retriever)
    groups, merged = merge_alike(nodes, picture.pairs, likeness, joined, config.merge_from)
    labels = {row: _label(node, retriever) for row, node in merged.items()}
    words = np.array([first_of(merged[group].numbers) for group in groups.tolist()])
    return Named(tuple(labels[group] for group in groups.tolist()), groups, words)


def likeness(one: Node, other: Node) -> float:
    """0.5 cos(image, image) + 0.5 cos(text, text), -1 to 1."""
    return float(0.5 * (one.image @ other.image) + 0.5 * (one.text @ other.text))


def join(one: Node, other: Node, retriever: Retriever) -> Node:
    """One node of two: images added by area, captions chosen again from both, named again."""
    total = one.total + other.total
    places, rows = (
        np.concatenate([getattr(one.hits, name)[0], getattr(other.hits, name)[0]]) for name in ("places", "rows")
    )
    places, rows = np.unique(np.stack([places, rows]), axis=1)  # by index and row
    vectors = retriever.caption_vectors(Hits(places, rows, np.zeros(0, np.float32)))  # float32 [n, D]
    cosines = (vectors @ unit(total)).astype(np.float32)
    best = np.argsort(-cosines, kind="stable")[: max(one.hits.rows.size, other.hits.rows.size)]
    hits = Hits(places[None, best], rows[None, best], cosines[None, best])
    return _node(total, hits, vectors[best], retriever)


def _node(total: Vector, hits: Hits, captions: NDArray[np.float32], retriever: Retriever) -> Node:
    numbers = np.unique(retriever.concepts_of(hits)[1])
    words = retriever.space.vectors(numbers).astype(np.float64)
    if not len(numbers):
        return Node(total, hits, numbers, np.zeros(0), np.zeros_like(total))
    cosines = words @ unit(captions.astype(np.float64).mean(axis=0))
    order = np.argsort(-cosines, kind="stable")
    return Node(total, hits, numbers[order], cosines[order], unit(words[order[0]]))


def _label(node: Node, retriever: Retriever) -> Label:
    evidence = retriever.evidence(node.hits.nearest(0, EVIDENCE))
    return to_label(node.numbers, softmax(node.cosines / TEMPERATURE), evidence, retriever)
