"""Overlapping square windows over the patches of a picture."""

from collections.abc import Iterator

OVERLAP = 3
"""Each window starts a third of its side after the one before, as in ProxyCLIP: 336 pixels, moved by 112."""

Window = tuple[slice, slice]


def windows_of(rows: int, cols: int, side: int) -> Iterator[Window]:
    """Windows that cover a grid, each cell by at least one; a side longer than an axis of the grid is cut to it.

    >>> [(x.start, x.stop) for _, x in windows_of(6, 15, side=6)]
    [(0, 6), (2, 8), (4, 10), (6, 12), (8, 14), (9, 15)]

    Args:
        rows: of the grid, at least 1.
        cols: of the grid, at least 1.
        side: cells along the side of a window, at least 1.

    Yields:
        (slice of rows, slice of columns), row by row.
    """
    for y in _along(rows, side):
        for x in _along(cols, side):
            yield y, x


def _along(length: int, side: int) -> list[slice]:
    side = min(side, length)
    last = length - side
    starts = [*range(0, last, max(1, side // OVERLAP)), last]
    return [slice(start, start + side) for start in starts]
