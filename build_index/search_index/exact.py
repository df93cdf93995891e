"""Exact search over the stored vectors, and exact cosines of candidates."""

from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled, pointer
from build_index.search_index.instructions import prefetch
from build_index.search_index.stored import StoredVectors

ROWS_AT_ONCE = 1 << 12
"""Candidates that a thread is handed at a time."""

ROWS_OF_BLOCK = 2_048
"""Rows that are multiplied with all queries at once, and stay in a near cache meanwhile."""

SOON = 2
"""Vectors that are asked for before they are multiplied."""

NEAR = 1_024
"""Rows that are read in any order: a megabyte of them, or so."""

PLACE_BITS, COLUMN_BITS = 26, 31
"""Room in a 64-bit key for a place among the candidates of all queries, and among those of one."""

EXTRA_CANDIDATES = 16
"""Rows looked at beyond k, so that float rounding cannot push a true neighbour out before the last re-ranking."""

Real = TypeVar("Real", np.float32, np.float64)

NOTHING = -1
"""Stands where there are fewer candidates than places."""


def exact_rows(vectors: StoredVectors, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The true k nearest rows of each query, block by block; equal products are ordered by row.

    Args:
        vectors: n rows, of which `removed` are never found.
        queries: float32 [q, d].
        k: at most the rows that are left.

    Returns:
        int64 [q, k], nearest first.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), NOTHING, np.int64)
    for first, block in vectors.blocks(most=ROWS_OF_BLOCK):
        scores = queries @ block.T
        here = vectors.removed[(vectors.removed >= first) & (vectors.removed < first + len(block))]
        scores[:, here - first] = -np.inf
        keep_best(scores, first, best, rows)
    return rows


@compiled
def keep_best(scores: NDArray[np.float32], first: int, best: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
    """Put what is better than the worst into the lists of the best; equal ones stay in the order in which they came.

    Args:
        scores: float32 [q, n], of rows that come next.
        first: the first of these rows.
        best: float32 [q, k], the best scores so far, best first.
        rows: int64 [q, k], theirs.
    """
    last = best.shape[1] - 1
    for query in range(len(scores)):
        least = best[query, last]
        for column in range(scores.shape[1]):
            score = scores[query, column]
            if score > least:
                place = last
                while place > 0 and score > best[query, place - 1]:
                    best[query, place], rows[query, place] = best[query, place - 1], rows[query, place - 1]
                    place -= 1
                best[query, place], rows[query, place] = score, first + column
                least = best[query, last]


def reranked(
    vectors: StoredVectors, queries: NDArray[np.float32], candidates: NDArray[np.int64], k: int, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best candidates of each query by their true cosines; equal cosines are ordered by row.

    Single precision leaves a few more than k; double precision orders these, so that what is equal comes out so. Every
    product is summed on its own, so a query's result depends neither on its neighbours nor on the threads.

    Args:
        vectors: what the candidates are rows of.
        queries: float32 [n, d], unit rows.
        candidates: int64 [n, c], each row at most once, `NOTHING` where there are fewer.
        k: rows wanted, at most c.
        threads: threads to use.

    Returns:
        Cosines float32 [n, k] and rows int64 [n, k], best first.
    """
    step = max((1 << PLACE_BITS - 4) // max(candidates.shape[1], 1), 1)
    with ThreadPoolExecutor(threads, "rerank") as pool:
        found = [
            _reranked(vectors, queries[first : first + step], candidates[first : first + step], k, pool)
            for first in range(0, len(queries), step)
        ]
    return np.concatenate([cosines for cosines, _ in found]), np.concatenate([rows for _, rows in found])


def _reranked(
    vectors: StoredVectors,
    queries: NDArray[np.float32],
    candidates: NDArray[np.int64],
    k: int,
    pool: ThreadPoolExecutor,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if candidates.shape[1] > 2 * (k + EXTRA_CANDIDATES):
        candidates = np.sort(candidates, axis=1)  # so that of equal ones the lower row is kept
        cosines = _cosines(vectors, queries, candidates, pool)
        keys = (_ordered(-cosines).astype(np.int64) << COLUMN_BITS) + np.arange(candidates.shape[1])
        keys.partition(k + EXTRA_CANDIDATES - 1, axis=1)
        columns = keys[:, : k + EXTRA_CANDIDATES] & ((1 << COLUMN_BITS) - 1)
        candidates = np.take_along_axis(candidates, columns, axis=1)
    cosines = _cosines(vectors, queries.astype(np.float64), candidates, pool).astype(np.float32)
    order = np.lexsort((candidates, -cosines), axis=1)[:, :k]
    return np.take_along_axis(cosines, order, axis=1), np.take_along_axis(candidates, order, axis=1)


def _cosines(
    vectors: StoredVectors, queries: NDArray[Real], candidates: NDArray[np.int64], pool: ThreadPoolExecutor
) -> NDArray[Real]:
    """Of all candidates with their queries, minus infinity where there is none: [n, c], as precise as the queries are.

    Vectors are read in the order in which they lie, whoever asks for them.
    """
    cosines = np.full(candidates.shape, -np.inf, queries.dtype)
    keys = in_order(candidates.ravel(), vectors.rows)
    long = queries * queries.dtype.type(2.0**112)

    def fill(some: NDArray[np.int64]) -> None:
        multiply(vectors.addresses, vectors.starts, some, long, cosines.ravel())

    pieces = [keys[first : first + ROWS_AT_ONCE] for first in range(0, len(keys), ROWS_AT_ONCE)]
    list((pool.map if len(pieces) > 1 else map)(fill, pieces))  # a thread for one piece alone would only cost
    return cosines


@compiled
def in_order(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows and their places in the order in which they lie, but for the next `NEAR`.

    Args:
        rows: int64 [f], below `count`; `NOTHING` is left out.
        count: rows that there are.

    Returns:
        int64 [at most f], rows, and places in the lower `PLACE_BITS`.
    """
    ends = np.zeros(count // NEAR + 2, np.int64)
    for row in rows:
        if row != NOTHING:
            ends[row // NEAR + 1] += 1
    ends = np.cumsum(ends)
    keys = np.empty(ends[-1], np.int64)
    for place in range(len(rows)):
        row = rows[place]
        if row != NOTHING:
            keys[ends[row // NEAR]] = (row << PLACE_BITS) + place
            ends[row // NEAR] += 1
    return keys


@compiled
def multiply(
    parts: NDArray[np.int64],
    starts: NDArray[np.int64],
    keys: NDArray[np.int64],
    queries: NDArray[Real],
    cosines: NDArray[Real],
) -> None:
    """Multiply stored vectors with queries, as precisely as the queries are.

    Args:
        parts: int64 [p], address of each part's vectors, float16 [n, d].
        starts: int64 [p + 1], first row of every part, and the number of all rows.
        keys: int64 [f], rows, and the places of their cosines in the lower `PLACE_BITS`; best about ascending.
        queries: [n, d], multiplied with 2^112.
        cosines: [n * c], those of the first query, the second, and so on; filled where there are keys.
    """
    length, part, ahead = queries.shape[1], 0, 0
    columns = len(cosines) // len(queries)
    for number in range(len(keys)):
        later = keys[min(number + SOON, len(keys) - 1)] >> PLACE_BITS
        ahead = _part_of(later, starts, ahead)
        prefetch(parts[ahead] + 2 * length * (later - starts[ahead]), 2 * length)
        row, place = keys[number] >> PLACE_BITS, keys[number] & ((1 << PLACE_BITS) - 1)
        part = _part_of(row, starts, part)
        size = starts[part + 1] - starts[part]
        vectors = numba.carray(pointer(parts[part]), (size, length), np.int16)
        cosines[place] = _cosine(vectors[row - starts[part]], queries[place // columns])


@compiled
def _part_of(row: int, starts: NDArray[np.int64], near: int) -> int:
    """The part that a row is in, looked for from one on that is near."""
    while row >= starts[near + 1]:
        near += 1
    while row < starts[near]:
        near -= 1
    return near


@compiled
def _cosine(halves: NDArray[np.int16], query: NDArray[Real]) -> Real:
    """The bits of a float16 are widened as `widened` does it; its product with 2^112 is the query's."""
    total = query.dtype.type(0)
    for place in range(len(query)):
        bits = np.int32(np.int32(np.int32(halves[place]) << np.int32(13)) & np.int32(-0x70002000))
        total += bits.view(np.float32) * query[place]
    return total


def _ordered(numbers: NDArray[np.float32]) -> NDArray[np.int32]:
    """Integers that are ordered as the numbers are."""
    bits = numbers.view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
