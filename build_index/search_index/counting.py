"""Putting in order by counting, and what else is compiled without instructions of its own.

What was found is int64: a row, and in the lower `PLACE_BITS` the query that it was found for.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.compiled import compiled
from build_index.search_index.instructions import PLACE_BITS

BINS = 1_024


@compiled
def turned(queries: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products float32 [n, D] and [d, D] -> [n, d], each by itself: a matrix product rounds by the neighbours."""
    count = len(directions)
    out = np.empty((len(queries), count), np.float32)
    for first in range(0, count, 4):  # four share what is read of a query; the last ones are multiplied twice
        a, b, c, d = (
            min(first, count - 1),
            min(first + 1, count - 1),
            min(first + 2, count - 1),
            min(first + 3, count - 1),
        )
        for number in range(len(queries)):
            sums = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for place in range(queries.shape[1]):
                one = queries[number, place]
                sums = (
                    sums[0] + one * directions[a, place],
                    sums[1] + one * directions[b, place],
                    sums[2] + one * directions[c, place],
                    sums[3] + one * directions[d, place],
                )
            out[number, a], out[number, b], out[number, c], out[number, d] = sums
    return out


@compiled
def count_rows(found: NDArray[np.int64], bits: int, counts: NDArray[np.int64]) -> None:
    """Add to the counts of every 2^bits rows: found as `look` fills it, counts int64 [groups]."""
    for each in found:
        counts[each >> (PLACE_BITS + bits)] += 1


@compiled
def put_rows(found: NDArray[np.int64], bits: int, places: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Put what was found where the places of every 2^bits rows say, and move these on."""
    for each in found:
        group = each >> (PLACE_BITS + bits)
        out[places[group]] = each
        places[group] += 1


@compiled
def highest(numbers: NDArray[np.int32], rank: int) -> NDArray[np.int32]:
    """The so manieth highest of every line, by counting: int32 [n, m], 1 <= rank <= m -> int32 [n]."""
    out = np.empty(len(numbers), np.int32)
    counts, some = np.empty(BINS + 1, np.int64), np.empty(numbers.shape[1], np.int32)
    for line in range(len(numbers)):
        each, low, high = numbers[line], np.int64(2**31), np.int64(-(2**31))
        for number in each:
            low, high = min(low, np.int64(number)), max(high, np.int64(number))
        shift = 0
        while (high - low) >> shift >= BINS:
            shift += 1
        for bin_ in range(BINS + 1):
            counts[bin_] = 0
        for number in each:
            counts[(number - low) >> shift] += 1
        bin_, above = BINS, np.int64(0)
        while above + counts[bin_] < rank:
            above += counts[bin_]
            bin_ -= 1
        count: Any = 0
        for number in each:
            some[count] = number
            count += np.int64((number - low) >> shift == bin_)
        out[line] = np.sort(some[:count])[count - (rank - above)]
    return out
