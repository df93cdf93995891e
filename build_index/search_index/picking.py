"""From products of rows and queries to the rows that stand highest for each query."""

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.exact import NOTHING

ROWS_PER_BLOCK = 16

FEW = 1 << 14
"""So many products are looked through one by one; of more, the highest of each block is looked at first."""

ROW_BITS = 38
"""A key holds a product in its upper 26 bits and a row in its lower 38."""

NO_KEY = np.iinfo(np.int64).max

Picked = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]
"""Rows, queries and products: [f] each."""


def higher(products: NDArray[np.int32], least: NDArray[np.int32]) -> Picked:
    """The products that exceed what their query asks for, in no certain order.

    Args:
        products: int32 [n, q], contiguous.
        least: int32 [q].
    """
    asking = len(least)
    blocks = len(products) // ROWS_PER_BLOCK if products.size > FEW else 0
    whole = blocks * ROWS_PER_BLOCK
    rest = products[whole:]
    places = np.flatnonzero(rest > least)
    rows, queries = np.divmod(places, asking)
    picked = rows + whole, queries, rest.ravel().take(places)
    if not blocks:
        return picked
    members = products[:whole].reshape(ROWS_PER_BLOCK, -1)  # rows `blocks` apart make a block
    places = np.flatnonzero(members.max(axis=0).reshape(blocks, asking) > least)  # [h]
    some = members.take(places, axis=1)  # [16, h]
    hits = np.flatnonzero(some > least[places % asking])
    member, place = np.divmod(hits, max(len(places), 1))
    rows, queries = np.divmod(places[place], asking)
    found = rows + blocks * member, queries, some.ravel().take(hits)
    return tuple(np.concatenate(each) for each in zip(picked, found, strict=True))  # type: ignore[return-value]


def keys_of(products: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers that are ordered as products are, the highest first, and equal ones by row: int64 [f]."""
    return products.astype(np.int64) * -(1 << ROW_BITS) + rows


def rows_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows that keys hold: int64, of their shape."""
    return keys & ((1 << ROW_BITS) - 1)


def lowest_of_each(queries: NDArray[np.int64], keys: NDArray[np.int64], asking: int, count: int) -> NDArray[np.int64]:
    """The rows of the lowest keys of each query.

    Args:
        queries: int64 [f], whose key it is.
        keys: int64 [f].
        asking: queries that there are.
        count: rows wanted for each.

    Returns:
        int64 [asking, count], by key, `NOTHING` where there are fewer.
    """
    order = np.argsort(queries.astype(np.uint16) if asking <= 1 << 16 else queries, kind="stable")  # fast on 16 bits
    sizes = np.bincount(queries, minlength=asking)
    table = np.full((asking, max(sizes.max(initial=0), count)), NO_KEY)
    table[np.arange(table.shape[1]) < sizes[:, None]] = keys[order]
    table.sort(axis=1)
    table = table[:, :count]
    return np.where(table == NO_KEY, NOTHING, rows_of(table))
