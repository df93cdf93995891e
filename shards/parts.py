"""The parquet and npy files of a part, written and read."""

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards.errors import ShardDamaged
from shards.files import write_whole
from shards.manifest import FileInfo, PartInfo

ROWS_PER_GROUP = 4_096
"""Rows that a reader must decode to get at one caption."""

CONCEPT = pa.struct([pa.field("text", pa.string(), nullable=False), pa.field("kind", pa.string(), nullable=False)])

CAPTIONS_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("hash", pa.binary(16), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
        pa.field("concepts", pa.list_(pa.field("item", CONCEPT, nullable=False)), nullable=False),
    ]
)

CONCEPT_TABLE_SCHEMA = pa.schema(
    [pa.field("kind", pa.string(), nullable=False), pa.field("count", pa.uint32(), nullable=False)]
)

WORDS_SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string(), nullable=False)])

ConceptPair = tuple[str, str]
"""A concept's canonical text and its kind."""


@dataclass(frozen=True)
class PartRows:
    """The captions of one part, before they have vectors.

    Attributes:
        texts: n normalised captions.
        hashes: n times the 16 bytes of `text_hash`, or of `word_hash` for a line of a word list.
        sources: int32 [n], counts into the manifest's sources.
    """

    texts: Sequence[str]
    hashes: Sequence[bytes]
    sources: NDArray[np.int32]

    def table(self, first_row: int) -> pa.Table:
        """The columns of the captions file, without the concepts."""
        count = len(self.texts)
        columns = [
            pa.array(np.arange(first_row, first_row + count, dtype=np.int64)),
            pa.array(self.texts, pa.string()),
            pa.array(self.hashes, pa.binary(16)),
            pa.array(self.sources, pa.int32()),
        ]
        return pa.table(columns, schema=CAPTIONS_SCHEMA.remove(CAPTIONS_SCHEMA.get_field_index("concepts")))


def text_hash(text: str) -> bytes:
    """The 16 bytes that stand for a normalised caption.

    >>> text_hash("a dog").hex()[:8]
    '2d542c24'
    """
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def word_hash(line: str) -> bytes:
    """The 16 bytes that stand for a line of a word list, which is another row than a caption that reads the same.

    >>> word_hash("a dog") == text_hash("a dog")
    False
    """
    return hashlib.blake2b(line.encode(), digest_size=16, person=b"word").digest()


def alive(part: PartInfo, removed: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows of a part are not among some that were removed, global rows int64 [r]: bool [n]."""
    return ~np.isin(np.arange(part.first_row, part.first_row + part.rows), removed)


def captions_table(first_row: int, rows: PartRows, concepts: Sequence[Sequence[ConceptPair]]) -> pa.Table:
    """The columns of the captions file, each caption with the concepts that were found in it."""
    flat = [pair for pairs in concepts for pair in pairs]
    offsets = np.concatenate([[0], np.cumsum([len(pairs) for pairs in concepts])]).astype(np.int32)
    items = pa.StructArray.from_arrays(
        [pa.array([text for text, _ in flat], pa.string()), pa.array([kind for _, kind in flat], pa.string())],
        fields=list(CONCEPT),
    )
    lists = pa.ListArray.from_arrays(offsets, items, type=CAPTIONS_SCHEMA.field("concepts").type)
    return rows.table(first_row).append_column(CAPTIONS_SCHEMA.field("concepts"), lists)


def words_table(first_id: int, words: Sequence[str]) -> pa.Table:
    """The columns of a words file."""
    ids = np.arange(first_id, first_id + len(words), dtype=np.int64)
    return pa.table([pa.array(ids), pa.array(words, pa.string())], schema=WORDS_SCHEMA)


def write_table(path: Path, table: pa.Table) -> FileInfo:
    """Write a parquet file whole."""

    def write(partial: Path) -> None:
        pq.write_table(table, partial, row_group_size=ROWS_PER_GROUP, compression="zstd", write_page_checksum=True)

    return write_whole(path, write)


def write_array(path: Path, array: NDArray[np.generic]) -> FileInfo:
    """Write a `.npy` file whole; through Python's own file, since NumPy's way does not say that the disk is full."""
    contiguous = np.ascontiguousarray(array)

    def write(partial: Path) -> None:
        with partial.open("wb") as stream:
            header = np.lib.format.header_data_from_array_1_0(contiguous)
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(contiguous.data)

    return write_whole(path, write)


def _require_room(error: Exception, path: Path) -> None:
    """Tell a file that could not be opened beside so many others from a damaged one.

    Raises:
        OSError: the system lets this process open no more files.
    """
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def map_array(path: Path, dtype: "np.dtype[Any]", shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Map a `.npy` file that must hold exactly this; None in the shape stands for any length.

    Raises:
        ShardDamaged: it holds something else.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        unread = path.stat().st_size - array.offset - array.nbytes
    except Exception as error:  # a broken header makes NumPy's parser raise errors of many kinds
        _require_room(error, path)
        raise ShardDamaged(f"{path}: not readable as .npy ({error})") from error
    wanted = tuple(have if want is None else want for have, want in zip(array.shape, shape, strict=False))
    if array.ndim != len(shape) or array.shape != wanted or array.dtype != dtype or not array.flags.c_contiguous:
        expected = ", ".join("any" if length is None else str(length) for length in shape)
        raise ShardDamaged(f"{path}: {array.dtype} {list(array.shape)}, expected {dtype} [{expected}] in C order")
    if unread:
        raise ShardDamaged(f"{path}: {unread} bytes more than its header says")
    return array


def open_parquet(path: Path, rows: int | None) -> pq.ParquetFile:
    """Open a parquet file of the index, mapped.

    Raises:
        ShardDamaged: it is none, or has another number of rows.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except Exception as error:  # damaged pages make pyarrow raise errors of many kinds
        _require_room(error, path)
        raise ShardDamaged(f"{path}: not readable as parquet ({error})") from error
    if rows is not None and file.metadata.num_rows != rows:
        raise ShardDamaged(f"{path}: {file.metadata.num_rows} rows, the manifest says {rows}")
    return file


def read_parquet(path: Path, rows: int | None, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file of the index.

    Args:
        path: the file.
        rows: how many it must have; None for any.
        schema: what its columns must be.
        columns: those to read, None for all; they come in the order of the schema.

    Raises:
        ShardDamaged: it cannot be read, or is not what it must be.
    """
    file = open_parquet(path, rows)
    try:
        table = file.read(columns=None if columns is None else list(columns))
        table.validate(full=True)
    except Exception as error:  # as above
        raise ShardDamaged(f"{path}: cannot be read ({error})") from error
    wanted = pa.schema([field for field in schema if columns is None or field.name in columns])
    if not table.schema.equals(wanted):
        kinds = ", ".join(str(kind) for kind in wanted.types)
        raise ShardDamaged(f"{path}: columns {table.schema.names}, expected {wanted.names} of types {kinds}")
    if len(table) != file.metadata.num_rows:
        raise ShardDamaged(f"{path}: {len(table)} rows, its footer says {file.metadata.num_rows}")
    return table
