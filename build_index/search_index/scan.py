"""Looking into lists for many queries at once, by products of small integers.

A list's rows are 8 bits a value as FAISS stores them: x_d = low_d + (code_d + 1/2) range_d / 255. For a query q,

    q . x = sum_d q_d (low_d + range_d / 510) + sum_d (q_d range_d / 255) code_d,

of which the first sum is the same for all rows. The factors q_d range_d / 255 are rounded to 8 bits, too, so what
orders the rows is a product of small integers: exact, hence the same whatever is multiplied beside it, and one matrix
product for a list and all queries that look into it. FAISS compares row by row, query by query.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.exact import NOTHING
from build_index.search_index.lists import Lists
from build_index.search_index.picking import ROWS_PER_BLOCK, higher, keys_of, lowest_of_each, rows_of
from build_index.search_index.products import CODE, highest_factor, integer_product, on_this_thread_alone

QUERIES_PER_PASS = 1_024

PRODUCTS_AT_ONCE = 1 << 18
"""Products that a thread holds at a time: 1 MB, the second cache of a core."""

SAMPLE_SHARE, LEAST_SAMPLE = 32, 4_096
"""One row of so many tells how high the products of a query are, but never fewer rows."""

MORE_THAN_WANTED = 1.8
"""Rows that are expected above the first guess of a threshold, for each that is wanted; too few cost a second look."""

EVERYTHING, NOBODY = np.iinfo(np.int32).min, np.int32(np.iinfo(np.int32).max)
"""A threshold that every product exceeds, and one that none does."""

TOGETHER = 16
"""Products of 368 and 384 queries were a tenth faster than those of 365, each."""

FEW_QUERIES = 4
"""Fewer than these are mostly Python's own work, which threads only hinder."""

SHARES = 16
"""The lists are handed to the threads in so many shares, each with large and small ones."""

QUERIES_AT_ONCE, BLOCKS_AT_ONCE = 256, 64
"""Of the sample's products, likewise a core's second cache full."""

Number = TypeVar("Number", bound=np.generic)

Found = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Queries and keys: int64 [f] each."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries as lists are asked.

    Attributes:
        factors: int8 [n + 1, d], multiplied with codes; the last are 0.
        opened: bool [lists, n], which of them look into which list.
        least: int32 [n + 1], what a product must exceed; nothing exceeds the last.
    """

    factors: NDArray[np.int8]
    opened: NDArray[np.bool_]
    least: NDArray[np.int32]

    @classmethod
    def of(cls, factors: NDArray[np.int8], opened: NDArray[np.bool_], least: NDArray[np.int32]) -> "Asked":
        """With one more query behind them, which looks into nothing and finds nothing."""
        nothing = np.zeros_like(factors[:1])
        return cls(np.concatenate([factors, nothing]), opened, np.append(least, NOBODY))


class Scan:
    """Finds the rows of lists that look best by their codes."""

    def __init__(self, lists: Lists, removed: NDArray[np.int64]) -> None:
        """Looks at the lists where they lie; rows that are added to them later are not seen.

        Args:
            lists: what is looked into.
            removed: int64 [r], ascending rows that are never found.
        """
        inner, stored = lists.inner, lists.inner.invlists
        kept = len(lists.basis)
        low, width = faiss.vector_to_array(inner.sq.trained).reshape(2, kept)
        steps = width / np.float32(CODE)
        self._to_factors = lists.basis * steps[:, None]  # [d, D]
        places = (lists.centroids() - low) / np.where(steps, steps, 1)
        self._centroids = np.clip(places, 0, CODE).astype(np.uint8)  # [lists, d]
        sizes = [stored.list_size(number) for number in range(lists.count)]
        self._codes = [
            faiss.rev_swig_ptr(stored.get_codes(number), size * kept).reshape(size, kept)
            for number, size in enumerate(sizes)
        ]
        self._ids = [faiss.rev_swig_ptr(stored.get_ids(number), size) for number, size in enumerate(sizes)]
        self._largest_first = sorted(range(lists.count), key=lambda number: -sizes[number])
        self._lists = lists  # whose memory the codes are
        self._removed = removed
        self.count, self.dimensions, self.rows = lists.count, kept, sum(sizes)

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
        threads = threads if len(queries) >= FEW_QUERIES else 1
        with ThreadPoolExecutor(threads, "scan", on_this_thread_alone) as pool:
            for start in range(0, len(queries), QUERIES_PER_PASS):
                some = slice(start, start + QUERIES_PER_PASS)
                self._fill(rows[some], queries[some], min(nprobe, self.count), pool)
        return rows

    def _fill(
        self, rows: NDArray[np.int64], queries: NDArray[np.float32], nprobe: int, pool: ThreadPoolExecutor
    ) -> None:
        """Guess how high a product must be, look, and look again with a lower guess where that was too high."""
        factors = self._factors(queries, pool)
        opened = self._opened(factors, nprobe)
        left, expected = np.arange(len(queries)), MORE_THAN_WANTED * rows.shape[1]
        while len(left):
            least = self._thresholds(factors[left], expected, pool)
            found = self._above(Asked.of(factors[left], opened[:, left], least), pool)
            rows[left] = lowest_of_each(*found, len(left), rows.shape[1])
            left = left[(rows[left, -1] == NOTHING) & (least != EVERYTHING)]
            expected *= 4

    def _factors(self, queries: NDArray[np.float32], pool: ThreadPoolExecutor) -> NDArray[np.int8]:
        """What codes are multiplied with, as large as 8 bits allow: int8 [n, d]."""
        exact = np.concatenate(list(pool.map(self._turned, _pieces(queries, QUERIES_AT_ONCE // 4))))
        highest = np.abs(exact).max(axis=1, keepdims=True)
        return np.rint(exact * (highest_factor(exact.shape[1]) / np.where(highest, highest, 1))).astype(np.int8)

    def _turned(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [n, d], summed one by one and not by matrix products, whose rounding depends on the neighbours."""
        return np.einsum("nD,dD->nd", queries, self._to_factors)

    def _opened(self, factors: NDArray[np.int8], nprobe: int) -> NDArray[np.bool_]:
        """The lists whose centroids look best, of equal ones the first: bool [lists, n]."""
        products = np.empty((self.count, len(factors)), np.int32)
        integer_product()(self._centroids, factors, products)
        keys = keys_of(products.T, np.arange(self.count))
        nearest = np.argpartition(keys, nprobe - 1, axis=1)[:, :nprobe]
        opened = np.zeros(products.shape, np.bool_)
        opened[nearest, np.arange(len(factors))[:, None]] = True
        return opened

    def _thresholds(self, factors: NDArray[np.int8], expected: float, pool: ThreadPoolExecutor) -> NDArray[np.int32]:
        """A product that about so many rows exceed, judged by a sample: int32 [n]."""
        blocks = len(self._sample) // ROWS_PER_BLOCK
        rank = max(int(np.ceil(expected * len(self._sample) / max(self.rows, 1))), 1)
        if rank > blocks // 4:  # too many for the highest of each block to tell them apart
            return np.full(len(factors), EVERYTHING, np.int32)

        def judge(some: NDArray[np.int8]) -> NDArray[np.int32]:
            highest = np.empty((blocks, len(some)), np.int32)
            products = np.empty((ROWS_PER_BLOCK * BLOCKS_AT_ONCE, len(some)), np.int32)
            for first in range(0, blocks, BLOCKS_AT_ONCE):
                here = highest[first : first + BLOCKS_AT_ONCE]
                rows = slice(first * ROWS_PER_BLOCK, (first + len(here)) * ROWS_PER_BLOCK)
                integer_product()(self._sample[rows], some, products[: len(here) * ROWS_PER_BLOCK])
                products[: len(here) * ROWS_PER_BLOCK].reshape(ROWS_PER_BLOCK, len(here), -1).max(axis=0, out=here)
            return np.partition(np.ascontiguousarray(highest.T), blocks - rank, axis=1)[:, blocks - rank]

        return np.concatenate(list(pool.map(judge, _pieces(factors, QUERIES_AT_ONCE))))

    @cached_property
    def _sample(self) -> NDArray[np.uint8]:
        """Codes from all lists, a run from each in proportion to its rows: uint8 [s, d]."""
        share = min(max(1 / SAMPLE_SHARE, LEAST_SAMPLE / max(self.rows, 1)), 1)
        generator = np.random.Generator(np.random.PCG64(0))
        runs = []
        for codes in self._codes:
            length = int(np.ceil(share * len(codes)))
            first = int(generator.integers(0, len(codes) - length + 1))
            runs.append(codes[first : first + length])
        return np.concatenate(runs)

    def _above(self, asked: Asked, pool: ThreadPoolExecutor) -> Found:
        """All rows in the opened lists whose products exceed the thresholds, but for removed ones."""

        def look(numbers: Sequence[int]) -> list[Found]:
            buffer = np.empty(PRODUCTS_AT_ONCE, np.int32)
            return [found for number in numbers for found in self._look_into(number, asked, buffer)]

        wanted = set(np.flatnonzero(asked.opened.any(axis=1)).tolist())
        lists = [number for number in self._largest_first if number in wanted]
        found = pool.map(look, [lists[share::SHARES] for share in range(SHARES)])
        none = np.zeros(0, np.int64)
        queries, keys = map(np.concatenate, zip((none, none), *(each for some in found for each in some), strict=True))
        if len(self._removed):
            alive = ~np.isin(rows_of(keys), self._removed)
            return queries[alive], keys[alive]
        return queries, keys

    def _look_into(self, number: int, asked: Asked, buffer: NDArray[np.int32]) -> Iterator[Found]:
        """One list, as many rows at a time as the buffer has places for."""
        queries = np.flatnonzero(asked.opened[number])
        if (
            len(queries) > TOGETHER
        ):  # a whole number of what a processor multiplies at a time, by one that finds nothing
            queries = np.concatenate([queries, np.full(-len(queries) % TOGETHER, len(asked.factors) - 1)])
        factors, least = asked.factors.take(queries, axis=0), asked.least.take(queries)
        whole = self._codes[number]
        pieces = -(-len(whole) // (len(buffer) // len(queries)))
        step = -(-len(whole) // max(pieces, 1))  # of about one size
        for first in range(0, len(whole), max(step, 1)):
            codes = whole[first : first + step]
            products = buffer[: len(codes) * len(queries)].reshape(len(codes), len(queries))
            integer_product()(codes, factors, products)
            row, query, product = higher(products, least)
            yield queries[query], keys_of(product, self._ids[number][first + row])


def _pieces(rows: NDArray[Number], step: int) -> Iterator[NDArray[Number]]:
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
