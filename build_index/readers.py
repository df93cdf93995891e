"""Files of captions as streams: every row comes out, as text or as a named problem, in file order.

A reader never loses a row. What it cannot read it yields as a `Problem` with its place, and goes on where the format
allows it. Memory does not grow with the file, unless that is a parquet file inside another compression, or on a server
that gives files as a whole only.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from build_index import streams
from build_index.cleaning import Refusal
from build_index.columns import choose_column, choose_position, require_no_table
from build_index.corpora import DATASET, Source
from build_index.csv_rows import Row, csv_rows
from build_index.dataset_reader import read_dataset
from build_index.errors import CorpusError, one_line
from build_index.json_reader import read_json, read_json_lines
from build_index.streams import BROKEN, Chunk, Problem, Stream, chunks, lines, opened, raw

PEEKED_ROWS = 50
"""Rows of a text file that decide whether it has a header and where its captions are."""


def read_source(source: Source) -> Stream:
    """Stream the raw captions of one file.

    Raises:
        CorpusError: the file's type is unknown, or its caption column is missing or ambiguous.
    """
    if source.kind not in _READERS:
        known = ", ".join(sorted(_READERS.keys() - {DATASET}))
        raise CorpusError(f"{source.uri}: unknown type of file; readable are {known}, plain or as .gz .zst .bz2 .xz")
    rows, explained = 0, False
    try:
        for item in _READERS[source.kind](source):
            rows += len(item.values) if isinstance(item, Chunk) else item.rows
            explained |= isinstance(item, Problem)
            yield item
    except CorpusError:
        raise
    except Exception as error:
        if not isinstance(error, BROKEN) and "://" not in source.uri:
            raise  # but every remote filesystem raises its own kinds
        yield Problem(f"{source.uri} after row {rows}", 0, Refusal.DAMAGED, one_line(error))
        return
    if not rows and not explained:
        yield Problem(source.uri, 0, Refusal.NO_ROWS, "no rows in it")


def _read_parquet(source: Source) -> Stream:
    with _seekable(source) as stream:
        file = pq.ParquetFile(stream)
        column = choose_column(file.schema_arrow.names, source.columns, source.uri)
        row = 0
        for group in range(file.num_row_groups):
            given = 0
            try:
                for batch in file.iter_batches(streams.ROWS_PER_CHUNK, row_groups=[group], columns=[column]):
                    values = _python_values(batch.column(0))
                    yield Chunk(row, values)
                    row += len(values)
                    given += len(batch)
            except BROKEN as error:
                if "://" in source.uri:
                    raise  # the connection, most likely: what follows is there yet
                lost = file.metadata.row_group(group).num_rows - given
                yield Problem(f"{source.uri} row group {group}", lost, Refusal.DAMAGED, one_line(error))
                row += lost


def _seekable(source: Source) -> IO[bytes]:
    """The bytes of a file that is read from its end; one that is given from its beginning only is held in memory."""
    if not source.compression and ("://" not in source.uri or _is_given_in_parts(source.uri)):
        return raw(source.uri)
    with opened(source) as stream:
        return io.BytesIO(stream.read())


def _is_given_in_parts(uri: str) -> bool:
    """Whether a server gives the end of a file by itself; Python's own HTTP server does not."""
    try:
        with raw(uri) as stream:
            stream.seek(-1, io.SEEK_END)
            return len(stream.read(1)) == 1
    except ValueError:
        return False


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


def _read_text(source: Source) -> Stream:
    with opened(source) as stream:
        rows = (line.rstrip("\r\n") for line in lines(stream))
        first = list(islice(rows, 1))
        require_no_table("".join(first), source.uri)
        yield from chunks(chain(first, rows))


def _read_delimited(source: Source) -> Stream:
    """CSV and TSV. TSV captions hold stray quotation marks, so quoting is off there.

    A row with more columns than the first was cut inside a caption, most likely, and is refused; a word list may have
    several names for a thing, of which the first counts.
    """
    with opened(source) as stream:
        rows: Iterator[Row]
        if source.kind == "tsv":
            rows = (line.rstrip("\r\n").split("\t") for line in lines(stream))
        else:
            rows = csv_rows(lines(stream, newline=""))
        first: list[Row] = []
        try:
            for row in islice(rows, PEEKED_ROWS):
                first.append(row)  # a file that breaks off here still has its first rows
        except BROKEN:
            if not first:
                raise
            rows = _broken_again(rows)
        if not first:
            return
        whole = [row for row in first if not isinstance(row, Refusal) and any(row)]  # an empty line tells nothing
        place, has_header = choose_position(whole or [[""]], source.columns, source.uri, chosen=source.chosen)
        body = chain((row for row in first if not (has_header and row is whole[0])), rows)
        width = None if source.listed or not whole else len(whole[0])
        yield from chunks(value for row in body for value in _values(_cell(row, place, width)))


def _cell(row: Row, place: int, width: int | None) -> str | Refusal | None:
    if isinstance(row, Refusal):
        return row
    if width is not None and any(row[width:]):
        return Refusal.MORE_COLUMNS
    return row[place] if place < len(row) else None


def _values(cell: str | Refusal | None) -> Sequence[str | Refusal | None]:
    """A cell, or the captions in it where it is a list of strings as JSON has it: Flickr30k's table has five in one."""
    if isinstance(cell, str) and cell.startswith('["') and cell.endswith('"]'):
        with suppress(ValueError, RecursionError):
            texts = json.loads(cell)
            if all(isinstance(text, str) for text in texts):
                return [*texts]
    return [cell]


def _broken_again(rows: Iterator[Row]) -> Iterator[Row]:
    raise EOFError("the file breaks off within its first rows")
    yield from rows


_READERS: dict[str, Callable[[Source], Stream]] = {
    "parquet": _read_parquet,
    "csv": _read_delimited,
    "tsv": _read_delimited,
    "json": read_json,
    "jsonl": read_json_lines,
    "ndjson": read_json_lines,
    "txt": _read_text,
    DATASET: read_dataset,
}
