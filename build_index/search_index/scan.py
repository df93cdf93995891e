"""Looking into lists for many queries at once, by products of small integers.

A list's rows are 8 bits a value as FAISS stores them: x_d = low_d + (code_d + 1/2) range_d / 255. For a query q,

    q . x = sum_d q_d (low_d + range_d / 510) + sum_d (q_d range_d / 255) code_d,

of which the first sum is the same for all rows. The factors q_d range_d / 255 are rounded to 8 bits, too, so what
orders the rows is a product of small integers: exact, hence the same whatever is multiplied beside it. How high it must
be is judged by a sample of the rows, and how high its first half must be by how much the second may add
(`kernels` looks, with these two thresholds for each query). FAISS compares row by row, query by query.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.exact import NOTHING
from build_index.search_index.kernels import LANES, ROWS, Asked, Stored, highest_of_blocks, look, products, turned
from build_index.search_index.lists import Lists
from build_index.search_index.picking import lowest_of_each, rows_of

CODE, FACTOR, HIGHEST = 255, 127, 1 << 25
"""The highest value of a code and of a factor, and what their products may sum to so that a key has room for it."""

QUERIES_PER_PASS = 1_024

ROOM = 1 << 16
"""Rows that a thread finds before it hands them over."""

SAMPLE_SHARE, LEAST_SAMPLE = 32, 4_096
"""One row of so many tells how high the products of a query are, but never fewer rows."""

MORE_THAN_WANTED = 1.8
"""Rows that are expected above the first guess of a threshold, for each that is wanted; too few cost a second look."""

ALLOWANCE = 0.5
"""By how many standard deviations less than expected a row may have in the first half of the directions, and still be
multiplied with all. At 750,000 rows 0.0, 0.5 and 1.0 left a recall of 0.952, 0.961 and 0.966, for 2,300 to 1,900
queries a second; other shares than a half, with as much recall, were no faster."""

EVERYTHING = np.iinfo(np.int32).min
"""A threshold that every product exceeds."""

SHARES = 16
"""The lists are handed to the threads in so many shares, each with large and small ones."""

PIECES = 8
"""What is known of the queries beforehand is found out in so many pieces."""

Number = TypeVar("Number", bound=np.generic)

Found = tuple[NDArray[np.int32], NDArray[np.int64]]
"""Queries and keys: [f] each."""


class Scan:
    """Finds the rows of lists that look best by their codes."""

    def __init__(self, lists: Lists, removed: NDArray[np.int64]) -> None:
        """Looks at the lists where they lie; rows that are added to them later are not seen.

        Args:
            lists: what is looked into.
            removed: int64 [r], ascending rows that are never found.
        """
        inner, kept = lists.inner, len(lists.basis)
        low, width = faiss.vector_to_array(inner.sq.trained).reshape(2, kept)
        steps = width / np.float32(CODE)
        self._to_factors: NDArray[np.float32] = np.multiply(lists.basis, steps[:, None], dtype=np.float32)  # [d, D]
        places = (lists.centroids() - low) / np.where(steps, steps, 1)
        self._centroids = np.clip(places, 0, CODE).astype(np.uint8)  # [lists, d]
        numbers, stored = range(lists.count), inner.invlists
        sizes = np.array([stored.list_size(number) for number in numbers], np.int64)
        self._stored = Stored(
            np.array([_address(stored.get_codes(number)) for number in numbers], np.int64),
            np.array([_address(stored.get_ids(number)) for number in numbers], np.int64),
            sizes,
            kept,
        )
        self._largest_first = np.argsort(-sizes, kind="stable")
        self._lists = lists  # whose memory the codes are
        self._removed = removed
        self.count, self.dimensions, self.rows = lists.count, kept, int(sizes.sum())
        self._fours = kept // 8  # of directions that are looked at first: half of them

    def candidates(self, queries: NDArray[np.float32], count: int, nprobe: int, threads: int = 1) -> NDArray[np.int64]:
        """The rows that look best by what the lists hold; a query's are the same whatever is searched beside it.

        Args:
            queries: float32 [n, D].
            count: rows wanted.
            nprobe: lists to look into, those of the centroids that look best; all of them if there are fewer.
            threads: threads to use.

        Returns:
            int64 [n, count], best first and equal ones by row, `NOTHING` where the lists held fewer.
        """
        rows = np.full((len(queries), count), NOTHING, np.int64)
        with ThreadPoolExecutor(threads, "scan") as pool:
            for start in range(0, len(queries), QUERIES_PER_PASS):
                some = slice(start, start + QUERIES_PER_PASS)
                self._fill(rows[some], queries[some], min(nprobe, self.count), pool)
        return rows

    def _fill(
        self, rows: NDArray[np.int64], queries: NDArray[np.float32], nprobe: int, pool: ThreadPoolExecutor
    ) -> None:
        """Guess how high a product must be, look, and look again with a lower guess where that was too high."""
        factors = np.concatenate(list(pool.map(self._factors, _pieces(queries))))
        opened = np.concatenate([*pool.map(lambda some: self._opened(some, nprobe), _pieces(factors))])
        left, expected = np.arange(len(queries)), MORE_THAN_WANTED * rows.shape[1]
        while len(left):
            least = self._least(factors[left], expected, pool)
            found = self._above(factors[left], opened[left], least, pool)
            rows[left] = lowest_of_each(*found, len(left), rows.shape[1])
            left = left[(rows[left, -1] == NOTHING) & (least != EVERYTHING)]
            expected *= 4

    def _factors(self, queries: NDArray[np.float32]) -> NDArray[np.int8]:
        """What codes are multiplied with, as large as 8 bits allow, and zeros up to a multiple of four: int8 [n, d]."""
        exact = turned(queries, self._to_factors)
        highest = np.abs(exact).max(axis=1, keepdims=True)
        factors = np.rint(exact * (highest_factor(self.dimensions) / np.where(highest, highest, 1))).astype(np.int8)
        return np.pad(factors, ((0, 0), (0, -self.dimensions % 4)))

    def _opened(self, factors: NDArray[np.int8], nprobe: int) -> NDArray[np.bool_]:
        """The lists whose centroids look best, of equal ones the first: bool [n, lists]."""
        keys = products(self._centroids, factors).astype(np.int64) * -self.count + np.arange(self.count)
        nearest = np.argpartition(keys, nprobe - 1, axis=1)[:, :nprobe]
        opened = np.zeros(keys.shape, np.bool_)
        np.put_along_axis(opened, nearest, values=True, axis=1)
        return opened

    def _least(self, factors: NDArray[np.int8], expected: float, pool: ThreadPoolExecutor) -> NDArray[np.int32]:
        """A product that about so many rows exceed, judged by a sample: int32 [n]."""
        blocks = len(self._sample) // ROWS
        rank = max(int(np.ceil(expected * len(self._sample) / max(self.rows, 1))), 1)
        if rank > blocks // 4:  # too many for the highest of each block to tell them apart
            return np.full(len(factors), EVERYTHING, np.int32)
        pieces = _pieces(self._sample, ROWS)
        highest = np.concatenate([*pool.map(lambda some: highest_of_blocks(some, factors), pieces)], axis=1)
        return np.partition(highest, blocks - rank, axis=1)[:, blocks - rank]

    def _first(self, factors: NDArray[np.int8], least: NDArray[np.int32]) -> NDArray[np.int32]:
        """What a row that exceeds `least` has at least in the first directions, but for few: int32 [n].

        Directions are taken for uncorrelated, so the second part is expected to differ from its mean by its share of
        the variance, and scatters about that.
        """
        mean, variance = self._moments
        factors = factors[:, : self.dimensions]
        middle, second = factors * mean, slice(4 * self._fours, None)
        spread = np.square(factors, dtype=np.float64) * variance
        whole = spread.sum(axis=1)
        share = spread[:, second].sum(axis=1) / np.where(whole, whole, 1)
        expected = middle[:, second].sum(axis=1) + share * (least - middle.sum(axis=1))
        scatter = np.sqrt(share * (1 - share) * whole)
        first = np.floor(least - expected - ALLOWANCE * scatter).astype(np.int32)
        return np.where((least == EVERYTHING) | (self._fours == 0), np.int32(EVERYTHING), first)

    @cached_property
    def _sample(self) -> NDArray[np.uint8]:
        """Codes from all lists, a run from each in proportion to its rows: uint8 [s, d]."""
        share = min(max(1 / SAMPLE_SHARE, LEAST_SAMPLE / max(self.rows, 1)), 1)
        generator = np.random.Generator(np.random.PCG64(0))
        runs = []
        for number in np.flatnonzero(self._stored.sizes).tolist():
            codes = self._lists.codes(number)
            length = int(np.ceil(share * len(codes)))
            first = int(generator.integers(0, len(codes) - length + 1))
            runs.append(codes[first : first + length])
        return np.concatenate(runs)

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and variances of the codes in every direction: float64 [d] each."""
        some = self._sample[:: max(len(self._sample) // LEAST_SAMPLE, 1)].astype(np.float64)
        return some.mean(axis=0), some.var(axis=0)

    def _above(
        self, factors: NDArray[np.int8], opened: NDArray[np.bool_], least: NDArray[np.int32], pool: ThreadPoolExecutor
    ) -> Found:
        """All rows in the opened lists whose products exceed the thresholds, but for removed ones."""
        starts = np.concatenate([[0], np.cumsum(opened.sum(axis=0))])
        asking = np.nonzero(opened.T)[1].astype(np.int32)
        asked = Asked(factors, self._first(factors, least), least, asking, starts)
        shares = [self._largest_first[share::SHARES] for share in range(SHARES)]
        found = pool.map(lambda numbers: list(self._look(asked, numbers)), shares)
        queries, keys = map(np.concatenate, zip(*(each for some in found for each in some), strict=True))
        if len(self._removed):
            alive = ~np.isin(rows_of(keys), self._removed)
            return queries[alive], keys[alive]
        return queries, keys

    def _look(self, asked: Asked, numbers: NDArray[np.int64]) -> Iterator[Found]:
        """Some lists, as many rows at a time as there is room for."""
        room = max(ROOM, ROWS * len(asked.factors) + 1)
        queries, keys = np.empty(room, np.int32), np.empty(room, np.int64)
        place = 0, 0
        while place[0] < len(numbers):
            count, place = look(self._stored, asked, self._fours, numbers, place, (queries, keys))
            yield queries[:count].copy(), keys[:count].copy()


def highest_factor(length: int) -> int:
    """The factors that may stand beside so many codes.

    >>> highest_factor(256), highest_factor(2048)
    (127, 64)
    """
    return max(min(FACTOR, HIGHEST // (CODE * length)), 1)


def _address(pointer: Any) -> int:
    """FAISS has none for a list without rows."""
    return 0 if pointer is None else int(pointer)


def _pieces(rows: NDArray[Number], of: int = LANES) -> list[NDArray[Number]]:
    """About `PIECES` pieces, each of a multiple of so many rows but the last."""
    step = -(-len(rows) // (PIECES * of)) * of or 1
    return [rows[start : start + step] for start in range(0, len(rows), step)] or [rows]
