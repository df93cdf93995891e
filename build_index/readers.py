"""Files of captions as streams: every row comes out, as text or as a named problem, in file order.

A reader never loses a row. What it cannot read it yields as a `Problem` with its place, and goes on where the format
allows it. Memory does not grow with the file.
"""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

import fsspec
import ijson
import pyarrow as pa
import pyarrow.parquet as pq

from build_index.cleaning import Refusal
from build_index.columns import choose_column, choose_position
from build_index.corpora import DATASET, Source
from build_index.errors import CorpusError
from encoders.hub import offline_where_no_hub_resolves

ROWS_PER_CHUNK = 4_096
PEEKED_ROWS = 50
"""Rows of a text file that decide whether it has a header and where its captions are."""

PEEKED_BYTES = 1 << 16
"""Bytes of a JSON file that decide whether it is one document or lines: no single caption's line is longer."""

BROKEN = (OSError, EOFError, ValueError, pa.ArrowException, lzma.LZMAError, zlib.error, ijson.JSONError, csv.Error)
"""What decoders raise at damage; pyarrow, zlib and lzma have no common base class."""

csv.field_size_limit(1 << 24)


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


def read_source(source: Source) -> Stream:
    """Stream the raw captions of one file.

    Raises:
        CorpusError: the file's type is unknown, or its caption column is missing or ambiguous.
    """
    if source.kind not in _READERS:
        known = ", ".join(sorted(_READERS.keys() - {DATASET}))
        raise CorpusError(f"{source.uri}: unknown type of file; readable are {known}, plain or as .gz .zst .bz2 .xz")
    rows = 0
    try:
        for item in _READERS[source.kind](source):
            rows += len(item.values) if isinstance(item, Chunk) else item.rows
            yield item
    except CorpusError:
        raise
    except Exception as error:
        if not isinstance(error, BROKEN) and "://" not in source.uri:
            raise  # but every remote filesystem raises its own kinds
        yield Problem(f"{source.uri} after row {rows}", 0, Refusal.DAMAGED, _one_line(error))
        return
    if not rows:
        yield Problem(source.uri, 0, Refusal.NO_ROWS, "no rows in it")


# --- parquet ---------------------------------------------------------------------------------------------------------


def _read_parquet(source: Source) -> Stream:
    with fsspec.open(source.uri, "rb") as stream:
        file = pq.ParquetFile(stream)
        column = choose_column(file.schema_arrow.names, source.columns, source.uri)
        row = 0
        for group in range(file.num_row_groups):
            given = 0
            try:
                for batch in file.iter_batches(ROWS_PER_CHUNK, row_groups=[group], columns=[column]):
                    values = _python_values(batch.column(0))
                    yield Chunk(row, values)
                    row += len(values)
                    given += len(batch)
            except BROKEN as error:
                lost = file.metadata.row_group(group).num_rows - given
                yield Problem(f"{source.uri} row group {group}", lost, Refusal.DAMAGED, _one_line(error))
                row += lost


def _python_values(array: pa.Array) -> list[Any]:
    """Values of an Arrow column; lists are taken apart, bytes that are not UTF-8 become surrogates."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if any(is_a(array.type) for is_a in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        lists = (_python_values(scalar.values) if scalar.is_valid else [] for scalar in array)
        return [value for values in lists for value in (values or [None])]
    try:
        return array.to_pylist()
    except UnicodeDecodeError:
        raw = array.cast(pa.large_binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw]


# --- text ------------------------------------------------------------------------------------------------------------


def _opened(source: Source) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    stream: Any = fsspec.open(source.uri, "rb").open()
    if source.compression == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    openers: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers[source.compression](stream) if source.compression else stream


def _lines(stream: IO[bytes], newline: str = "\n") -> Iterable[str]:
    """Lines; bytes that are not UTF-8 become surrogates, which cleaning refuses row by row.

    A lone carriage return is part of its line, as for every tool that counts lines; only CSV knows better.
    """
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _chunks(values: Iterable[Any]) -> Stream:
    """Values in chunks. A decoder that breaks off loses nothing that it had given before."""
    iterator = iter(values)
    first_row = 0
    while True:
        chunk: list[Any] = []
        try:
            for value in islice(iterator, ROWS_PER_CHUNK):
                chunk.append(value)  # not extend(): what came before a break must be kept
        except Exception:
            yield Chunk(first_row, chunk)
            raise
        if not chunk:
            return
        yield Chunk(first_row, chunk)
        first_row += len(chunk)


def _read_text(source: Source) -> Stream:
    with _opened(source) as stream:
        yield from _chunks(line.rstrip("\r\n") for line in _lines(stream))


def _read_delimited(source: Source) -> Stream:
    """CSV and TSV. TSV captions hold stray quotation marks, so quoting is off there."""
    with _opened(source) as stream:
        rows: Iterator[list[str]]
        if source.kind == "tsv":
            rows = (line.rstrip("\r\n").split("\t") for line in _lines(stream))
        else:
            rows = csv.reader(_lines(stream, newline=""))
        first: list[list[str]] = []
        try:
            for row in islice(rows, PEEKED_ROWS):
                first.append(row)  # a file that breaks off here still has its first rows
        except BROKEN:
            if not first:
                raise
            rows = _broken_again(rows)
        if not first:
            return
        place, has_header = choose_position(first, source.columns, source.uri)
        body = chain(first[1:] if has_header else first, rows)
        yield from _chunks(row[place] if place < len(row) else None for row in body)


def _broken_again(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    raise EOFError("the file breaks off within its first rows")
    yield from rows


# --- JSON ------------------------------------------------------------------------------------------------------------


def _read_json_lines(source: Source) -> Stream:
    with _opened(source) as stream:
        objects = (_parsed(line) for line in _lines(stream) if line.strip())
        yield from _chunks(_values_of(objects, source))


def _read_json(source: Source) -> Stream:
    """One JSON document: a list, or COCO's and RedCaps' object with a list of annotations; or lines of JSON."""
    beginning = _beginning(source)
    text = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    opening = _parsed(text.split(b"\n")[0].decode("utf-8", "surrogateescape"))
    if text[:1] not in (b"[", b"{") or (isinstance(opening, dict) and "annotations" not in opening):
        yield from _read_json_lines(source)
        return
    with _opened(source) as stream:
        if beginning.startswith(codecs.BOM_UTF8):
            stream.read(len(codecs.BOM_UTF8))  # ijson takes it for damage
        path = "item" if text.startswith(b"[") else "annotations.item"
        yield from _chunks(_values_of(ijson.items(stream, path), source))


def _beginning(source: Source) -> bytes:
    """A file up to the end of its first line, or less where that is long or the file breaks off."""
    beginning = b""
    with _opened(source) as stream, suppress(*BROKEN):  # whoever reads on meets the break again
        while len(beginning) < PEEKED_BYTES and b"\n" not in beginning.lstrip() and (more := stream.read(512)):
            beginning += more
    return beginning


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Refusal.DAMAGED


def _values_of(objects: Iterable[Any], source: Source) -> Iterator[Any]:
    """Captions of JSON values: strings as they are, objects by their caption key, lists taken apart."""
    key: str | None = None
    for value in objects:
        if isinstance(value, dict):
            key = key or choose_column(list(value), source.columns, source.uri)
            value = value.get(key)  # the caption stands for its object
        if isinstance(value, list):
            yield from value or [None]
        else:
            yield value


# --- data sets of the Hugging Face hub -------------------------------------------------------------------------------


def _read_dataset(source: Source) -> Stream:
    """Stream a data set's train split, one column of it."""
    dataset = load_streaming(source.uri)
    column = choose_column(list(dataset.features), source.columns, source.uri)
    rows = 0
    for batch in dataset.select_columns([column]).iter(ROWS_PER_CHUNK):
        values = [
            item for value in batch[column] for item in ((value or [None]) if isinstance(value, list) else [value])
        ]
        yield Chunk(rows, values)
        rows += len(values)


def load_streaming(uri: str) -> Any:
    """A streamed `datasets` data set of `hf:OWNER/NAME`, `hf:OWNER/NAME@CONFIG` or `hf:./FOLDER`.

    Raises:
        CorpusError: it is not to be had, or has no train split.
    """
    import datasets  # takes a second, and most corpora are files

    name, _, config = uri.removeprefix(DATASET).partition("@")
    try:
        with offline_where_no_hub_resolves():
            dataset = datasets.load_dataset(name, config or None, split="train", streaming=True)
            return dataset if dataset.features else dataset._resolve_features()
    except Exception as error:  # datasets raises its own kinds, and those of the hub and of fsspec
        hint = "; for a repository with a loading script, use its parquet files: hf://datasets/NAME@refs%2Fconvert%2Fparquet/**"
        raise CorpusError(f"{uri}: cannot be streamed ({_one_line(error)}){hint}") from error


def _one_line(error: BaseException) -> str:
    first = error.args[0] if error.args else None
    said = (
        first.decode("utf-8", "replace") if isinstance(first, bytes) else str(error)
    )  # ijson says some things in bytes
    return (said.strip().split("\n")[0] or type(error).__name__)[:200]


_READERS: dict[str, Callable[[Source], Stream]] = {
    "parquet": _read_parquet,
    "csv": _read_delimited,
    "tsv": _read_delimited,
    "json": _read_json,
    "jsonl": _read_json_lines,
    "ndjson": _read_json_lines,
    "txt": _read_text,
    DATASET: _read_dataset,
}
