"""Looking into lists for many queries at once, by products of small integers.

A row is 4 bits a value as FAISS stores them: x_d = low_d + (code_d + 1/2) range_d / 15. For a query q,

    q . x = sum_d q_d (low_d + range_d / 30) + sum_d (q_d range_d / 15) code_d,

of which the first sum is the same for all rows. The factors q_d range_d / 15 are rounded to 64 steps up and 64 down,
so what orders the rows is a product of small integers: exact, hence the same whatever is multiplied beside it. How high
it must be is judged by a sample of the rows, and how high its first part must be by how much the rest may add. That
first part is taken by factors of its own, so small that its sums fit 16 bits. Rows whose first part is high enough are
gathered from all lists and multiplied with everything about in the order in which they lie. FAISS compares row by row,
query by query.

A query looks into the lists that may hold such rows: those whose centroids' own products, and `REACH` times how far
their rows lie from them, fall short of the threshold by no more than its slack. Rows have length 1, so those of a list
whose mean is c lie sqrt(1 - |c|^2) from it.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.counting import count_rows, highest, put_rows, turned
from build_index.search_index.exact import NOTHING
from build_index.search_index.instructions import BYTES_AT_ONCE, HALF, LANES
from build_index.search_index.kernels import Asked, Stored, highest_of_blocks, multiply_rows, products
from build_index.search_index.lists import Lists
from build_index.search_index.looking import BLOCKS, look
from build_index.search_index.nibbles import CODE, DIRECTIONS, ROWS_OF_BLOCK
from build_index.search_index.picking import lowest_of_each, rows_of
from build_index.search_index.stored import leave
from build_index.search_index.tiles import ROWS
from encoders import amx

FACTOR, HIGHEST = 64, 1 << 25
"""The highest factor, and what products of factors and codes may sum to so that a key has room for it. Many sums of two
such products fit 16 bits. With factors up to 127 and codes of 8 bits recall@10 of 750,000 rows was 0.0002 higher."""

FRONT, LONGEST = 127, (2**15 - 2) // CODE
"""The highest factor of the first directions, and what they may sum to: any product, less any that could be asked for,
is then a number of 16 bits."""

FINE = 255
"""The highest code of a centroid, which are few: 17 steps for each step of a row."""

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


class Factors(NamedTuple):
    """What queries are multiplied with.

    Attributes:
        all: int8 [n, d], of all values.
        once: float32 [n, d], what all copies of a direction together are multiplied with, at the first one.
        near: int8 [n, g], of centroids.
        front: int8 [n, f], of the first directions, as `Asked` has them.
        larger: float64 [n, 2], by how much the last two are larger than the others, in proportion.
    """

    all: NDArray[np.int8]
    once: NDArray[np.float32]
    near: NDArray[np.int8]
    front: NDArray[np.int8]
    larger: NDArray[np.float64]

    def of(self, some: NDArray[np.int64]) -> "Factors":
        """Those of some of the queries."""
        return Factors(*(each[some] for each in self))  # type: ignore[arg-type]


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
        copies = lists.copies
        distinct = int(np.searchsorted(np.cumsum(copies), kept)) + 1
        self._times = np.where(np.arange(kept) < distinct, copies, 0).astype(np.float32)
        length = np.sqrt(copies[:first]).astype(np.float32)  # what the values of the lists are longer
        front = low[:first] * length, width[:first] * length / np.float32(FINE)
        self._stored, self._reach = _stored(lists, *front, self._values)
        self._looked = min(self._stored.first // 2 * 4, first)
        self._largest_first = np.argsort(-self._stored.sizes.reshape(-1, ROWS).sum(axis=1), kind="stable")
        self._removed = removed
        self.count, self.dimensions, self.first, self.rows = lists.count, kept, first, len(self._values)
        self.findable = self.rows - len(removed)

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
        factors = self._factors(queries)
        with ThreadPoolExecutor(1, "scan") as pool:
            asked = self._asked(factors, count, slack, pool)
        opened = products(self._stored.centroids, asked.near)[:, : self.count] > asked.opened[:, None]
        return float(opened.sum(axis=1).mean()), float((opened @ self._stored.sizes[: self.count]).mean())

    def _fill(
        self, rows: NDArray[np.int64], queries: NDArray[np.float32], slack: float, least: int, pool: ThreadPoolExecutor
    ) -> None:
        """Guess how high a product must be, look, and look again with a lower guess where that was too high."""
        factors = Factors(*map(np.concatenate, zip(*pool.map(self._factors, _pieces(queries)), strict=True)))
        left, count = np.arange(len(queries)), rows.shape[1]
        while len(left):
            asked = self._asked(factors.of(left), count, slack, pool)
            rows[left] = lowest_of_each(*self._above(asked, pool), len(left), rows.shape[1], pool)
            left = left[(rows[left, least - 1] == NOTHING) & (asked.least != EVERYTHING)]
            count *= 4

    def _factors(self, queries: NDArray[np.float32]) -> "Factors":
        """What is multiplied with codes, as large as it may be."""
        exact = turned(queries, self._to_factors)
        once = exact * self._times
        scale, near_scale = (
            limit / np.where(longest, longest, 1)
            for limit, longest in (
                (highest_factor(self.dimensions), np.abs(exact).max(axis=1, keepdims=True)),
                (FACTOR, np.abs(once[:, : self.first]).max(axis=1, keepdims=True)),
            )
        )
        reach = self._reach * FINE / CODE * near_scale * np.linalg.norm(queries, axis=1, keepdims=True)
        wide = self._stored.centroids.shape[1]
        near = np.zeros((len(queries), wide + -wide % BYTES_AT_ONCE), np.int8)
        near[:, : self.first] = np.rint(once[:, : self.first] * near_scale)
        near[:, wide - 4] = np.minimum(np.rint(reach), FACTOR)[:, 0]
        front, front_scale = front_factors(once[:, : self._looked])
        larger = np.stack([near_scale[:, 0], front_scale], axis=1) / scale
        factors = np.rint(exact * scale).astype(np.int8)
        return Factors(factors, (once * scale).astype(np.float32), near, in_order(front), larger)

    def _asked(self, queries: "Factors", count: int, slack: float, pool: ThreadPoolExecutor) -> Asked:
        """Thresholds above which about so many rows lie."""
        least = self._least(_padded(queries.all), count, pool)
        moments = self._moments  # which are found out once, here
        some = pool.map(
            lambda piece: self._thresholds(queries.of(piece), least[piece], slack, moments),
            _pieces(np.arange(len(least))),
        )
        return Asked(*map(np.concatenate, zip(*some, strict=True)))

    def _thresholds(
        self,
        queries: "Factors",
        least: NDArray[np.int32],
        slack: float,
        moments: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> Asked:
        """What the parts of products must exceed where the whole ones must exceed `least`.

        Directions are taken for uncorrelated: what the second of two parts of a product may have is expected to differ
        from its mean by its share of the variance, and scatters about that.
        """
        factors, once, near, front, larger = queries
        mean, variance = moments
        spread = np.square(once, dtype=np.float64) * variance
        whole, second = spread.sum(axis=1), slice(self._looked, None)
        share = spread[:, second].sum(axis=1) / np.where(whole, whole, 1)
        middle = (factors * mean).sum(axis=1)
        rest = middle - (once[:, : self._looked] * mean[: self._looked]).sum(axis=1)
        first = least - rest - share * (least - middle) - ALLOWANCE * np.sqrt(share * (1 - share) * whole)
        opened = least - rest - (slack * np.sqrt(whole) if np.isfinite(slack) else np.inf)
        every = (least == EVERYTHING) | (self.first < 4)
        lowest, highest_ = (CODE * side(front, 0).sum(axis=1, dtype=np.int64) for side in (np.minimum, np.maximum))
        first = np.clip(np.where(every, -np.inf, np.floor(first * larger[:, 1])), lowest - 1, highest_)
        fine = FINE / CODE * opened * larger[:, 0] + (FINE / CODE - 1) / 2 * near[:, : self.first].sum(axis=1)
        opened = np.maximum(np.where(every, EVERYTHING, np.floor(fine)), EVERYTHING)
        return Asked(near, opened.astype(np.int32), front, first.astype(np.int32), in_order(factors), least)

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
        return np.concatenate([*pool.map(highest, _pieces(of_blocks), repeat(rank))])

    @cached_property
    def _sample(self) -> NDArray[np.uint8]:
        """Rows in even steps, a byte a value: uint8 [s, d]."""
        some = self._values[:: min(SAMPLE_SHARE, max(self.rows // LEAST_SAMPLE, 1))]
        return np.ascontiguousarray(unpacked(some)[:, : self.dimensions])

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
        room = np.empty(max(ROOM, BLOCKS * ROWS_OF_BLOCK * len(asked.factors) + 1), np.int64)
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

    >>> highest_factor(256), highest_factor(2**16)
    (64, 34)
    """
    return max(min(FACTOR, HIGHEST // (CODE * length)), 1)


def front_factors(exact: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Whole numbers in proportion, as large as their sums with codes may be.

    Args:
        exact: float32 [n, f].

    Returns:
        int8 [n, f], whose sizes sum to `LONGEST` at most, and what they were multiplied with, float64 [n].
    """
    sizes = np.abs(exact, dtype=np.float64)
    most, all_ = sizes.max(axis=1, initial=0), sizes.sum(axis=1)
    room = LONGEST - exact.shape[1] / 2  # for what is rounded up
    scale = np.minimum(FRONT / np.where(most, most, 1), room / np.where(all_, all_, 1))
    return np.rint(exact * scale[:, None]).astype(np.int8), scale


def unpacked(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two codes in a byte, the first in the lower bits, to a byte each: uint8 [n, w] -> [n, 2 w]."""
    return np.stack([codes & CODE, codes >> 4], axis=2).reshape(len(codes), -1)


def in_order(factors: NDArray[np.int8]) -> NDArray[np.int8]:
    """As codes come out of their bytes: of each `DIRECTIONS` every second one from the first on, then the others.

    Args:
        factors: int8 [n, d].

    Returns:
        int8 [n, a multiple of `DIRECTIONS`], zeros where there are none.
    """
    wide = np.pad(factors, ((0, 0), (0, -factors.shape[1] % DIRECTIONS)))
    pairs = wide.reshape(len(factors), -1, DIRECTIONS // 2, 2)
    return np.ascontiguousarray(pairs.transpose(0, 1, 3, 2)).reshape(wide.shape)


def _padded(factors: NDArray[np.int8]) -> NDArray[np.int8]:
    """With zeros behind them, up to a multiple of `BYTES_AT_ONCE`."""
    return np.pad(factors, ((0, 0), (0, -factors.shape[1] % BYTES_AT_ONCE)))


def _stored(
    lists: Lists, low: NDArray[np.float32], steps: NDArray[np.floating[Any]], values: NDArray[np.uint8]
) -> tuple[Stored, float]:
    """Where everything lies, the centroids as codes, and what a step of the codes of their reach is worth."""
    centroids, missing = lists.centroids(), -lists.count % ROWS
    count, first = centroids.shape
    wide, tiles = first + -first % 4 + 4, amx.allowed("amx-int8")
    wide += -wide % BYTES_AT_ONCE if tiles else 0
    reach = np.sqrt(np.maximum(1 - np.square(centroids).sum(axis=1), 0))
    worth = REACH * max(float(reach.max()), float(np.finfo(np.float32).tiny)) / FINE
    near = np.zeros((count + missing, wide), np.uint8)
    near[:count, :first] = np.clip((centroids - low) / np.where(steps, steps, 1), 0, FINE)
    near[:count, wide - 4] = np.rint(reach * REACH / worth)
    inner = lists.lists.invlists
    numbers = range(count)
    each = [[_address(get(number)) for number in numbers] for get in (inner.get_codes, inner.get_ids)]
    each.append([inner.list_size(number) for number in numbers])
    codes, rows, sizes = np.pad(np.array(each, np.int64), ((0, 0), (0, missing)))
    return Stored(near, codes, rows, sizes, lists.lists.code_size, values.ctypes.data, values.shape[1], tiles), worth


def _address(pointer: Any) -> int:
    """FAISS has none for a list without rows."""
    return 0 if pointer is None else int(pointer)


def _pieces(rows: NDArray[Number], of: int = LANES) -> list[NDArray[Number]]:
    """About `PIECES` pieces, each of a multiple of so many rows but the last."""
    step = -(-len(rows) // (PIECES * of)) * of or 1
    return [rows[start : start + step] for start in range(0, len(rows), step)] or [rows]
