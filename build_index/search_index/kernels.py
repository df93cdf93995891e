"""Looking into lists of 8-bit codes, in the processor's own vectors.

A product of a code and a factor is an integer, so sums of them are exact: what is found for the same factors depends
neither on the queries beside them nor on the processor. Where it multiplies whole tiles (AMX), 16 rows are multiplied
with up to 64 queries at a time, 64 values each in one instruction; elsewhere eight rows with 16 or 32 queries, four
values in one instruction where there is one (VNNI). Sums are compared where they are: nothing is kept of the rows that
are too low, which are nearly all.

Rows are told apart in three steps. `look` multiplies all centroids with all queries and, where a product is high
enough, the rows of that list with that query, but only over the first directions: these stand in the order of their
variance, so the first say most about a product. What is still high enough is gathered, and `multiply_rows` multiplies
it over all directions.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled, pointer
from build_index.search_index.instructions import (
    BYTES_AT_ONCE,
    HALF,
    LANES,
    PLACE_BITS,
    above_one,
    above_two,
    dot,
    prefetch,
    turn,
    write_highest,
    write_sums,
)
from build_index.search_index.tiles import ROWS, VECTORS, multiply_four, multiply_one, pick
from encoders.amx import begin_tiles, end_tiles

LEAST_TILE = 32
"""Bytes of a row that a tile must hold to be worth it."""

AHEAD = ROWS
"""Rows of a list that are asked for before they are looked at."""

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
        codes: int64 [lists], address of the codes of the first directions, uint8 [rows, first].
        rows: int64 [lists], address of the rows' numbers, int64 [rows].
        sizes: int64 [lists], rows in each.
        first: how many directions these are.
        values: address of the codes of all directions of all rows, uint8 [n, d].
        width: d.
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
        factors: int8 [n, d], multiplied with codes.
        first: int32 [n], what the sum over the first directions must exceed.
        least: int32 [n], what the sum over all directions must exceed.

    Both kinds of factors have zeros behind them, up to a multiple of `BYTES_AT_ONCE`.
    """

    near: NDArray[np.int8]
    opened: NDArray[np.int32]
    factors: NDArray[np.int8]
    first: NDArray[np.int32]
    least: NDArray[np.int32]


@compiled
def _at(array: NDArray[Any]) -> Any:
    """Its address, with a sign: what is added to a number without one is made a float."""
    return np.int64(array.ctypes.data)


@compiled
def _pack(factors: NDArray[np.int8], queries: NDArray[np.int32], steps: int, packed: NDArray[np.int32]) -> None:
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
            addresses[lane] = _at(factors) + queries[min(vector * LANES + lane, last)] * factors.shape[1]
        for block in range(-(-steps // LANES)):
            turn(_at(addresses), block * BYTES_AT_ONCE, _at(packed[vector]) + block * LANES * BYTES_AT_ONCE)


@compiled
def _lines(count: int) -> NDArray[np.int32]:
    """Whole lines of the memory, int32 [count, LANES]: tiles are read in half the time from where these begin."""
    some = np.empty((count + 1) * LANES, np.int32)
    first = -_at(some) % BYTES_AT_ONCE // 4
    return some[first : first + count * LANES].reshape((count, LANES))


@compiled
def _room(queries: int, steps: int) -> NDArray[np.int32]:
    """For packed factors: int32 [vectors, the steps or a few more, LANES]."""
    vectors, fours = -(-queries // LANES), -(-steps // LANES) * LANES
    return _lines(vectors * fours).reshape((vectors, fours, LANES))


@compiled
def _packed(factors: NDArray[np.int8], steps: int) -> NDArray[np.int32]:
    """Those of all queries."""
    packed = _room(len(factors), steps)
    if len(factors):
        _pack(factors, np.arange(len(factors)).astype(np.int32), steps, packed)
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
    packed, sums = _packed(factors, steps), np.empty((HALF, LANES), np.int32)
    out = np.empty((len(factors), len(codes)), np.int32)
    for top in range(0, len(codes), HALF):
        for vector in range(len(packed)):
            write_sums(_at(codes[top:]), codes.shape[1], _at(packed[vector]), 0, steps, _at(sums))
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
    (codes, width, block), apart, out = tile, packed.shape[1] * BYTES_AT_ONCE, _at(sums)
    factors = _at(packed) + vector * apart
    if not block:
        for row in range(0, ROWS, HALF):
            write_sums(codes + row * width, width, factors, apart, steps, out + row * BYTES_AT_ONCE)
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
        codes: uint8 [n, d], contiguous; rows after the last ROWS are left out.
        factors: int8 [m, d], with zeros behind them up to a multiple of `BYTES_AT_ONCE`.
        tiles: whether whole tiles are multiplied.

    Returns:
        int32 [m, n // ROWS * ROWS // HALF].
    """
    width, steps, halves = codes.shape[1], codes.shape[1] // 4, ROWS // HALF
    packed, blocks = _packed(factors, steps), len(codes) // ROWS
    out = np.empty((len(factors), blocks * halves), np.int32)
    sums, best, shapes = _lines(VECTORS * ROWS), np.empty(LANES, np.int32), np.zeros(64, np.uint8)
    bytes_of_tile = _begin(tiles, steps, shapes)
    for block in range(blocks):
        tile, vector = (_at(codes[block * ROWS :]), width, bytes_of_tile), 0
        while vector < len(packed):
            vectors = _multiplied(tile, packed, vector, steps, sums)
            for half in range(halves * vectors):
                write_highest(_at(sums[half * HALF :]), _at(best))
                query = (vector + half // halves) * LANES
                for lane in range(min(LANES, len(factors) - query)):
                    out[query + lane, block * halves + half % halves] = best[lane]
            vector += vectors
    _end(tiles)
    return out


@compiled
def _above_bounds(
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
    apart, out, vector = packed.shape[1] * BYTES_AT_ONCE, _at(high), 0
    while block and vector < vectors:
        last = vector + _multiplied(tile, packed, vector, steps, sums)
        for there in range(last - vector):
            least, place = _at(bounds) + vector * 4 * LANES, vector * LANES
            out = pick(_at(sums[there * ROWS :]), least + there * 4 * LANES, place + there * LANES, out)
        vector = last
    while vector < vectors:
        factors, least = _at(packed) + vector * apart, _at(bounds) + vector * 4 * LANES
        for row in range(0, rows, HALF):
            some, place = codes + row * width, (row << PLACE_BITS) + vector * LANES
            if vector + 1 < vectors:
                out = above_two(some, width, factors, apart, steps, least, place, out)
            else:
                out = above_one(some, width, factors, apart, steps, least, place, out)
        vector += 2
    return (out - _at(high)) // 4


@compiled
def _begin(tiles: Any, steps: int, shapes: NDArray[np.uint8]) -> int:
    """Set the shapes of this thread's tiles, if they are worth it: how many bytes of a row one holds, or 0."""
    block = _shapes(steps, shapes) if tiles and steps else 0
    if block < LEAST_TILE:
        return 0
    begin_tiles(_at(shapes))
    return block


@compiled
def _end(tiles: Any) -> None:
    """Have no tiles any more, which need not be kept then when threads change."""
    if tiles:
        end_tiles()


@compiled
def _bound(least: NDArray[np.int32], queries: NDArray[np.int32], bounds: NDArray[np.int32]) -> None:
    """What each lane's query asks for, `NOBODY` behind the last."""
    for place in range(len(queries)):
        bounds[place] = least[queries[place]]
    for place in range(len(queries), -(-len(queries) // LANES) * LANES):
        bounds[place] = NOBODY


@compiled
def _copy(start: int, count: int, places: NDArray[np.uint8]) -> None:
    """So many bytes from an address on. An assignment to a slice takes seconds to compile."""
    some = numba.carray(pointer(start), (count,), np.uint8)
    for place in range(count):
        places[place] = some[place]


@compiled
def _look_into(
    stored: Stored,
    asked: Asked,
    place: tuple[int, int],
    room: tuple[Any, Any, Any, Any, Any, Any],
    found: NDArray[np.int64],
    count: Any,
) -> tuple[Any, Any]:
    """One list from a row on, until there may be no room for what is found: what is found by then, and the next row."""
    (number, start), (mine, packed, bounds, (high, sums), last, block) = place, room
    codes, size, width = stored.codes[number], stored.sizes[number], stored.first
    some = packed[: -(-len(mine) // LANES)]
    numbers = numba.carray(pointer(stored.rows[number]), (size,), np.int64)
    _pack(asked.factors, mine, width // 4, some)
    _bound(asked.first, mine, bounds)
    for top in range(start, size, ROWS):
        here = min(ROWS, size - top)
        if count + here * len(mine) >= len(found):
            return count, top
        tile = codes + top * width
        prefetch(tile + AHEAD * width, ROWS * width)
        prefetch(stored.rows[number] + 8 * (top + AHEAD), 8 * ROWS)
        if here < ROWS:
            _copy(tile, here * width, last)
            tile = _at(last)
        for each in high[: _above_bounds((tile, width, block), here, some, width // 4, bounds, (high, sums))]:
            row = top + (each >> PLACE_BITS)
            found[count] = (numbers[min(row, size - 1)] << PLACE_BITS) + mine[each & ((1 << PLACE_BITS) - 1)]
            count += np.int64(row < size)
    return count, size


@compiled
def _opened(
    stored: Stored, tile: int, near: NDArray[np.int32], bounds: NDArray[np.int32], mine: NDArray[np.int32], room: Any
) -> NDArray[np.int64]:
    """Which queries look into each of ROWS lists.

    Args:
        stored: all lists.
        tile: the first of these, in ROWS.
        near: packed factors of centroids.
        bounds: int32 [vectors * LANES], what their products must exceed.
        mine: int32 [ROWS, n], filled: the queries of each.
        room: as `_above_bounds` asks for it, and uint8 [64].

    Returns:
        How many of these count: int64 [ROWS].
    """
    wide, (high, sums, shapes), sizes = stored.centroids.shape[1], room, np.zeros(ROWS, np.int64)
    block = _begin(stored.tiles, wide // 4, shapes)
    rows = _at(stored.centroids) + tile * ROWS * wide, wide, block
    for each in high[: _above_bounds(rows, ROWS, near, wide // 4, bounds, (high, sums))]:
        one = each >> PLACE_BITS
        mine[one, sizes[one]] = each & ((1 << PLACE_BITS) - 1)
        sizes[one] += 1
    return sizes


@compiled
def look(
    stored: Stored, asked: Asked, tiles: NDArray[np.int64], place: tuple[int, Any], found: NDArray[np.int64]
) -> tuple[int, tuple[int, int]]:
    """Find the rows of some lists whose first sums are high enough, as far as there is room for them.

    Args:
        stored: all lists.
        asked: the queries, at most 2^PLACE_BITS.
        tiles: int64 [t], which ROWS lists to look into: the first ROWS, the second, and so on.
        place: where to begin, a list, counted along the tiles, and one of its rows.
        found: int64 [f], filled with rows, and queries in the lower `PLACE_BITS`; room for ROWS rows of every query and
            one more.

    Returns:
        How many were found, and where to go on; at ROWS t if this is all.
    """
    count: Any = np.int64(0)  # a plain 0 is a type of its own to Numba, and all would be compiled twice
    queries, steps = len(asked.factors), stored.first // 4
    near = _packed(asked.near, stored.centroids.shape[1] // 4)
    opened, bounds = np.empty(len(near) * LANES, np.int32), np.empty(len(near) * LANES, np.int32)
    _bound(asked.opened, np.arange(queries).astype(np.int32), opened)
    high, sums = np.empty((ROWS * len(near) + 1) * LANES, np.int32), _lines(VECTORS * ROWS)
    packed, last, shapes = _room(queries, steps), np.zeros(ROWS * stored.first, np.uint8), np.zeros(64, np.uint8)
    mine, sizes = np.empty((ROWS, queries), np.int32), np.zeros(ROWS, np.int64)
    position, row = place
    tile: Any = np.int64(-1)
    block: Any = np.int64(0)
    while position < ROWS * len(tiles):
        if tile != position // ROWS:
            tile = position // ROWS
            sizes = _opened(stored, tiles[tile], near, opened, mine, (high, sums, shapes))
            block = _begin(stored.tiles, steps, shapes)
        one = position % ROWS
        number = tiles[tile] * ROWS + one
        if sizes[one] and stored.sizes[number]:
            room = mine[one, : sizes[one]], packed, bounds, (high, sums), last, block
            count, row = _look_into(stored, asked, (number, row), room, found, count)
            if row < stored.sizes[number]:
                break
        position, row = position + 1, np.int64(0)
    _end(stored.tiles)
    return count, (position, row)


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
    factors, apart = _at(asked.factors), asked.factors.shape[1]
    for place in range(len(found)):
        later = found[min(place + SOON, len(found) - 1)] >> PLACE_BITS
        prefetch(stored.values + later * stored.width, stored.width)
        row, query = found[place] >> PLACE_BITS, found[place] & ((1 << PLACE_BITS) - 1)
        product = dot(stored.values + row * stored.width, factors + query * apart, stored.width)
        queries[count], keys[count] = query, np.int64(product) * -(1 << ROW_BITS) + row
        count += np.int64(product > asked.least[query])  # instead of a jump that no processor foresees
    return count
