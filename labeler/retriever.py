"""Segment vectors to captions and their concepts, over one index or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_index.faiss_index import Searcher
from labeler.concept_space import NOT_SAID, ConceptSpace
from labeler.labels import Evidence
from shards import EncoderIdentity, EncoderMismatch, Index, open_indexes
from shards.reader import steady

RUNS, RUN_ROWS = 64, 64
"""The mean caption is that of 64 runs of 64 captions, evenly spread: 64 places on the disk, whatever the rows."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Captions retrieved for n vectors, nearest first; equal cosines are ordered by index and row.

    Attributes:
        places: int64 [n, k], number of the index.
        rows: int64 [n, k], global row there.
        cosines: float32 [n, k].
    """

    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]

    def __getitem__(self, vectors: slice) -> "Hits":
        return Hits(self.places[vectors], self.rows[vectors], self.cosines[vectors])

    def nearest(self, vector: int, count: int) -> "Hits":
        """The nearest captions of one vector: [1, up to count]."""
        one = np.s_[vector : vector + 1, :count]
        return Hits(self.places[one], self.rows[one], self.cosines[one])


class Retriever:
    """Searches all indexes of a folder as if they were one.

    Attributes:
        space: the concepts of all of them.
    """

    def __init__(self, indexes: Sequence[Index]) -> None:
        """Open the search indexes.

        Raises:
            EncoderMismatch: the indexes hold vectors of different encoders.
            ShardDamaged: a search index does not fit its vectors.
        """
        self.indexes = indexes
        first = indexes[0]
        for other in indexes[1:]:
            if other.manifest.encoder.key() != first.manifest.encoder.key():
                raise EncoderMismatch(
                    f"{first.folder} holds vectors of {first.manifest.encoder.describe()}, {other.folder} of "
                    f"{other.manifest.encoder.describe()}; name one of them with --index"
                )
        self._searchers = [Searcher(index) for index in indexes]
        # Concepts are opened here and not when first needed: a build that ends meanwhile deletes the older tables.
        self.space = ConceptSpace([index.concepts for index in indexes])

    def __reduce__(self) -> tuple[type["Retriever"], tuple[list[Index]]]:
        """Sent to another process, it is opened there anew."""
        return Retriever, (list(self.indexes),)

    @classmethod
    def open(cls, path: Path) -> "Retriever":
        """Open an index, or a folder of them.

        Raises:
            ShardError: there is none, or one that cannot be used.
        """
        return steady(path, lambda: cls(open_indexes(path)))

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

    def search_captions(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """The k captions nearest to each vector; fewer where the indexes hold fewer.

        A vector's result does not depend on what is searched beside it.

        Args:
            vectors: float32 [n, d], unit rows.
            k: captions wanted for each.
        """
        found = [searcher.search(vectors, k) for searcher in self._searchers]
        cosines = np.concatenate([cosines for cosines, _ in found], axis=1)
        rows = np.concatenate([rows for _, rows in found], axis=1)
        places = np.concatenate([np.full_like(rows, place) for place, (_, rows) in enumerate(found)], axis=1)
        order = np.lexsort((rows, places, -cosines), axis=1)[:, :k]
        return Hits(*(np.take_along_axis(each, order, axis=1) for each in (places, rows, cosines)))

    def search_concepts(self, vectors: NDArray[np.float32], m: int) -> NDArray[np.int64]:
        """The m words nearest to each vector, exactly: int64 [n, m'], numbers in `space`, nearest first."""
        return self.space.search(vectors, m)

    def concepts_of(self, hits: Hits) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The concepts that captions hold and that may be said.

        Returns:
            Pairs of a hit, counted through all of `hits` in its order, and a number in `space`: int64 [links] twice,
            by hit, and inside one by the order of appearance.
        """
        places, rows = hits.places.ravel(), hits.rows.ravel()
        holders, numbers = [], []
        for place, index in enumerate(self.indexes):
            here = np.flatnonzero(places == place)
            sizes, ids = index.concepts.of_each(rows[here])
            holders.append(np.repeat(here, sizes))
            numbers.append(self.space.numbers(place, ids))
        holder, number = np.concatenate(holders), np.concatenate(numbers)
        order = np.argsort(holder, kind="stable")
        order = order[number[order] != NOT_SAID]
        return holder[order], number[order]

    def caption_vectors(self, hits: Hits) -> NDArray[np.float32]:
        """The stored vectors of captions: float32 [n, k, d], unit rows. No caption is encoded a second time."""
        places, rows = hits.places.ravel(), hits.rows.ravel()
        vectors = np.empty((len(rows), self.encoder.dimension), np.float32)
        for place, index in enumerate(self.indexes):
            here = places == place
            vectors[here] = index.vectors(rows[here])
        return vectors.reshape(*hits.rows.shape, vectors.shape[1])

    def evidence(self, hits: Hits) -> tuple[Evidence, ...]:
        """Captions as they are shown, in the order of the hits."""
        found = zip(
            hits.places.ravel().tolist(), hits.rows.ravel().tolist(), hits.cosines.ravel().tolist(), strict=True
        )
        return tuple(
            Evidence(self.indexes[place].name, row, cosine, self.indexes[place].captions([row])[0])
            for place, row, cosine in found
        )

    @cached_property
    def mean_caption(self) -> NDArray[np.float32]:
        """The mean of `RUNS` x `RUN_ROWS` caption vectors, or of all if there are no more: float32 [d], not unit.

        A word's cosine to it is the word's mean cosine to these captions.
        """
        sizes = [index.manifest.rows for index in self.indexes]
        starts = np.cumsum([0, *sizes])
        if starts[-1] <= RUNS * RUN_ROWS:
            rows = np.arange(starts[-1])
        else:
            firsts = np.linspace(0, starts[-1] - RUN_ROWS, RUNS).astype(np.int64)
            rows = np.unique(firsts[:, None] + np.arange(RUN_ROWS))
        total, taken = np.zeros(self.encoder.dimension), 0
        for index, start, stop in zip(self.indexes, starts[:-1], starts[1:], strict=True):
            here = rows[(rows >= start) & (rows < stop)] - start
            here = here[~np.isin(here, index.removed)]
            total += index.vectors(here).sum(axis=0, dtype=np.float64)
            taken += len(here)
        return (total / max(taken, 1)).astype(np.float32)
