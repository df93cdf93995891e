"""Every word that may be said, over all indexes, and the exact search among their vectors."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shards.reader import Concepts

BLOCK = 8_192
"""Words compared at once: the memory that a search takes does not grow with the words."""

KEPT_BYTES = 256 * 2**20
"""Size up to which the vectors are kept as float32; larger ones are converted block by block from the mapped float16.
120 queries among 114,000 words of 256 numbers (117 MB) took 0.16 s on one core, and 0.21 s with conversion."""

SLACK = 2e-4
"""Cosine that float32 products may be wrong by: 1.2e-7 for each of 1,024 numbers, and some more."""

NOT_SAID = -1

Numbers = NDArray[np.int64]


class ConceptSpace:
    """The concepts of several indexes under one numbering: those of the first index, then those of the next.

    A word that several indexes may say has the number and the vector that the first of them gives it.

    Attributes:
        said_as: int64 [concepts], the number under which each is said; `NOT_SAID` for those that are not.
    """

    def __init__(self, concepts: Sequence[Concepts]) -> None:
        self._concepts = concepts
        self._dimension = concepts[0].vectors([]).shape[1]
        self._starts = np.cumsum([0, *(len(each) for each in concepts)])
        said = np.concatenate([each.counts > 0 for each in concepts])
        self.said_as: Numbers = np.where(said, np.arange(len(said)), NOT_SAID)
        if len(concepts) > 1:  # inside one index every word is there once
            first: dict[str, int] = {}
            numbers = np.flatnonzero(said)
            for word, number in zip(self.words(numbers), numbers.tolist(), strict=True):
                self.said_as[number] = first.setdefault(word, number)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def numbers(self, place: int, ids: NDArray[np.int32]) -> Numbers:
        """Concepts of one index under the common numbering; `NOT_SAID` for those that are not said: int64 [n]."""
        return self.said_as[ids + self._starts[place]]

    def words(self, numbers: Numbers) -> list[str]:
        """The texts of concepts, in the order asked for."""
        words = np.empty(len(numbers), object)
        for place, here, ids in self._by_index(numbers):
            words[here] = self._concepts[place].words(ids)
        return words.tolist()

    def vectors(self, numbers: Numbers) -> NDArray[np.float32]:
        """The vectors of concepts, in the order asked for: float32 [n, d], unit rows."""
        vectors = np.empty((len(numbers), self._dimension), np.float32)
        for place, here, ids in self._by_index(numbers):
            vectors[here] = self._concepts[place].vectors(ids)
        return vectors

    def find(self, words: Sequence[str]) -> list[int]:
        """The numbers of those of some single words that are said, in the order of the words."""
        return [number for word in words if (number := self._single_words.get(word)) is not None]

    def search(self, queries: NDArray[np.float32], m: int) -> Numbers:
        """The words nearest to each query, exactly.

        Products with blocks of words find every word that may be among the nearest; these are compared once more,
        each by itself, so that neither the block nor the other queries have a part in the order.

        Args:
            queries: float32 [n, d], of any length.
            m: words wanted for each.

        Returns:
            int64 [n, min(m, words said)], nearest first. Equal cosines are ordered by number.
        """
        wanted = min(m, len(self._said))
        found = np.empty((len(queries), wanted), np.int64)
        if not wanted:
            return found
        for row, numbers in enumerate(self._may_be_nearest(queries, wanted)):
            cosines = (self.vectors(numbers) * queries[row]).sum(axis=1)
            found[row] = numbers[np.lexsort((numbers, -cosines))[:wanted]]
        return found

    def _may_be_nearest(self, queries: NDArray[np.float32], wanted: int) -> list[Numbers]:
        """For each query, all words whose products do not rule them out, in order of number."""
        slack = SLACK * np.linalg.norm(queries, axis=1)
        floors = np.full(len(queries), -np.inf, np.float32)
        kept = [(np.zeros(0, np.float32), np.zeros(0, np.int64))] * len(queries)
        for first, block in self._blocks():
            cosines = queries @ block.T  # float32 [n, BLOCK]
            cosines[:, self.said_as[first : first + len(block)] != np.arange(first, first + len(block))] = -np.inf
            if not first and len(block) > wanted:
                floors = _below(np.partition(cosines, -wanted, axis=1)[:, -wanted], slack)
            rows, columns = np.nonzero(cosines > floors[:, None])
            edges = np.searchsorted(rows, np.arange(len(queries) + 1))
            for row in np.flatnonzero(np.diff(edges)):
                new = slice(edges[row], edges[row + 1])
                values = np.concatenate([kept[row][0], cosines[row, columns[new]]])
                numbers = np.concatenate([kept[row][1], columns[new] + first])
                if len(values) > wanted:
                    floors[row] = _below(np.partition(values, -wanted)[-wanted], slack[row])
                stay = values > floors[row]
                kept[row] = values[stay], numbers[stay]
        return [numbers for _, numbers in kept]

    @cached_property
    def _said(self) -> Numbers:
        return np.flatnonzero(self.said_as == np.arange(len(self.said_as)))

    @cached_property
    def _single_words(self) -> dict[str, int]:
        return {
            word: number
            for word, number in zip(self.words(self._said), self._said.tolist(), strict=True)
            if " " not in word
        }

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Number of the first word, and float32 [up to BLOCK, d]."""
        mapped = [part for each in self._concepts for part in each.part_vectors()]
        first = 0
        for number, part in enumerate(mapped):
            for start in range(0, len(part), BLOCK):
                rows = self._kept[number][start : start + BLOCK] if self._kept else part[start : start + BLOCK]
                yield first + start, rows.astype(np.float32, copy=False)
            first += len(part)

    @cached_property
    def _kept(self) -> list[NDArray[np.float32]]:
        mapped = [part for each in self._concepts for part in each.part_vectors()]
        if sum(part.size * 4 for part in mapped) > KEPT_BYTES:
            return []
        return [part.astype(np.float32) for part in mapped]

    def _by_index(self, numbers: Numbers) -> Iterator[tuple[int, NDArray[np.intp], Numbers]]:
        """Index, places in `numbers`, and ids there."""
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        for owner in np.unique(owners):
            here = np.flatnonzero(owners == owner)
            yield int(owner), here, numbers[here] - self._starts[owner]


def _below(cosines: NDArray[np.float32], slack: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines less the slack, and less at least where the slack is nothing to them: that of a query of zeros is 0."""
    lower: NDArray[np.float32] = np.nextafter(cosines - slack, np.float32(-np.inf))
    return lower
