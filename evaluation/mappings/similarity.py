"""Names to classes by the cosine of sentence embeddings: TAG's forced mapping, Zero-guidance's threshold, vicss's soft.

Every class takes part with its published string alone; an alias would give its class a second chance. The background
takes part like any other class, with its published string. Names and strings are encoded as they stand, without a
prompt and without lower-casing, as the sources do.

What TAG's released code does otherwise, and what became of it here: where a threshold is set, it writes -1 for a name
below and then drops those pixels from the confusion matrix, so that refusing raises the score; here -1 is a miss. It
compares raw dot products, which are cosines only because all-mpnet-base-v2 ends in a normalisation; here vectors are
normalised whatever the model.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.classes import UNKNOWN_CLASS, Classes
from evaluation.mappings.mapping import MappingName, Match
from evaluation.mappings.sentences import SentenceEncoder

RULE_VERSION = 1

THRESHOLD = 0.5
"""Zero-guidance Segmentation (arXiv 2303.13396) drops what is less similar, with the same sentence model as TAG."""


class SimilarityMapping:
    """The class of the highest cosine; unknown where even that is below a threshold.

    `sbert_forced` has no threshold: TAG's published protocol. `sbert_thr` has 0.5.

    Args:
        name: what the mapping is called.
        classes: the first of equal ones wins.
        encoder: of names and class strings.
        threshold: the least cosine, -1 to 1.
    """

    def __init__(self, name: MappingName, classes: Classes, encoder: SentenceEncoder, threshold: float = -1.0) -> None:
        self.name = name.value
        self.version = f"{RULE_VERSION}, at least {threshold:g}, {encoder.identity}"
        self._threshold = threshold
        self._encoder = encoder
        self._classes = encoder.encode(classes.published)

    def cosines(self, names: Sequence[str]) -> NDArray[np.float32]:
        """The cosine of every name with every class: float32 [N, C], -1 to 1."""
        distinct = sorted(set(names))  # the same batches, and so the same bits, in whatever order names come
        if not distinct:
            return np.zeros((0, len(self._classes)), dtype=np.float32)
        rows = {name: row for row, name in enumerate(distinct)}
        cosines = np.clip(self._encoder.encode(distinct) @ self._classes.T, -1.0, 1.0)
        return cosines[[rows[name] for name in names]]

    def matches(self, names: Sequence[str]) -> tuple[Match, ...]:
        """What the mapping says of each name: the class and the cosine, of the best class even where it is refused."""
        return tuple(self._match(row) for row in self.cosines(names))

    def _match(self, cosines: NDArray[np.float32]) -> Match:
        best = int(cosines.argmax())
        cosine = float(cosines[best])
        return Match(best if cosine >= self._threshold else UNKNOWN_CLASS, score=round(cosine, 6))


class SoftMapping(SimilarityMapping):
    """vicss's soft assignment (arXiv 2404.10864): a name belongs to every class as far as its cosine is above 0.

    Its measure, SJI, takes `weights` (`evaluation.scores.soft_score`). Where one class is needed, it is that of the
    greatest weight, and none where no weight is above 0. vicss computes its cosines with all-MiniLM-L6-v2.
    """

    def __init__(self, classes: Classes, encoder: SentenceEncoder) -> None:
        super().__init__(MappingName.SOFT, classes, encoder, threshold=float(np.finfo(np.float32).tiny))
        self.version = f"{RULE_VERSION}, above 0, {encoder.identity}"

    def weights(self, names: Sequence[str]) -> NDArray[np.float32]:
        """How far each name belongs to each class: max(0, cosine), float32 [N, C], 0 to 1."""
        return np.maximum(self.cosines(names), 0)
