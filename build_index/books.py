"""The books of a build: how often each caption was met, where every row went, and what was refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from build_index.cleaning import Refusal
from build_index.streams import Problem
from shards.manifest import SourceInfo, Tally

EXAMPLES_PER_REASON = 5


class Counts:
    """How often each row's caption was met: uint32, growing."""

    def __init__(self, counts: NDArray[np.uint32]) -> None:
        self._counts = np.array(counts, np.uint32)
        self._rows = len(counts)

    def add(self, rows: Sequence[int], times: NDArray[np.uint32] | int = 1) -> None:
        """Count one more meeting for each of these rows, or several; rows may repeat and may be new."""
        self._rows = max(self._rows, max(rows, default=-1) + 1)
        if self._rows > len(self._counts):
            grown = np.zeros(max(self._rows, len(self._counts) * 5 // 4), np.uint32)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        np.add.at(self._counts, np.asarray(rows, np.int64), times)

    def array(self) -> NDArray[np.uint32]:
        """uint32 [rows]."""
        return self._counts[: self._rows]


@dataclass(frozen=True)
class Books:
    """What was counted: meetings of each caption uint32 [rows], where every row went, and the sources.

    `removed` are the rows that are not to be found: int64 [n], ascending.
    """

    counts: NDArray[np.uint32]
    tally: Tally
    sources: list[SourceInfo]
    removed: NDArray[np.int64]


@dataclass
class Refusals:
    """What was refused: rows by reason, a few places for each, and every file or part of one that cannot be read."""

    rows: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def add_problem(self, problem: Problem) -> None:
        """Count the rows of a file, or of a part of one, that cannot be read, and remember where."""
        place = f"{problem.place}: {problem.detail}"
        self.broken.append(f"{place} ({problem.rows:,} rows)" if problem.rows else place)
        self.add(problem.reason, place, problem.rows)

    def add(self, reason: Refusal, place: str, rows: int = 1) -> None:
        """Count refused rows and remember the first few places."""
        self.rows[reason.value] += rows
        examples = self.places.setdefault(reason.value, [])
        if len(examples) < EXAMPLES_PER_REASON:
            examples.append(place)

    def __bool__(self) -> bool:
        return bool(self.places or self.broken)

    def summary(self) -> str:
        """Rows by reason with a place each, on one line."""
        said = (
            f"{rows:,} {each}, for example {places[0]}" if (rows := self.rows[each]) else f"{each}: {places[0]}"
            for each, places in sorted(self.places.items())
        )
        return "; ".join(said) or "nothing refused"
