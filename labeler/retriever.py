"""Segment vectors to captions and their concepts, over one index or several."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_index.faiss_index import Searcher
from labeler.labeled import Evidence
from labeler.naming import Candidates
from shards import EncoderIdentity, EncoderMismatch, Index, open_indexes


class Retriever:
    """Searches all indexes of a folder as if they were one."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        """Open the search indexes.

        Raises:
            EncoderMismatch: the indexes hold vectors of different encoders.
            ShardDamaged: a search index does not fit its vectors.
        """
        self.indexes = indexes
        self._searchers = [Searcher(index) for index in indexes]
        # Concepts are opened here and not when first needed: a build that ends meanwhile deletes the older tables.
        self._concepts = {index.name: index.concepts for index in indexes}
        first = indexes[0]
        for other in indexes[1:]:
            if other.manifest.encoder.key() != first.manifest.encoder.key():
                raise EncoderMismatch(
                    f"{first.folder} holds vectors of {first.manifest.encoder.describe()}, {other.folder} of "
                    f"{other.manifest.encoder.describe()}; name one of them with --index"
                )

    @classmethod
    def open(cls, path: Path) -> "Retriever":
        """Open an index, or a folder of them.

        Raises:
            ShardError: there is none, or one that cannot be used.
        """
        return cls(open_indexes(path))

    @property
    def encoder(self) -> EncoderIdentity:
        """The encoder whose vectors these are."""
        return self.indexes[0].manifest.encoder

    def require(self, encoder: EncoderIdentity) -> None:
        """Refuse an encoder that did not make these vectors.

        Raises:
            EncoderMismatch: it is another one.
        """
        self.encoder.require(encoder, str(self.indexes[0].folder))

    def search(self, vectors: NDArray[np.float32], k: int) -> list[tuple[Evidence, ...]]:
        """The k captions nearest to each vector, best first.

        Equal cosines are ordered by index and row, and a vector's result does not depend on its neighbours in the
        batch.

        Args:
            vectors: float32 [n, d], unit rows.
            k: captions wanted for each.
        """
        found = [searcher.search(vectors, k) for searcher in self._searchers]
        return [self._merged([(scores[n], rows[n]) for scores, rows in found], k) for n in range(len(vectors))]

    def candidates(self, evidence: Sequence[Evidence]) -> Candidates:
        """The concepts that captions hold and that may be said, each once, in order of first appearance."""
        places: dict[str, int] = {}
        vectors: list[NDArray[np.float32]] = []
        held: list[tuple[int, int]] = []
        for position, hit in enumerate(evidence):
            concepts = self._concepts[hit.index]
            ids = [number for number in concepts.of_row(hit.row).tolist() if concepts.counts[number]]
            for word, number in zip(concepts.words(ids), ids, strict=True):
                if word not in places:
                    places[word] = len(vectors)
                    vectors.append(concepts.vectors([number])[0])
                held.append((places[word], position))
        matrix = np.zeros((len(places), len(evidence)), np.bool_)
        for place, position in held:
            matrix[place, position] = True
        stacked = np.stack(vectors) if vectors else np.zeros((0, self.encoder.dimension), np.float32)
        return Candidates(list(places), stacked, matrix)

    def _merged(self, found: list[tuple[NDArray[np.float32], NDArray[np.int64]]], k: int) -> tuple[Evidence, ...]:
        hits = sorted(
            (-float(score), place, int(row))
            for place, (scores, rows) in enumerate(found)
            for score, row in zip(scores, rows, strict=True)
        )
        return tuple(
            Evidence(
                index=self.indexes[place].name,
                row=row,
                score=-negated,
                caption=self.indexes[place].captions([row])[0],
            )
            for negated, place, row in hits[:k]
        )
