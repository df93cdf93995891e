"""Which search index suits how many rows."""

from dataclasses import dataclass

FLAT = "flat"
"""Every vector as float16, compared one by one: exact."""

LISTS = "ivf"
"""Vectors in lists by nearest centroid, of which a query looks into the best; 4 bits for each dimension kept."""

EXACT_ROWS = 200_000
"""At 200,000 x 512-d, exact search served 184 queries a second in batches of 15 on two cores, so the segments of a
picture took 0.08 s, less than its networks; lists served 1,761. At 750,000 exact search took 0.3 s."""

BYTES_OF_ID = 8

DIMENSIONS_STEP = 16

ROWS_OF_LIST = 80

MOST_LISTS = 65_536
"""To learn so many from twenty rows each takes 0.7 GB where vectors have 512 numbers."""


@dataclass(frozen=True)
class SearchOptions:
    """What a user may say about the search index.

    Attributes:
        exact_rows: captions, removed ones not counted, up to which search is exact.
        index_bytes: size that the lists may have, or 0 for five eighths of a byte for each dimension of each caption.
    """

    exact_rows: int = EXACT_ROWS
    index_bytes: int = 0

    def kind(self, rows: int) -> str:
        """`FLAT` or `LISTS`."""
        return FLAT if rows <= self.exact_rows else LISTS

    def dimensions(self, rows: int, dimension: int) -> int:
        """Dimensions kept of each vector, half a byte each, a quarter of them twice; re-ranking looks at all of them.

        >>> SearchOptions().dimensions(1_000_000, 512)
        512
        >>> SearchOptions(index_bytes=200_000_000).dimensions(1_000_000, 512)
        304
        """
        if not self.index_bytes:
            return dimension
        fitting = [
            kept
            for kept in (*range(DIMENSIONS_STEP, dimension, DIMENSIONS_STEP), dimension)
            if rows * bytes_of_row(kept) <= self.index_bytes
        ]
        return min(max(fitting, default=DIMENSIONS_STEP), dimension)


def bytes_of_row(kept: int) -> int:
    """What a row takes in the file.

    >>> bytes_of_row(512)
    328
    """
    return (kept + 1) // 2 + (first_directions(kept) + 1) // 2 + BYTES_OF_ID


def first_directions(kept: int) -> int:
    """How many of the directions the lists hold: a quarter, in fours.

    >>> first_directions(512), first_directions(20), first_directions(2)
    (128, 4, 2)
    """
    return min(max(kept // 16 * 4, 4), kept)


def list_count(rows: int) -> int:
    """Lists for so many rows.

    Short ones, so that their rows lie close together: at 750,000 rows a quarter of the rows, in 9,375 lists, held what
    a half of them did in 520.

    >>> list_count(750_000)
    9375
    """
    return min(max(round(rows / ROWS_OF_LIST), 1), MOST_LISTS)
