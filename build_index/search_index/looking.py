"""Looking into lists: which rows have sums over the first directions that are high enough for a query.

Centroids are multiplied with all queries, and the rows of a list with those for which its centroid is high enough. A
code has 4 bits there, so that sums fit 16 (`nibbles`): 32 rows lie side by side, each two directions of them together,
and one query after another is multiplied with them. To put a list's rows like that takes as long as several queries do,
so for one or two of these rows are multiplied as they lie. Where there are whole tiles (AMX), these take bytes.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled, pointer
from build_index.search_index.instructions import BYTES_AT_ONCE, LANES, PLACE_BITS, prefetch
from build_index.search_index.kernels import (
    Asked,
    Stored,
    above_bounds,
    address_of,
    begin,
    bound,
    end,
    pack,
    pack_all,
    room_for,
    whole_lines,
)
from build_index.search_index.nibbles import (
    CODE,
    DIRECTIONS,
    GROUP,
    QUERIES_AT_ONCE,
    ROWS_OF_BLOCK,
    above_in_block,
    above_in_half,
    dot,
    lowest_bit,
    take_apart,
    turn_rows,
)
from build_index.search_index.tiles import ROWS, VECTORS

FEW = 2
"""Queries of a list for which its rows are multiplied as they lie."""

BLOCKS = 4
"""Blocks of rows that are multiplied with one query after another: what is read of them stays in the nearest cache."""

Visit = tuple[int, NDArray[np.int32]]
"""A list, and the queries that look into it, at least one: int32 [m]."""

Place = tuple[Any, Any]
"""How many rows were found until now, and the next row of a list."""


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
        found: int64 [f], filled with rows, and queries in the lower `PLACE_BITS`; room for BLOCKS blocks of rows of
            every query and one more.

    Returns:
        How many were found, and where to go on; at ROWS t if this is all.
    """
    count: Any = np.int64(0)  # a plain 0 is a type of its own to Numba, and all would be compiled twice
    queries, wide = asked.front.shape
    near = pack_all(asked.near, stored.centroids.shape[1] // 4)
    vectors, steps = len(near), stored.first // 2 * 2
    opened, bounds = np.empty(vectors * LANES, np.int32), np.empty(vectors * LANES, np.int32)
    bound(asked.opened, np.arange(queries).astype(np.int32), opened)
    high, sums = np.empty((ROWS * vectors + 1) * LANES, np.int32), whole_lines(VECTORS * ROWS)
    codes, shapes = whole_lines(ROWS * wide // BYTES_AT_ONCE).view(np.uint8), np.zeros(64, np.uint8)
    packed, by_row = room_for(queries, wide // 4), codes.reshape((ROWS, wide))
    pairs, turned = _twice(asked.front, steps), whole_lines(BLOCKS * steps).view(np.uint8)
    room = queries + QUERIES_AT_ONCE, BLOCKS * queries + 1
    lists = np.empty(ROWS_OF_BLOCK + room[0], np.int64), np.empty(room[0], np.int32)
    masks = np.empty((BLOCKS, room[0]), np.int32), np.empty((2, room[1]), np.int32)
    blocks = turned.reshape((BLOCKS, steps, ROWS_OF_BLOCK, 2))
    mine, sizes = np.empty((ROWS, queries), np.int32), np.zeros(ROWS, np.int64)
    position, row = place
    tile: Any = np.int64(-1)
    block: Any = np.int64(0)
    while position < ROWS * len(tiles):
        if tile != position // ROWS:
            tile = position // ROWS
            sizes = _opened(stored, tiles[tile], near, opened, mine, (high, sums, shapes))
            block = begin(stored.tiles, wide // 4, shapes)
        number, size = tiles[tile] * ROWS + position % ROWS, sizes[position % ROWS]
        if size and stored.sizes[number]:
            visit = number, mine[position % ROWS, :size]
            if size <= FEW and steps % (DIRECTIONS // 2) == 0:
                count, row = _look_by_rows(stored, asked, visit, found, (count, row))
            elif block:
                here = packed, bounds, (high, sums), (by_row, block)
                count, row = _look_by_tiles(stored, asked, visit, here, found, (count, row))
            else:
                count, row = _look_by_blocks(stored, asked, visit, (pairs, blocks, lists, masks), found, (count, row))
            if row < stored.sizes[number]:
                break
        position, row = position + 1, np.int64(0)
    end(stored.tiles)
    return count, (position, row)


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
        room: as `above_bounds` asks for it, and uint8 [64].

    Returns:
        How many of these count: int64 [ROWS].
    """
    wide, (high, sums, shapes), sizes = stored.centroids.shape[1], room, np.zeros(ROWS, np.int64)
    block = begin(stored.tiles, wide // 4, shapes)
    rows = address_of(stored.centroids) + tile * ROWS * wide, wide, block
    for each in high[: above_bounds(rows, ROWS, near, wide // 4, bounds, (high, sums))]:
        one = each >> PLACE_BITS
        mine[one, sizes[one]] = each & ((1 << PLACE_BITS) - 1)
        sizes[one] += 1
    return sizes


@compiled
def _look_by_tiles(
    stored: Stored,
    asked: Asked,
    visit: Visit,
    room: tuple[Any, Any, Any, Any],
    found: NDArray[np.int64],
    place: Place,
) -> tuple[Any, Any]:
    """One list from a row on, until there may be no room for what is found, in the processor's tiles.

    Args:
        stored: all lists.
        asked: the queries.
        visit: the list.
        room: for packed factors, and what each lane's query asks for; what `above_bounds` asks for; and codes of a
            byte, uint8 [ROWS, f], with how many of these a tile holds of a row.
        found: filled with rows, and queries in the lower `PLACE_BITS`.
        place: where to begin.

    Returns:
        How many were found by then, and the next row.
    """
    (number, mine), (count, start), (packed, bounds, (high, sums), (codes, block)) = visit, place, room
    size, width, bytes_ = stored.sizes[number], codes.shape[1], stored.first // 2 * 2
    some = packed[: -(-len(mine) // LANES)]
    numbers = numba.carray(pointer(stored.rows[number]), (size,), np.int64)
    pack(asked.front, mine, width // 4, some)
    bound(asked.first, mine, bounds)
    for top in range(start, size, ROWS):
        here = min(ROWS, size - top)
        if count + here * len(mine) >= len(found):
            return count, top
        for row in range(here):
            take_apart(stored.codes[number] + (top + row) * stored.first, bytes_, address_of(codes[row]))
        tile = address_of(codes), width, block
        for each in high[: above_bounds(tile, here, some, width // 4, bounds, (high, sums))]:
            row = top + (each >> PLACE_BITS)
            found[count] = (numbers[min(row, size - 1)] << PLACE_BITS) + mine[each & ((1 << PLACE_BITS) - 1)]
            count += np.int64(row < size)
    return count, size


@compiled
def _look_by_rows(
    stored: Stored, asked: Asked, visit: Visit, found: NDArray[np.int64], place: Place
) -> tuple[Any, Any]:
    """As `_look_by_tiles`, row by row."""
    (number, mine), (count, start) = visit, place
    size, factors, apart = stored.sizes[number], address_of(asked.front), asked.front.shape[1]
    numbers = numba.carray(pointer(stored.rows[number]), (size,), np.int64)
    for row in range(start, size):
        if count + len(mine) >= len(found):
            return count, row
        codes = stored.codes[number] + row * stored.first
        for query in mine:
            found[count] = (numbers[row] << PLACE_BITS) + query
            count += np.int64(dot(codes, factors + query * apart, stored.first // 2 * 2) > asked.first[query])
    return count, size


@compiled
def _look_by_blocks(
    stored: Stored,
    asked: Asked,
    visit: Visit,
    room: tuple[Any, Any, Any, Any],
    found: NDArray[np.int64],
    place: Place,
) -> tuple[Any, Any]:
    """As `_look_by_tiles`, with many rows side by side.

    There is room for factors of all queries as `_twice` gives them; for codes as `turn_rows` writes them, [BLOCKS,
    steps, ROWS_OF_BLOCK, 2]; for addresses, int64 [at least ROWS_OF_BLOCK + m + QUERIES_AT_ONCE], and what sums begin
    with, int32; and for masks, int32 [BLOCKS, at least m + QUERIES_AT_ONCE], and what is left of them, [2, BLOCKS * m].
    """
    (number, mine), (count, start), (pairs, turned, (addresses, begins), (masks, left)) = visit, place, room
    size, steps = stored.sizes[number], turned.shape[1]
    numbers = numba.carray(pointer(stored.rows[number]), (size,), np.int64)
    wanted = len(mine) + -len(mine) % QUERIES_AT_ONCE
    for query in range(wanted):
        one = mine[min(query, len(mine) - 1)]
        addresses[ROWS_OF_BLOCK + query] = address_of(pairs) + one * steps * 4
        begins[query] = ((-asked.first[one] - 1) & 0xFFFF) * 0x10001
    for top in range(start, size, BLOCKS * ROWS_OF_BLOCK):
        here = min(BLOCKS * ROWS_OF_BLOCK, size - top)
        if count + here * len(mine) >= len(found):
            return count, top
        prefetch(stored.rows[number] + 8 * top, 8 * here)
        for block in range(-(-here // ROWS_OF_BLOCK)):
            _turn(stored, number, top + block * ROWS_OF_BLOCK, addresses, turned[block])
        for query in range(0, wanted, QUERIES_AT_ONCE):
            factors, first = address_of(addresses) + 8 * (ROWS_OF_BLOCK + query), address_of(begins) + 4 * query
            for block in range(-(-here // ROWS_OF_BLOCK)):
                codes, out = address_of(turned[block]), address_of(masks[block]) + 4 * query
                if here - block * ROWS_OF_BLOCK > ROWS_OF_BLOCK // 2:
                    above_in_block(codes, steps, factors, first, out)
                else:
                    above_in_half(codes, steps, factors, first, out)
        count = _write_bits((masks, left), here, (numbers[top:], mine), found, count)
    return count, size


@compiled
def _twice(factors: NDArray[np.int8], steps: int) -> NDArray[np.int32]:
    """The factors of each byte's two codes twice, so that four bytes are read at once: [n, f] -> int32 [n, steps]."""
    pairs, half = np.empty((len(factors), steps), np.int32), DIRECTIONS // 2
    for query in range(len(factors)):
        for step in range(steps):
            place = step // half * DIRECTIONS + step % half
            one, other = factors[query, place] & 0xFF, factors[query, place + half] & 0xFF
            pairs[query, step] = np.int32((one | other << 8) * 0x10001)
    return pairs


@compiled
def _turn(stored: Stored, number: int, top: int, addresses: NDArray[np.int64], turned: NDArray[np.uint8]) -> None:
    """A block of rows of a list as `turn_rows` writes it; behind the list's last row stands that row again.

    Args:
        stored: all lists.
        number: the list.
        top: its first row that is wanted.
        addresses: int64 [at least ROWS_OF_BLOCK], filled.
        turned: uint8 [steps, ROWS_OF_BLOCK, 2], filled.
    """
    size, steps = stored.sizes[number], len(turned)
    for row in range(ROWS_OF_BLOCK):
        addresses[row] = stored.codes[number] + min(top + row, size - 1) * stored.first
    for offset in range(0, steps - GROUP + 1, GROUP):
        turn_rows(address_of(addresses), offset, address_of(turned[offset]))
    if steps >= GROUP:
        turn_rows(address_of(addresses), steps - GROUP, address_of(turned[steps - GROUP]))
        return
    for row in range(ROWS_OF_BLOCK):
        for step, both in enumerate(numba.carray(pointer(addresses[row]), (steps,), np.uint8)):
            turned[step, row, 0], turned[step, row, 1] = both & CODE, both >> 4


@compiled
def _write_bits(room: tuple[Any, Any], rows: int, names: tuple[Any, Any], found: NDArray[np.int64], count: Any) -> Any:
    """What the bits of some masks say, without a jump for each: the lowest bit of all masks, then of those with more.

    Args:
        room: the masks, int32 [blocks, at least m], of each block of rows and query; and int32 [2, masks], filled.
        rows: how many there are; later bits mean nothing.
        names: the rows' own numbers, int64 [rows], and the queries, int32 [m].
        found: filled with rows and queries.
        count: how many there are.

    Returns:
        How many there are now.
    """
    (masks, left), (numbers, mine) = room, names
    some: Any = np.int64(0)
    for block in range(-(-rows // ROWS_OF_BLOCK)):
        there = np.int32(0xFFFFFFFF >> max((block + 1) * ROWS_OF_BLOCK - rows, 0))
        for query in range(len(mine)):
            mask = masks[block, query] & there
            left[0, some], left[1, some] = mask, (block << PLACE_BITS) + query
            some += np.int64(mask != 0)
    while some:
        more: Any = np.int64(0)
        for place in range(some):
            mask, which = left[0, place], left[1, place]
            row = (which >> PLACE_BITS) * ROWS_OF_BLOCK + lowest_bit(mask)
            found[count + place] = (numbers[row] << PLACE_BITS) + mine[which & ((1 << PLACE_BITS) - 1)]
            rest = np.int32(mask & (mask - 1))
            left[0, more], left[1, more] = rest, which
            more += np.int64(rest != 0)
        count, some = count + some, more
    return count
