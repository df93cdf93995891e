"""From rows that were found to the best of each query."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled
from build_index.search_index.exact import NOTHING
from build_index.search_index.kernels import ROW_BITS

QUERIES_AT_ONCE = 256
"""Queries of one thread; each looks through all keys."""

NO_KEY = np.iinfo(np.int64).max


def rows_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that keys hold: int64, of their shape."""
    return keys & ((1 << ROW_BITS) - 1)


def lowest_of_each(
    queries: NDArray[np.int32], keys: NDArray[np.int64], asking: int, count: int, pool: ThreadPoolExecutor
) -> NDArray[np.int64]:
    """The rows of the lowest keys of each query.

    Args:
        queries: int32 [f], whose key it is.
        keys: int64 [f], products and rows; the highest product has the lowest key, and of equal ones the lowest row.
        asking: queries that there are.
        count: rows wanted for each.
        pool: threads to use.

    Returns:
        int64 [asking, count], by key, `NOTHING` where there are fewer.
    """
    table = np.empty((asking, max(np.bincount(queries).max(initial=0), count)), np.int64)

    def fill(first: int) -> None:
        some = table[first : first + QUERIES_AT_ONCE]
        some.fill(NO_KEY)
        put(queries, keys, first, some)
        if count < some.shape[1]:
            some.partition(count - 1, axis=1)
        some[:, :count].sort(axis=1)

    list(pool.map(fill, range(0, asking, QUERIES_AT_ONCE)))
    best = table[:, :count]
    return np.where(best == NO_KEY, NOTHING, rows_of(best))


@compiled
def put(queries: NDArray[np.int32], keys: NDArray[np.int64], first: int, table: NDArray[np.int64]) -> None:
    """Fill a line of the table for every query from the first on with its keys, from the left."""
    sizes = np.zeros(len(table), np.int64)
    for number in range(len(keys)):
        query = queries[number] - first
        if 0 <= query < len(table):
            table[query, sizes[query]] = keys[number]
            sizes[query] += 1
