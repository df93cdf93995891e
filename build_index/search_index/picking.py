"""From rows that were found to the best of each query."""

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled
from build_index.search_index.exact import NOTHING
from build_index.search_index.kernels import ROW_BITS

NO_KEY = np.iinfo(np.int64).max


def rows_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that keys hold: int64, of their shape."""
    return keys & ((1 << ROW_BITS) - 1)


def lowest_of_each(queries: NDArray[np.int32], keys: NDArray[np.int64], asking: int, count: int) -> NDArray[np.int64]:
    """The rows of the lowest keys of each query.

    Args:
        queries: int32 [f], whose key it is.
        keys: int64 [f], products and rows; the highest product has the lowest key, and of equal ones the lowest row.
        asking: queries that there are.
        count: rows wanted for each.

    Returns:
        int64 [asking, count], by key, `NOTHING` where there are fewer.
    """
    table = np.full((asking, max(np.bincount(queries).max(initial=0), count)), NO_KEY)
    put(queries, keys, table)
    table.sort(axis=1)
    table = table[:, :count]
    return np.where(table == NO_KEY, NOTHING, rows_of(table))


@compiled
def put(queries: NDArray[np.int32], keys: NDArray[np.int64], table: NDArray[np.int64]) -> None:
    """Fill every query's line of a table with its keys from the left."""
    sizes = np.zeros(len(table), np.int64)
    for number in range(len(keys)):
        query = queries[number]
        table[query, sizes[query]] = keys[number]
        sizes[query] += 1
