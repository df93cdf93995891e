"""Looking into lists for many queries at once, by products of small integers.

A list's rows are 8 bits a value as FAISS stores them: x_d = low_d + (code_d + 1/2) range_d / 255. For a query q,

    q . x = sum_d q_d (low_d + range_d / 510) + sum_d (q_d range_d / 255) code_d,

of which the first sum is the same for all rows. The factors q_d range_d / 255 are rounded to 64 steps up and 64 down,
so what orders the rows is a product of small integers: exact, hence the same whatever is multiplied beside it. How high
it must be is judged by a sample of the rows, and how high its first part must be by how much the rest may add. Rows
whose first part is high enough are gathered from all lists and multiplied with the rest about in the order in which
they lie. FAISS compares row by row, query by query.

A query looks into the lists that may hold such rows: those whose centroids' own products, and `REACH` times how far
their rows lie from them, fall short of the threshold by no more than its slack. Rows have length 1, so those of a list
whose mean is c lie sqrt(1 - |c|^2) from it.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.counting import count_rows, highest, put_rows, turned
from build_index.search_index.exact import NOTHING
from build_index.search_index.instructions import BYTES_AT_ONCE, HALF, LANES
from build_index.search_index.kernels import Asked, Stored, highest_of_blocks, look, multiply_rows, products
from build_index.search_index.lists import Lists
from build_index.search_index.picking import lowest_of_each, rows_of
from build_index.search_index.stored import leave
from build_index.search_index.tiles import ROWS
from encoders import amx

CODE, FACTOR, HIGHEST = 255, 64, 1 << 25
"""The highest value of a code and of a factor, and what their products may sum to so that a key has room for it. Two
products fit 16 bits, in which AVX2 adds them; with factors up to 127 recall@10 of 750,000 rows was 0.0002 higher."""

QUERIES_PER_PASS = 1_024

ROOM = 1 << 16
"""Rows that a thread finds before it hands them over."""

SAMPLE_SHARE, LEAST_SAMPLE = 128, 4_096
"""One row of so many tells how high the products of a query are, but never fewer rows."""

CAUTION = 3
"""By how many standard deviations more rows of the sample are above a first guess of a threshold than are expected
among those that are wanted; too few rows cost a second look."""

LEAST_RANK = 4
"""And never fewer than so many, since chance decides on the very first of them."""

ALLOWANCE = 0.25
"""By how many standard deviations less than expected a row may have in the first directions, and still be multiplied
with all. At 750,000 rows 0.0, 0.1 and 0.25 with slacks of 1.02, 0.98 and 0.92 had the same recall, and the last was as
fast as any."""

REACH = 0.1
"""What a list's reach counts beside its centroid's product. To hold 95 % of the neighbours, 400 queries across the gap
to 305,000 real captions had to look into a tenth of the rows with 0.0, and into a fourteenth with 0.1 (in a simulation
by hand); among synthetic vectors it hardly mattered."""

EVERYTHING = np.iinfo(np.int32).min
"""A threshold that every product exceeds."""

SHARES = 16
"""The lists are handed to the threads in so many shares, each with large and small ones."""

NEAR_BITS, GROUP_BITS = 10, 12
"""Groups of 2^10 rows are multiplied in any order, a megabyte or less; larger ones where there would be over 2^12."""

FEW, ROWS_AT_ONCE = 1 << 16, 1 << 12
"""So few rows are multiplied in the order in which they were found; and how many a thread is handed at a time."""

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
        kept, first = len(lists.basis), lists.lists.d
        low, width = lists.ranges()
        steps = width / np.float32(CODE)
        self._to_factors: NDArray[np.float32] = np.multiply(lists.basis, steps[:, None], dtype=np.float32)  # [d, D]
        self._lists = lists  # whose memory the codes are
        self._values = lists.codes()
        self._stored, self._reach = _stored(lists, low[:first], steps[:first], self._values)
        self._largest_first = np.argsort(-self._stored.sizes.reshape(-1, ROWS).sum(axis=1), kind="stable")
        self._removed = removed
        self.count, self.dimensions, self.first, self.rows = lists.count, kept, first, len(self._values)

    def candidates(
        self, queries: NDArray[np.float32], count: int, slack: float, least: int = 1, threads: int = 1
    ) -> NDArray[np.int64]:
        """The rows that look best by what the lists hold; a query's are the same whatever is searched beside it.

        Args:
            queries: float32 [n, D].
            count: rows wanted.
            slack: a list is looked into if it looks worse than a row has to look by less than so many standard
                deviations of the query's products; infinity is all lists.
            least: with fewer rows than so many, more lists are looked into, in the end all.
            threads: threads to use.

        Returns:
            int64 [n, count], best first and equal ones by row, `NOTHING` where fewer were found.
        """
        rows = np.full((len(queries), count), NOTHING, np.int64)
        with ThreadPoolExecutor(threads, "scan") as pool:
            for start in range(0, len(queries), QUERIES_PER_PASS):
                some = slice(start, start + QUERIES_PER_PASS)
                self._fill(rows[some], queries[some], slack, least, pool)
        return rows

    def leave(self) -> None:
        """Let go of the pages of the values, where these are mapped by NumPy."""
        leave(self._values)

    def looked_into(self, queries: NDArray[np.float32], count: int, slack: float) -> tuple[float, float]:
        """Lists that a query looks into at first, and rows that these hold; means."""
        factors, near = self._factors(queries)
        with ThreadPoolExecutor(1, "scan") as pool:
            asked = self._asked(factors, near, count, slack, pool)
        opened = products(self._stored.centroids, near)[:, : self.count] > asked.opened[:, None]
        return float(opened.sum(axis=1).mean()), float((opened @ self._stored.sizes[: self.count]).mean())

    def _fill(
        self, rows: NDArray[np.int64], queries: NDArray[np.float32], slack: float, least: int, pool: ThreadPoolExecutor
    ) -> None:
        """Guess how high a product must be, look, and look again with a lower guess where that was too high."""
        factors, near = map(np.concatenate, zip(*pool.map(self._factors, _pieces(queries)), strict=True))
        left, count = np.arange(len(queries)), rows.shape[1]
        while len(left):
            asked = self._asked(factors[left], near[left], count, slack, pool)
            rows[left] = lowest_of_each(*self._above(asked, pool), len(left), rows.shape[1], pool)
            left = left[(rows[left, least - 1] == NOTHING) & (asked.least != EVERYTHING)]
            count *= 4

    def _factors(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """What codes and centroids are multiplied with, as large as they may be: int8 [n, f] and int8 [n, g]."""
        exact = turned(queries, self._to_factors)
        longest = np.abs(exact).max(axis=1, keepdims=True)
        scale = highest_factor(self.dimensions) / np.where(longest, longest, 1)
        factors = np.rint(exact * scale).astype(np.int8)
        reach = self._reach * scale * np.linalg.norm(queries, axis=1, keepdims=True)
        wide = self._stored.centroids.shape[1]
        near = np.zeros((len(queries), wide + -wide % BYTES_AT_ONCE), np.int8)
        near[:, : self.first], near[:, wide - 4] = factors[:, : self.first], np.minimum(np.rint(reach), FACTOR)[:, 0]
        return np.pad(factors, ((0, 0), (0, -self.dimensions % BYTES_AT_ONCE))), near

    def _asked(
        self, factors: NDArray[np.int8], near: NDArray[np.int8], count: int, slack: float, pool: ThreadPoolExecutor
    ) -> Asked:
        """Thresholds above which about so many rows lie.

        Directions are taken for uncorrelated: what the second of two parts of a product may have is expected to differ
        from its mean by its share of the variance, and scatters about that.
        """
        least = self._least(factors, count, pool)
        mean, variance = self._moments
        middle = factors[:, : self.dimensions] * mean
        spread = np.square(factors[:, : self.dimensions], dtype=np.float64) * variance
        whole, second = spread.sum(axis=1), slice(self.first // 4 * 4, None)
        share = spread[:, second].sum(axis=1) / np.where(whole, whole, 1)
        expected = middle[:, second].sum(axis=1) + share * (least - middle.sum(axis=1))
        first = least - expected - ALLOWANCE * np.sqrt(share * (1 - share) * whole)
        opened = least - middle[:, second].sum(axis=1) - (slack * np.sqrt(whole) if np.isfinite(slack) else np.inf)
        every = (least == EVERYTHING) | (self.first < 4)
        first, opened = (
            np.maximum(np.where(every, EVERYTHING, np.floor(each)), EVERYTHING).astype(np.int32)
            for each in (first, opened)
        )
        return Asked(near, opened, factors, first, least)

    def _least(self, factors: NDArray[np.int8], count: float, pool: ThreadPoolExecutor) -> NDArray[np.int32]:
        """A product that about so many rows exceed, judged by a sample: int32 [n]."""
        blocks = len(self._sample) // ROWS * (ROWS // HALF)
        wanted = count * len(self._sample) / max(self.rows, 1)
        rank = int(np.ceil(wanted + CAUTION * wanted**0.5 + LEAST_RANK))
        if rank > blocks // 4:  # too many for the highest of each block to tell them apart
            return np.full(len(factors), EVERYTHING, np.int32)
        pieces = _pieces(self._sample, ROWS)
        tiles = repeat(self._stored.tiles)
        of_blocks = np.concatenate([*pool.map(highest_of_blocks, pieces, repeat(factors), tiles)], axis=1)
        return highest(of_blocks, rank)

    @cached_property
    def _sample(self) -> NDArray[np.uint8]:
        """Rows in even steps: uint8 [s, d]."""
        return np.ascontiguousarray(self._values[:: min(SAMPLE_SHARE, max(self.rows // LEAST_SAMPLE, 1))])

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and variances of the codes in every direction: float64 [d] each."""
        some = self._sample[:: max(len(self._sample) // LEAST_SAMPLE, 1)].astype(np.float64)
        return some.mean(axis=0), some.var(axis=0)

    def _above(self, asked: Asked, pool: ThreadPoolExecutor) -> Found:
        """All rows in the lists that are looked into whose products exceed the thresholds, but for removed ones."""
        shares = [self._largest_first[share::SHARES] for share in range(SHARES)]
        some = list(pool.map(lambda tiles: self._look(asked, tiles), shares))
        found, starts = self._in_order(some, pool)
        pieces = [found[start:stop] for start, stop in pairwise(starts)]
        left = list(pool.map(lambda piece: self._multiply(asked, piece), pieces or [found]))
        queries, keys = (np.concatenate(each) for each in zip(*left, strict=True))
        if len(self._removed):
            alive = ~np.isin(rows_of(keys), self._removed)
            return queries[alive], keys[alive]
        return queries, keys

    def _look(self, asked: Asked, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of some lists that look good by the first directions, and queries: int64 [f]."""
        room = np.empty(max(ROOM, ROWS * len(asked.factors) + 1), np.int64)
        found, place = [], (0, 0)
        while place[0] < ROWS * len(tiles):
            count, place = look(self._stored, asked, tiles, place, room)
            found.append(room[:count].copy())
        return np.concatenate(found) if found else room[:0]

    def _in_order(
        self, some: list[NDArray[np.int64]], pool: ThreadPoolExecutor
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All that was found about in the order of the rows, which is how they lie, and where to cut it into pieces."""
        count = sum(map(len, some))
        starts = np.linspace(0, count, min(SHARES, -(-count // ROWS_AT_ONCE)) + 1).astype(np.int64)
        if count <= FEW:
            return np.concatenate(some), starts
        bits = max(NEAR_BITS, self.rows.bit_length() - GROUP_BITS)
        counts = np.zeros((len(some), (self.rows >> bits) + 1), np.int64)
        list(pool.map(count_rows, some, repeat(bits), counts))
        ends = np.cumsum(counts.T.ravel()).reshape(counts.T.shape).T  # of each group, one share after another
        out = np.empty(count, np.int64)
        list(pool.map(put_rows, some, repeat(bits), np.ascontiguousarray(ends - counts), repeat(out)))
        return out, starts

    def _multiply(self, asked: Asked, found: NDArray[np.int64]) -> Found:
        queries, keys = np.empty(len(found), np.int32), np.empty(len(found), np.int64)
        count = multiply_rows(self._stored, asked, found, queries, keys)
        return queries[:count], keys[:count]


def highest_factor(length: int) -> int:
    """The factors that may stand beside so many codes.

    >>> highest_factor(256), highest_factor(2048)
    (64, 64)
    """
    return max(min(FACTOR, HIGHEST // (CODE * length)), 1)


def _stored(
    lists: Lists, low: NDArray[np.float32], steps: NDArray[np.floating[Any]], values: NDArray[np.uint8]
) -> tuple[Stored, float]:
    """Where everything lies, the centroids as codes, and what a step of the codes of their reach is worth."""
    centroids, missing = lists.centroids(), -lists.count % ROWS
    count, first = centroids.shape
    wide, tiles = first + -first % 4 + 4, amx.allowed("amx-int8")
    wide += -wide % BYTES_AT_ONCE if tiles else 0
    reach = np.sqrt(np.maximum(1 - np.square(centroids).sum(axis=1), 0))
    worth = REACH * max(float(reach.max()), float(np.finfo(np.float32).tiny)) / CODE
    near = np.zeros((count + missing, wide), np.uint8)
    near[:count, :first] = np.clip((centroids - low) / np.where(steps, steps, 1), 0, CODE)
    near[:count, wide - 4] = np.rint(reach * REACH / worth)
    inner = lists.lists.invlists
    numbers = range(count)
    each = [[_address(get(number)) for number in numbers] for get in (inner.get_codes, inner.get_ids)]
    each.append([inner.list_size(number) for number in numbers])
    codes, rows, sizes = np.pad(np.array(each, np.int64), ((0, 0), (0, missing)))
    return Stored(near, codes, rows, sizes, first, values.ctypes.data, values.shape[1], tiles), worth


def _address(pointer: Any) -> int:
    """FAISS has none for a list without rows."""
    return 0 if pointer is None else int(pointer)


def _pieces(rows: NDArray[Number], of: int = LANES) -> list[NDArray[Number]]:
    """About `PIECES` pieces, each of a multiple of so many rows but the last."""
    step = -(-len(rows) // (PIECES * of)) * of or 1
    return [rows[start : start + step] for start in range(0, len(rows), step)] or [rows]
