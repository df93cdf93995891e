"""Segments: every pixel of a picture belongs to exactly one of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

MAX_SEGMENTS = 255  # a palette PNG holds no more


@dataclass(frozen=True, eq=False)
class Segments:
    """A picture cut into numbered regions, checked on creation.

    A segment is a set of pixels and need not hang together: two windows of a house may be one segment.

    Attributes:
        label_map: int32 [H, W], values 1 to `count`; the segment of each pixel. Read-only.
        count: S, the number of segments, 1 to `MAX_SEGMENTS`; every number from 1 to S occurs.

    Raises:
        ValueError: the label map is not what is described above; the message says what it is.
    """

    label_map: npt.NDArray[np.int32]
    count: int

    def __post_init__(self) -> None:
        label_map = self.label_map
        if label_map.ndim != 2 or label_map.dtype != np.int32 or label_map.size == 0:
            raise ValueError(f"a label map is int32 [H, W], not {label_map.dtype} {list(label_map.shape)}")
        if not 1 <= self.count <= MAX_SEGMENTS:
            raise ValueError(f"a picture has 1 to {MAX_SEGMENTS} segments, not {self.count}")
        low, high = int(label_map.min()), int(label_map.max())
        if low < 1 or high > self.count:
            raise ValueError(f"the label map holds {low} to {high}, expected 1 to {self.count}")
        empty = np.flatnonzero(self.areas == 0) + 1
        if empty.size:
            raise ValueError(f"segments {empty.tolist()} have no pixel; renumber with relabel()")
        locked = label_map.view()
        locked.flags.writeable = False
        object.__setattr__(self, "label_map", locked)

    def __repr__(self) -> str:
        return f"Segments({self.size[0]} x {self.size[1]} pixels, {self.count} segments)"

    def __eq__(self, other: object) -> bool:
        return np.array_equal(self.label_map, other.label_map) if isinstance(other, Segments) else NotImplemented

    def __reduce__(self) -> tuple[type["Segments"], tuple[npt.NDArray[np.int32], int]]:
        return Segments, (self.label_map, self.count)  # checked and read-only again where it is copied or sent

    def __hash__(self) -> int:
        return hash((self.size, self.label_map.tobytes()))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, in pixels."""
        height, width = self.label_map.shape
        return height, width

    @cached_property
    def areas(self) -> npt.NDArray[np.int64]:
        """int64 [S]: pixels of each segment, in the order of their numbers; they sum to H x W. Read-only."""
        numbers, lengths = runs(self.label_map)
        counts = np.bincount(numbers, weights=lengths, minlength=self.count + 1)
        areas: npt.NDArray[np.int64] = counts[1:].astype(np.int64)
        areas.flags.writeable = False
        return areas

    @property
    def boxes(self) -> npt.NDArray[np.int64]:
        """int64 [S, 4]: x, y, width, height of the smallest upright box around each segment, in pixels."""
        height, width = self.size
        in_row = np.zeros((height, self.count + 1), dtype=bool)
        in_column = np.zeros((width, self.count + 1), dtype=bool)
        for y, row in enumerate(self.label_map):
            in_row[y, row] = True
            in_column[np.arange(width), row] = True
        left, columns = _extent(in_column[:, 1:])
        top, rows = _extent(in_row[:, 1:])
        return np.stack([left, top, columns, rows], axis=1)

    def mask(self, number: int) -> npt.NDArray[np.bool_]:
        """The pixels of one segment.

        Args:
            number: 1 to `count`.

        Returns:
            bool [H, W].

        Raises:
            ValueError: there is no such segment.
        """
        if not 1 <= number <= self.count:
            raise ValueError(f"there is no segment {number}, only 1 to {self.count}")
        mask: npt.NDArray[np.bool_] = self.label_map == number
        return mask


def relabel(label_map: npt.NDArray[np.integer]) -> Segments:
    """Number regions 1, 2, ... in the order in which they are met from the top left, row by row.

    >>> relabel(np.array([[7, 7, 0], [7, 3, 0]])).label_map.tolist()
    [[1, 1, 2], [1, 3, 2]]

    Args:
        label_map: any integers [H, W], none negative; equal numbers are one segment, 0 like any other.

    Returns:
        The same regions with dense numbers.

    Raises:
        ValueError: not such an array, or more than `MAX_SEGMENTS` different numbers.
    """
    return number_regions(label_map)[0]


def number_regions(label_map: npt.NDArray[np.integer]) -> tuple[Segments, npt.NDArray[np.integer]]:
    """As `relabel`, and which number each segment had before.

    >>> number_regions(np.array([[7, 7, 0], [7, 3, 0]]))[1].tolist()
    [7, 0, 3]

    Args:
        label_map: any integers [H, W], none negative.

    Returns:
        S segments; and integer [S], the numbers that they had.

    Raises:
        ValueError: as `relabel`.
    """
    if label_map.ndim != 2 or label_map.size == 0 or label_map.dtype.kind not in "iu":
        raise ValueError(f"a label map is integers [H, W], not {label_map.dtype} {list(label_map.shape)}")
    if label_map.min() < 0:
        raise ValueError(f"a label map has no negative numbers, found {label_map.min()}")
    numbers, lengths = runs(label_map)
    found, first_run, which = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first_run)
    dense = np.empty(len(found), dtype=np.int32)
    dense[order] = np.arange(1, len(found) + 1)
    numbered = np.repeat(dense[which], lengths)
    return Segments(numbered.reshape(label_map.shape), count=len(found)), found[order]


def runs(label_map: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
    """Stretches of equal numbers, row after row: far fewer than pixels, and so far less work to sort or count.

    >>> [each.tolist() for each in runs(np.array([[7, 7, 0], [0, 3, 3]]))]
    [[7, 0, 3], [2, 2, 2]]

    Args:
        label_map: integers [H, W], not empty.

    Returns:
        integer [R], the number of each; int64 [R], its pixels.
    """
    flat = label_map.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts], np.diff(starts, append=flat.size)


def _extent(present: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First place and number of places up to the last, of each column of bool [places, S]: int64 [S] twice."""
    first = present.argmax(axis=0)
    last = len(present) - 1 - present[::-1].argmax(axis=0)
    return first, last - first + 1
