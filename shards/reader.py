"""Reading an index: vectors mapped from the disk, captions decoded by row group when asked for."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards import layout, manifest
from shards.errors import NoIndex, ShardDamaged
from shards.manifest import FileInfo, Manifest, PartInfo

CACHED_GROUPS = 256
"""Decoded row groups kept in memory: about a million captions, roughly 100 MB."""

COLUMN_TYPES = {"text": pa.string(), "hash": pa.binary(16)}
"""What a reader needs of the captions, and how it is stored."""


class Index:
    """One finished index, open for reading. Opening reads the manifest and the parts' headers, nothing more."""

    def __init__(self, folder: Path, content: Manifest) -> None:
        self.folder = folder
        self.manifest = content
        self._first_rows = [part.first_row for part in content.parts]
        self._vectors = [self._map_vectors(part) for part in content.parts]
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[int, int], list[str]] = OrderedDict()
        for file in (content.counts, content.index.file):
            require_size(folder, file)

    @property
    def name(self) -> str:
        """The corpus that this index holds."""
        return self.manifest.name

    @property
    def faiss_path(self) -> Path:
        """The search index's file."""
        return self.folder / self.manifest.index.file.name

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of global rows.

        Returns:
            float32 [n, d], unit rows to within float16 rounding, in the order asked for.
        """
        dimension = self.manifest.encoder.dimension
        vectors = np.empty((len(rows), dimension), np.float32)
        for place, row in enumerate(rows):
            part = self._part_of(int(row))
            vectors[place] = self._vectors[part][int(row) - self._first_rows[part]]
        return vectors

    def part_vectors(self, part: int) -> NDArray[np.float16]:
        """All vectors of a part, float16 [n, d], mapped and read-only."""
        return self._vectors[part]

    def part_hashes(self, part: int) -> list[bytes]:
        """The 16-byte hashes of all captions of a part, in row order."""
        every_group = range(self._captions_file(part).metadata.num_row_groups)
        return self._column(part, every_group, "hash", self.manifest.parts[part].rows)

    def counts(self) -> NDArray[np.uint32]:
        """How often each caption was met, uint32 [rows]."""
        path = require_size(self.folder, self.manifest.counts)
        return load_array(path, np.dtype("<u4"), (self.manifest.rows,))

    def captions(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Captions of global rows, in the order asked for."""
        return [self._caption(int(row)) for row in rows]

    def _caption(self, row: int) -> str:
        part = self._part_of(row)
        local = row - self._first_rows[part]
        metadata = self._captions_file(part).metadata
        for group in range(metadata.num_row_groups):
            held = metadata.row_group(group).num_rows
            if local < held:
                return self._group(part, group, held)[local]
            local -= held
        raise ShardDamaged(f"{self._captions_path(part)}: its row groups end before row {row}")

    def _group(self, part: int, group: int, held: int) -> list[str]:
        key = (part, group)
        if key not in self._groups:
            self._groups[key] = self._column(part, [group], "text", held)
            if len(self._groups) > CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _column(self, part: int, groups: Sequence[int], name: str, rows: int) -> list[Any]:
        """A column of some row groups, once it is known to be what the format promises."""
        path = self._captions_path(part)
        file = self._captions_file(part)
        try:
            column = file.read_row_groups(groups, columns=[name])[name]
            values: list[Any] = column.to_pylist()
        except Exception as error:  # damaged pages make pyarrow raise errors of many kinds
            raise ShardDamaged(f"{path}: column {name} cannot be read ({error})") from error
        if len(values) != rows or column.type != COLUMN_TYPES[name] or column.null_count:
            raise ShardDamaged(f"{path}: column {name} is not {rows} times {COLUMN_TYPES[name]}")
        return values

    def _captions_path(self, part: int) -> Path:
        return self.folder / self.manifest.parts[part].captions.name

    def _captions_file(self, part: int) -> pq.ParquetFile:
        if part not in self._files:
            info = self.manifest.parts[part]
            path = require_size(self.folder, info.captions)
            try:
                file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
            except Exception as error:  # as above
                raise ShardDamaged(f"{path}: not readable as parquet ({error})") from error
            if file.metadata.num_rows != info.rows:
                raise ShardDamaged(f"{path}: {file.metadata.num_rows} rows, the manifest says {info.rows}")
            self._files[part] = file
        return self._files[part]

    def _part_of(self, row: int) -> int:
        if not 0 <= row < self.manifest.rows:
            raise IndexError(f"row {row} of {self.folder}, which has rows 0 to {self.manifest.rows - 1}")
        return bisect_right(self._first_rows, row) - 1

    def _map_vectors(self, part: PartInfo) -> NDArray[np.float16]:
        path = require_size(self.folder, part.vectors)
        return load_array(path, np.dtype("<f2"), (part.rows, self.manifest.encoder.dimension))


def load_array(path: Path, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a `.npy` file that must hold exactly this."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a broken header makes NumPy's parser raise errors of many kinds
        raise ShardDamaged(f"{path}: not readable as .npy ({error})") from error
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise ShardDamaged(f"{path}: {array.dtype} {list(array.shape)}, expected {dtype} {list(shape)} in C order")
    return array


def require_size(folder: Path, file: FileInfo) -> Path:
    """The path of a file of the index, once it is known to exist with the right size.

    Raises:
        ShardDamaged: it is missing or has another size.
    """
    path = folder / file.name
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ShardDamaged(f"{path}: {error.strerror}; the manifest names it; restore it or rebuild") from error
    if size != file.bytes:
        raise ShardDamaged(f"{path}: {size} bytes, the manifest says {file.bytes}; restore it or rebuild")
    return path


def open_index(folder: Path) -> Index:
    """Open one index folder.

    Raises:
        NoIndex: no finished index is there.
        UnsupportedVersion: the folder is of another format version.
        ShardDamaged: a file is missing or not what the manifest says.
    """
    return Index(folder, manifest.load(folder))


def index_folders(path: Path) -> list[Path]:
    """The index folders that a path means: itself, or every finished index one level below, sorted by name.

    Raises:
        NoIndex: there is none; the message says what is there instead.
    """
    if (path / layout.MANIFEST).exists() or not path.is_dir():
        return [path]
    below = sorted(child for child in path.iterdir() if (child / layout.MANIFEST).exists())
    if below:
        return below
    unfinished = sorted(child.name for child in path.iterdir() if (child / layout.PLAN).exists())
    if unfinished:
        raise NoIndex(f"{path}: only unfinished builds here ({', '.join(unfinished)}); run build_index again to finish")
    return [path]  # opening it says why it is no index


def open_indexes(path: Path) -> list[Index]:
    """Open an index, or a folder of them, to be searched together.

    Raises:
        NoIndex, UnsupportedVersion, ShardDamaged: as `open_index`.
    """
    return [open_index(folder) for folder in index_folders(path)]
