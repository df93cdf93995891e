"""Products of codes and factors in the processor's own vectors.

A product of a code and a factor is an integer, so sums of them are exact: what is found for the same factors depends
neither on the queries beside them nor on the processor. Where it multiplies whole tiles (AMX), 16 rows are multiplied
with up to 64 queries at a time, 64 values each in one instruction; elsewhere eight rows with 16 or 32 queries, four
values in one instruction where there is one (VNNI). Sums are compared where they are: nothing is kept of the rows that
are too low, which are nearly all.

Rows are told apart in three steps: by the centroids of their lists and by the first directions (`looking`), which
stand in the order of their variance, so the first say most about a product; and what is still high enough by all
directions, in `multiply_rows`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled
from build_index.search_index.instructions import (
    BYTES_AT_ONCE,
    HALF,
    LANES,
    PLACE_BITS,
    above_one,
    above_two,
    prefetch,
    turn,
    write_coarse_sums,
    write_highest,
    write_sums,
)
from build_index.search_index.nibbles import dot
from build_index.search_index.tiles import ROWS, VECTORS, multiply_four, multiply_one, pick
from encoders.amx import begin_tiles, end_tiles

LEAST_TILE = 32
"""Bytes of a row that a tile must hold to be worth it."""

SOON = 16
"""Rows that looked good and are asked for before they are multiplied."""

ROW_BITS = 38
"""A key holds a product in its upper 26 bits and a row in its lower 38."""

NOBODY = np.int32(np.iinfo(np.int32).max)
"""A threshold that no product exceeds."""


class Stored(NamedTuple):
    """Lists where they lie.

    Attributes:
        centroids: uint8 [lists, w], w a multiple of four; lists a multiple of ROWS, the last ones empty.
        codes: int64 [lists], address of the codes of the first directions, two in a byte.
        rows: int64 [lists], address of the rows' numbers, int64 [rows].
        sizes: int64 [lists], rows in each.
        first: bytes of a row in the lists, of which a last odd one is not looked at.
        values: address of the codes of all directions of all rows, likewise.
        width: bytes of these.
        tiles: whether whole tiles are multiplied (`encoders.amx`).
    """

    centroids: NDArray[np.uint8]
    codes: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    first: int
    values: int
    width: int
    tiles: bool


class Asked(NamedTuple):
    """Queries, and what they ask for.

    Attributes:
        near: int8 [n, w], multiplied with centroids.
        opened: int32 [n], what the product of a centroid must exceed for its list to be looked into.
        front: int8 [n, f], multiplied with codes of the first directions; the sums fit 16 bits (`scan.front_factors`).
        first: int32 [n], what these sums must exceed: not below the lowest that there can be by more than 1.
        factors: int8 [n, d], multiplied with codes of all directions.
        least: int32 [n], what these sums must exceed.

    All factors have zeros behind them, up to a multiple of `BYTES_AT_ONCE`; the last two kinds are in the order in
    which codes come out of their bytes (`scan.in_order`).
    """

    near: NDArray[np.int8]
    opened: NDArray[np.int32]
    front: NDArray[np.int8]
    first: NDArray[np.int32]
    factors: NDArray[np.int8]
    least: NDArray[np.int32]


@compiled
def address_of(array: NDArray[Any]) -> Any:
    """Its address, with a sign: what is added to a number without one is made a float."""
    return np.int64(array.ctypes.data)


@compiled
def pack(factors: NDArray[np.int8], queries: NDArray[np.int32], steps: int, packed: NDArray[np.int32]) -> None:
    """Factors as tiles read them, four of each query of a vector side by side; behind the last query stands any.

    Args:
        factors: int8 [n, f], f a multiple of `BYTES_AT_ONCE`.
        queries: int32 [m], at least one.
        steps: fours that are wanted.
        packed: int32 [vectors, at least the steps, LANES], filled.
    """
    addresses, last = np.empty(LANES, np.int64), len(queries) - 1
    for vector in range(-(-len(queries) // LANES)):
        for lane in range(LANES):
            addresses[lane] = address_of(factors) + queries[min(vector * LANES + lane, last)] * factors.shape[1]
        for block in range(-(-steps // LANES)):
            turn(
                address_of(addresses), block * BYTES_AT_ONCE, address_of(packed[vector]) + block * LANES * BYTES_AT_ONCE
            )


@compiled
def whole_lines(count: int) -> NDArray[np.int32]:
    """Whole lines of the memory, int32 [count, LANES]: tiles are read in half the time from where these begin."""
    some = np.empty((count + 1) * LANES, np.int32)
    first = -address_of(some) % BYTES_AT_ONCE // 4
    return some[first : first + count * LANES].reshape((count, LANES))


@compiled
def room_for(queries: int, steps: int) -> NDArray[np.int32]:
    """For packed factors: int32 [vectors, the steps or a few more, LANES]."""
    vectors, fours = -(-queries // LANES), -(-steps // LANES) * LANES
    return whole_lines(vectors * fours).reshape((vectors, fours, LANES))


@compiled
def pack_all(factors: NDArray[np.int8], steps: int) -> NDArray[np.int32]:
    """Those of all queries."""
    packed = room_for(len(factors), steps)
    if len(factors):
        pack(factors, np.arange(len(factors)).astype(np.int32), steps, packed)
    return packed


@compiled
def products(codes: NDArray[np.uint8], factors: NDArray[np.int8]) -> NDArray[np.int32]:
    """All products of rows and queries.

    Args:
        codes: uint8 [n, d], contiguous, n a multiple of ROWS and d of four.
        factors: int8 [m, d], with zeros behind them up to a multiple of `BYTES_AT_ONCE`.

    Returns:
        int32 [m, n].
    """
    steps = codes.shape[1] // 4
    packed, sums = pack_all(factors, steps), np.empty((HALF, LANES), np.int32)
    out = np.empty((len(factors), len(codes)), np.int32)
    for top in range(0, len(codes), HALF):
        for vector in range(len(packed)):
            write_sums(address_of(codes[top:]), codes.shape[1], address_of(packed[vector]), 0, steps, address_of(sums))
            for lane in range(min(LANES, len(factors) - vector * LANES)):
                for row in range(HALF):
                    out[vector * LANES + lane, top + row] = sums[row, lane]
    return out


@compiled
def _shapes(steps: int, shapes: NDArray[np.uint8]) -> int:
    """The shapes of tiles of ROWS rows and of LANES queries, as the processor reads them: uint8 [64], filled.

    Args:
        steps: fours of directions.
        shapes: 1, and from byte 16 on the bytes in a line of each tile, two bytes each, from byte 48 on its lines.

    Returns:
        How many bytes of a row a tile holds: the most that divide all.
    """
    fours = min(steps, LANES)
    while steps % fours:
        fours -= 1
    shapes[0] = 1
    for tile in range(8):
        shapes[16 + 2 * tile] = 4 * fours if tile == VECTORS else BYTES_AT_ONCE
        shapes[48 + tile] = fours if tile > VECTORS else ROWS
    return 4 * fours


@compiled
def _multiplied(tile: tuple[int, int, int], packed: NDArray[np.int32], vector: int, steps: int, sums: Any) -> int:
    """The sums of ROWS rows with VECTORS vectors of queries, or with one where tiles or vectors are missing.

    Args:
        tile: address of the rows' codes, how long they are, and how many bytes a tile holds of each, or 0.
        packed: int32 [vectors, at least the steps, LANES].
        vector: the first one.
        steps: fours of directions.
        sums: int32 [VECTORS * ROWS, LANES], filled.

    Returns:
        How many vectors these were.
    """
    (codes, width, block), apart, out = tile, packed.shape[1] * BYTES_AT_ONCE, address_of(sums)
    factors = address_of(packed) + vector * apart
    if not block:
        for row in range(0, ROWS, HALF):
            write_coarse_sums(codes + row * width, width, factors, apart, steps, out + row * BYTES_AT_ONCE)
        return 1
    if vector + VECTORS <= len(packed):
        multiply_four(codes, width, factors, apart, block, 4 * steps // block, out)
        return VECTORS
    multiply_one(codes, width, factors, apart, block, 4 * steps // block, out)
    return 1


@compiled
def highest_of_blocks(codes: NDArray[np.uint8], factors: NDArray[np.int8], tiles: Any) -> NDArray[np.int32]:
    """The highest product of every HALF rows, without the last directions that are no multiple of 4.

    Args:
        codes: uint8 [n, d] of 4 bits, contiguous; rows after the last ROWS are left out.
        factors: int8 [m, d], with zeros behind them up to a multiple of `BYTES_AT_ONCE`.
        tiles: whether whole tiles are multiplied.

    Returns:
        int32 [m, n // ROWS * ROWS // HALF].
    """
    width, steps, halves = codes.shape[1], codes.shape[1] // 4, ROWS // HALF
    packed, blocks = pack_all(factors, steps), len(codes) // ROWS
    out = np.empty((len(factors), blocks * halves), np.int32)
    sums, best, shapes = whole_lines(VECTORS * ROWS), np.empty(LANES, np.int32), np.zeros(64, np.uint8)
    bytes_of_tile = begin(tiles, steps, shapes)
    for block in range(blocks):
        tile, vector = (address_of(codes[block * ROWS :]), width, bytes_of_tile), 0
        while vector < len(packed):
            vectors = _multiplied(tile, packed, vector, steps, sums)
            for half in range(halves * vectors):
                write_highest(address_of(sums[half * HALF :]), address_of(best))
                query = (vector + half // halves) * LANES
                for lane in range(min(LANES, len(factors) - query)):
                    out[query + lane, block * halves + half % halves] = best[lane]
            vector += vectors
    end(tiles)
    return out


@compiled
def above_bounds(
    tile: tuple[int, int, int],
    rows: int,
    packed: NDArray[np.int32],
    steps: int,
    bounds: NDArray[np.int32],
    room: tuple[Any, Any],
) -> int:
    """Which products of a tile exceed their bounds.

    Args:
        tile: address of ROWS rows of codes, how long they are, and how many bytes a tile holds of each, or 0.
        rows: how many of them matter; others may be found, too.
        packed: int32 [vectors, at least the steps, LANES].
        steps: fours of directions.
        bounds: int32 [at least the vectors * LANES].
        room: int32 [(ROWS * vectors + 1) * LANES], filled with rows and lanes, and [VECTORS * ROWS, LANES].

    Returns:
        How many there are.
    """
    (codes, width, block), (high, sums), vectors = tile, room, len(packed)
    apart, out, vector = packed.shape[1] * BYTES_AT_ONCE, address_of(high), 0
    while block and vector < vectors:
        last = vector + _multiplied(tile, packed, vector, steps, sums)
        for there in range(last - vector):
            least, place = address_of(bounds) + vector * 4 * LANES, vector * LANES
            out = pick(address_of(sums[there * ROWS :]), least + there * 4 * LANES, place + there * LANES, out)
        vector = last
    while vector < vectors:
        factors, least = address_of(packed) + vector * apart, address_of(bounds) + vector * 4 * LANES
        for row in range(0, rows, HALF):
            some, place = codes + row * width, (row << PLACE_BITS) + vector * LANES
            if vector + 1 < vectors:
                out = above_two(some, width, factors, apart, steps, least, place, out)
            else:
                out = above_one(some, width, factors, apart, steps, least, place, out)
        vector += 2
    return (out - address_of(high)) // 4


@compiled
def begin(tiles: Any, steps: int, shapes: NDArray[np.uint8]) -> int:
    """Set the shapes of this thread's tiles, if they are worth it: how many bytes of a row one holds, or 0."""
    block = _shapes(steps, shapes) if tiles and steps else 0
    if block < LEAST_TILE:
        return 0
    begin_tiles(address_of(shapes))
    return block


@compiled
def end(tiles: Any) -> None:
    """Have no tiles any more, which need not be kept then when threads change."""
    if tiles:
        end_tiles()


@compiled
def bound(least: NDArray[np.int32], queries: NDArray[np.int32], bounds: NDArray[np.int32]) -> None:
    """What each lane's query asks for, `NOBODY` behind the last."""
    for place in range(len(queries)):
        bounds[place] = least[queries[place]]
    for place in range(len(queries), -(-len(queries) // LANES) * LANES):
        bounds[place] = NOBODY


@compiled
def multiply_rows(
    stored: Stored, asked: Asked, found: NDArray[np.int64], queries: NDArray[np.int32], keys: NDArray[np.int64]
) -> int:
    """Multiply rows with queries over all directions, and keep those whose products are high enough.

    Args:
        stored: all rows.
        asked: the queries.
        found: int64 [f], as `look` fills it; best about in the order of the rows.
        queries: int32 [f], filled.
        keys: int64 [f], filled: the highest product has the lowest key, and of equal ones the lowest row.

    Returns:
        How many are left.
    """
    count: Any = np.int64(0)
    factors, apart = address_of(asked.factors), asked.factors.shape[1]
    for place in range(len(found)):
        later = found[min(place + SOON, len(found) - 1)] >> PLACE_BITS
        prefetch(stored.values + later * stored.width, stored.width)
        row, query = found[place] >> PLACE_BITS, found[place] & ((1 << PLACE_BITS) - 1)
        product = dot(stored.values + row * stored.width, factors + query * apart, stored.width)
        queries[count], keys[count] = query, np.int64(product) * -(1 << ROW_BITS) + row
        count += np.int64(product > asked.least[query])  # instead of a jump that no processor foresees
    return count
