"""Which search index suits how many rows."""

import math
from dataclasses import dataclass

FLAT = "flat"
"""Every vector as float16, compared one by one: exact."""

LISTS = "ivf"
"""Vectors in lists by nearest centroid, of which a query looks into the nearest few; 8 bits for each dimension kept."""

EXACT_ROWS = 200_000
"""At 200,000 x 512-d, exact search served 184 queries a second in batches of 15 on two cores, so the segments of a
picture took 0.08 s, less than its networks; lists served 1,564. At 750,000 exact search took 0.3 s."""

BYTES_OF_ID = 8

DIMENSIONS_STEP = 16


@dataclass(frozen=True)
class SearchOptions:
    """What a user may say about the search index.

    Attributes:
        exact_rows: captions, removed ones not counted, up to which search is exact.
        index_bytes: size that the lists may have, or 0 for half a byte for each dimension of each caption.
    """

    exact_rows: int = EXACT_ROWS
    index_bytes: int = 0

    def kind(self, rows: int) -> str:
        """`FLAT` or `LISTS`."""
        return FLAT if rows <= self.exact_rows else LISTS

    def dimensions(self, rows: int, dimension: int) -> int:
        """Dimensions kept of each vector in the lists, a byte each; re-ranking looks at all of them.

        >>> SearchOptions().dimensions(1_000_000, 512)
        256
        >>> SearchOptions(index_bytes=80_000_000).dimensions(1_000_000, 512)
        64
        """
        bytes_each = self.index_bytes // rows - BYTES_OF_ID if self.index_bytes else dimension // 2
        kept = bytes_each // DIMENSIONS_STEP * DIMENSIONS_STEP
        return min(max(kept, DIMENSIONS_STEP), dimension)


def list_count(rows: int) -> int:
    """Lists for so many rows: each long enough for one matrix product with all queries that look into it.

    At 750,000 rows, a quarter of the lists held 94 % of a query's neighbours with 512 lists, and 95 % with 1,732.

    >>> list_count(750_000)
    520
    """
    return max(round(0.6 * math.sqrt(rows)), 1)
