"""Vectors and texts that are spread over parts, by their number in the whole."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.errors import ShardDamaged
from shards.parts import map_array, open_parquet
from shards.place import Place

CACHED_GROUPS = 256
"""Decoded row groups kept in memory: about a million captions, roughly 100 MB."""

Numbers = Sequence[int] | NDArray[np.integer]


class Parts:
    """Which part a number is in.

    `unit` is what the numbers count, `row` or `concept`, for messages.
    """

    def __init__(self, folder: Path, unit: str, sizes: Sequence[int]) -> None:
        self._folder, self._unit = folder, unit
        self._starts = [0]
        for size in sizes:
            self._starts.append(self._starts[-1] + size)

    def __len__(self) -> int:
        return self._starts[-1]

    def require(self, number: int) -> None:
        """Refuse a number that is not there.

        Raises:
            IndexError: it is below 0 or too large.
        """
        if not 0 <= number < len(self):
            unit, last = self._unit, len(self) - 1
            has = f"{unit}s 0 to {last}" if len(self) else f"no {unit}s"
            raise IndexError(f"{unit} {number} of {self._folder}, which has {has}")

    def require_all(self, numbers: NDArray[np.int64]) -> None:
        """Refuse numbers that are not there.

        Raises:
            IndexError: one is below 0 or too large.
        """
        if numbers.size:
            self.require(int(numbers.min()))
            self.require(int(numbers.max()))

    def _where(self, number: int) -> tuple[int, int]:
        """Part, and number inside it."""
        self.require(number)
        part = bisect_right(self._starts, number) - 1
        return part, number - self._starts[part]


class Vectors(Parts):
    """Unit vectors, mapped from the disk."""

    def __init__(self, place: Place, unit: str, names: Sequence[str], sizes: Sequence[int], dimension: int) -> None:
        """Map every part.

        Raises:
            ShardDamaged: a file is not float16 [size, dimension].
        """
        super().__init__(place.folder, unit, sizes)
        self._dimension = dimension
        self.parts: list[NDArray[np.float16]] = [
            map_array(place.path(name), np.dtype("<f2"), (size, dimension))
            for name, size in zip(names, sizes, strict=True)
        ]

    def take(self, numbers: Numbers) -> NDArray[np.float32]:
        """Vectors in the order asked for: float32 [n, d], unit rows to within float16 rounding."""
        wanted = np.asarray(numbers, np.int64)
        self.require_all(wanted)
        starts = np.array(self._starts)
        parts = np.searchsorted(starts, wanted, side="right") - 1
        taken = np.empty((len(wanted), self._dimension), np.float32)
        for part in np.unique(parts):
            here = parts == part
            taken[here] = self.parts[part][wanted[here] - starts[part]]
        return taken


class Texts(Parts):
    """The column `text` of parquet files, decoded by row group when asked for and remembered."""

    def __init__(self, place: Place, unit: str, names: Sequence[str], sizes: Sequence[int]) -> None:
        super().__init__(place.folder, unit, sizes)
        self._place, self._names, self._sizes = place, names, sizes
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[int, int], list[str]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, numbers: Numbers) -> list[str]:
        """Texts in the order asked for. Threads take turns: pyarrow crashes where two read one file side by side.

        Raises:
            ShardDamaged: a file cannot be read.
            ShardError: it was replaced since the index was opened.
        """
        with self._lock:
            return [self._text(*self._where(int(number))) for number in numbers]

    def _text(self, part: int, local: int) -> str:
        metadata = self._file(part).metadata
        for group in range(metadata.num_row_groups):
            held = metadata.row_group(group).num_rows
            if local < held:
                return self._group(part, group, held)[local]
            local -= held
        raise ShardDamaged(f"{self._folder / self._names[part]}: its row groups hold fewer rows than it has")

    def _group(self, part: int, group: int, held: int) -> list[str]:
        key = (part, group)
        if key not in self._groups:
            path = self._folder / self._names[part]
            try:
                column = self._file(part).read_row_group(group, columns=["text"])["text"]
                texts = column.to_pylist()
            except ShardDamaged:
                raise
            except Exception as error:  # damaged pages make pyarrow raise errors of many kinds
                raise ShardDamaged(f"{path}: row group {group} cannot be read ({error})") from error
            if len(texts) != held or column.type != pa.string() or column.null_count:
                raise ShardDamaged(f"{path}: row group {group} is not {held} texts")
            self._groups[key] = texts
            if len(self._groups) > CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _file(self, part: int) -> pq.ParquetFile:
        if part not in self._files:
            self._files[part] = open_parquet(self._place.path(self._names[part]), self._sizes[part])
        return self._files[part]
