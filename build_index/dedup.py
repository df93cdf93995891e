"""Which captions were met before: a set of 128-bit hashes that stays small at a hundred million."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FRESH_LIMIT = 1 << 16
"""Hashes kept in a dictionary, at 117 bytes each, before they are packed into a sorted run."""

RUN_LIMIT = 1 << 22
"""Rows of the largest run; longer runs would be merged at the cost of twice their memory."""

_Run = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint32]]


class SeenCaptions:
    """Maps the hash of every caption met so far to its row.

    Packed rows take 20 bytes: two halves of the hash and the row. Runs are sorted by the first half and looked up by
    bisection, a batch at a time. Rows are numbered in the order in which they are added, from 0.
    """

    def __init__(self) -> None:
        self._fresh: dict[bytes, int] = {}
        self._runs: list[_Run] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def assign(self, digests: Sequence[bytes]) -> tuple[list[int], list[bool]]:
        """Give every hash its row: the one it was met with before, or the next free one.

        Args:
            digests: n times 16 bytes, which may repeat.

        Returns:
            n rows, and n times whether the hash was new.
        """
        rows = np.full(len(digests), -1, np.int64)
        if digests:
            halves = _halves(digests)
            for run in self._runs:
                _look_up(run, halves, rows)
        assigned = rows.tolist()
        new = [False] * len(digests)
        for place, digest in enumerate(digests):
            if assigned[place] < 0:
                assigned[place] = self._fresh.setdefault(digest, self._rows)
                new[place] = assigned[place] == self._rows
                self._rows += new[place]
        if len(self._fresh) >= FRESH_LIMIT:
            self._pack()
        return assigned, new

    def adopt(self, digests: NDArray[np.uint8]) -> None:
        """Give the hashes of an index's part the next rows, one after the other: uint8 [n, 16], all different."""
        first, second = np.ascontiguousarray(digests).view("<u8").T
        self._add(_sorted_run(first, second, np.arange(self._rows, self._rows + len(digests), dtype=np.uint32)))
        self._rows += len(digests)

    def _pack(self) -> None:
        first, second = _halves(list(self._fresh))
        rows = np.fromiter(self._fresh.values(), np.uint32, len(self._fresh))
        self._fresh = {}
        self._add(_sorted_run(first, second, rows))

    def _add(self, run: _Run) -> None:
        self._runs.append(run)
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= len(self._runs[-1][0]) < RUN_LIMIT:
            newer, older = self._runs.pop(), self._runs.pop()
            first, second, rows = (np.concatenate([older[column], newer[column]]) for column in range(3))
            self._runs.append(_sorted_run(first, second, rows))


def _halves(digests: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The two 64-bit halves of 16-byte hashes."""
    pairs = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _sorted_run(first: NDArray[np.uint64], second: NDArray[np.uint64], rows: NDArray[np.uint32]) -> _Run:
    order = np.argsort(first, kind="stable")
    return first[order], second[order], rows[order]


def _look_up(run: _Run, halves: tuple[NDArray[np.uint64], NDArray[np.uint64]], rows: NDArray[np.int64]) -> None:
    """Fill in the rows of hashes that are in the run; equal first halves are told apart by the second."""
    first, second, run_rows = run
    places = np.searchsorted(first, halves[0])
    open_queries = np.arange(len(rows))
    while open_queries.size:
        inside = places[open_queries] < len(first)
        open_queries = open_queries[inside]
        at = places[open_queries]
        same = first[at] == halves[0][open_queries]
        open_queries, at = open_queries[same], at[same]
        hit = second[at] == halves[1][open_queries]
        rows[open_queries[hit]] = run_rows[at[hit]]
        open_queries = open_queries[~hit]
        places[open_queries] += 1
