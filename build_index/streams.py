"""What every reader of captions is made of: chunks and problems, decompressed bytes, lines."""

import bz2
import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import fsspec
import ijson
import pyarrow as pa

from build_index.cleaning import Refusal
from build_index.corpora import Source

ROWS_PER_CHUNK = 4_096

BROKEN = (OSError, EOFError, ValueError, pa.ArrowException, lzma.LZMAError, zlib.error, ijson.JSONError, csv.Error)
"""What decoders raise at damage; pyarrow, zlib and lzma have no common base class."""

_UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
"""The byte order marks of UTF-16, read as UTF-8 with surrogates for what is none."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a file: raw values, strings where all is well, a `Refusal` where a row cannot be decoded."""

    first_row: int
    values: list[Any]


@dataclass(frozen=True)
class Problem:
    """Rows that cannot be read at all.

    Attributes:
        place: file and position, for people.
        rows: how many rows are lost; 0 where nobody can know, as in a file that breaks off.
        reason: why.
        detail: what the decoder said.
    """

    place: str
    rows: int
    reason: Refusal
    detail: str


Stream = Iterator[Chunk | Problem]


def raw(uri: str) -> IO[bytes]:
    """The bytes of a file as they are; fsspec has its own meaning for `::` and `?`, which a local name may hold."""
    if "://" in uri:
        stream: IO[bytes] = fsspec.open(uri, "rb").open()
        return stream
    return Path(uri).open("rb")


def opened(source: Source) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    stream: Any = raw(source.uri)
    if source.compression == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    openers: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers[source.compression](stream) if source.compression else stream


def lines(stream: IO[bytes], newline: str = "\n") -> Iterable[str]:
    """Lines; bytes that are not UTF-8 become surrogates, which cleaning refuses row by row.

    A lone carriage return is part of its line, as for every tool that counts lines; only CSV knows better.

    Raises:
        ValueError: the file is UTF-16, as its first line says; read as UTF-8, every second character would be 0.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)
    first = next(text, "")
    if first.startswith(_UTF_16) or _is_every_second_zero(first):
        raise ValueError("it is UTF-16; save it as UTF-8")
    return chain([first] if first else [], text)


def _is_every_second_zero(line: str) -> bool:
    return len(line) > 2 and any(not half.strip("\0") for half in (line[::2], line[1::2]))


def chunks(values: Iterable[Any]) -> Stream:
    """Values in chunks. A decoder that breaks off loses nothing that it had given before."""
    iterator = iter(values)
    first_row = 0
    while True:
        chunk: list[Any] = []
        try:
            for value in islice(iterator, ROWS_PER_CHUNK):
                chunk.append(value)  # not extend(): what came before a break must be kept
        except Exception:  # whatever it is, it goes on after what was read before it is given
            yield Chunk(first_row, chunk)
            raise
        if not chunk:
            return
        yield Chunk(first_row, chunk)
        first_row += len(chunk)
