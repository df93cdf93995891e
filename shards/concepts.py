"""From the concepts of every caption to the tables of an index: what may be said, and which captions say it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shards.files import write_whole
from shards.manifest import FileInfo
from shards.parts import CONCEPT_TABLE_SCHEMA, write_array, write_table

WORD = "word"
"""The kind of a concept that came from a word list: it is said however few captions hold it."""

KINDS = ("noun", "phrase", "proper", WORD)
"""The kinds of concepts that may be said."""

MERGE_ABOVE = 1_000_000
"""Counted rows that may wait before they are merged into the total."""


def count_concepts(captions: Iterable[tuple[pa.ListArray, NDArray[np.bool_]]]) -> pa.Table:
    """Count the captions that hold each concept.

    Args:
        captions: for each part, the concepts of its captions and which captions count, bool [n].

    Returns:
        Columns text, kind and count, a row for each text and kind, in order of first appearance.
    """
    total = _nothing()
    waiting: list[pa.Table] = []
    for lists, alive in captions:
        waiting.append(_counted(_pairs(lists, alive)))
        if sum(len(table) for table in waiting) > max(MERGE_ABOVE, len(total)):
            total, waiting = _merged([total, *waiting]), []
    return _merged([total, *waiting])


def choose_concepts(counted: pa.Table, least: int) -> pa.Table:
    """The words that at least so many captions hold, or that a word list names.

    Args:
        counted: from `count_concepts`.
        least: captions that must hold a concept.

    Returns:
        Columns text, kind and count, a row for each text, in order of first appearance. The kind is the most frequent
        one, of equally frequent ones the last by the alphabet; what a word list names is a `WORD`.
    """
    sums = counted.group_by("text", use_threads=False).aggregate([("count", "sum")])
    frequent = sums.filter(pc.greater_equal(sums["count_sum"], least))["text"]
    listed = counted.filter(pc.equal(counted["kind"], WORD))["text"]
    allowed = pa.chunked_array([*frequent.chunks, *listed.chunks], pa.string())
    kept = counted.filter(pc.is_in(counted["text"], value_set=allowed))
    return _of_one_kind(kept)


def _of_one_kind(kept: pa.Table) -> pa.Table:
    texts = kept["text"].combine_chunks().dictionary_encode()  # by first appearance
    ids, counts = texts.indices.to_numpy(), kept["count"].to_numpy()
    known = sorted(pc.unique(kept["kind"]).to_pylist())
    kinds = pc.index_in(kept["kind"], value_set=pa.array(known, pa.string())).to_numpy()
    order = np.lexsort((kinds, counts, pc.equal(kept["kind"], WORD).to_numpy(), ids))
    last = order[np.cumsum(np.bincount(ids)) - 1]  # the row of each text's kind
    sums = np.bincount(ids, counts).astype(np.int64)
    return pa.table({"text": texts.dictionary, "kind": kept["kind"].take(last), "count": sums})


def write_concept_table(path: Path, words: pa.StringArray, chosen: pa.Table) -> FileInfo:
    """Write kind and count of every concept by id; those that are not chosen have count 0.

    Args:
        path: where to.
        words: every concept of the index, in the order of ids.
        chosen: those that may be said now, as from `choose_concepts`.
    """
    rows = chosen.take(pc.index_in(words, value_set=chosen["text"].combine_chunks()))
    columns = [pc.fill_null(rows["kind"], ""), pc.fill_null(rows["count"], 0).cast(pa.uint32())]
    return write_table(path, pa.table(columns, schema=CONCEPT_TABLE_SCHEMA))


def write_links(
    starts_path: Path, links_path: Path, captions: Iterable[pa.ListArray], words: pa.StringArray, rows: int
) -> tuple[FileInfo, FileInfo]:
    """Write which concepts each caption holds, as compressed rows: links[starts[i]:starts[i + 1]] are caption i's ids.

    Args:
        starts_path: for int64 [rows + 1].
        links_path: for int32 [links].
        captions: for each part, the concepts of its captions.
        words: every concept of the index, in the order of ids.
        rows: captions of the index.
    """
    starts = np.zeros(rows + 1, np.int64)

    def ids() -> Iterator[NDArray[np.int32]]:
        row = 0
        for lists in captions:
            starts[row + 1 : row + 1 + len(lists)], found = find_links(lists, words)
            row += len(lists)
            yield found

    links = write_whole(links_path, lambda partial: _write_stream(partial, ids()))
    return write_array(starts_path, np.cumsum(starts)), links


def find_links(lists: pa.ListArray, vocabulary: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which words of a vocabulary captions hold.

    Args:
        lists: the concepts of n captions.
        vocabulary: every concept of the index, in the order of ids.

    Returns:
        How many each caption holds, int64 [n], and their ids one after the other, int32 [links].
    """
    found = pc.index_in(lists.flatten().field("text"), value_set=vocabulary)
    known = found.is_valid().to_numpy(zero_copy_only=False)
    holders = pc.list_parent_indices(lists).to_numpy()[known]
    return np.bincount(holders, minlength=len(lists)), found.drop_null().to_numpy().astype("<i4")


def _write_stream(path: Path, chunks: Iterable[NDArray[np.int32]]) -> None:
    """A one-dimensional int32 `.npy` file of a length that is known only at its end."""
    with path.open("wb") as stream:
        _write_header(stream, 0)
        length = 0
        for chunk in chunks:
            stream.write(chunk.tobytes())
            length += len(chunk)
        stream.seek(0)
        _write_header(stream, length)


def _write_header(stream: IO[bytes], length: int) -> None:
    """NumPy pads the header so that the first axis may grow: it takes the same bytes for any length."""
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i4", "fortran_order": False, "shape": (length,)})


def _pairs(lists: pa.ListArray, alive: NDArray[np.bool_]) -> pa.Table:
    items = lists.flatten()
    if not alive.all():
        items = items.filter(pa.array(alive[pc.list_parent_indices(lists).to_numpy()]))
    return pa.table({"text": items.field("text"), "kind": items.field("kind"), "count": pa.repeat(1, len(items))})


def _nothing() -> pa.Table:
    empty = [pa.array([], pa.string()), pa.array([], pa.string()), pa.array([], pa.int64())]
    return pa.table(empty, names=["text", "kind", "count"])


def _counted(pairs: pa.Table) -> pa.Table:
    """One row for each text and kind, in order of first appearance."""
    sums = pairs.group_by(["text", "kind"], use_threads=False).aggregate([("count", "sum")])
    return sums.rename_columns({"count_sum": "count"}).select(["text", "kind", "count"])


def _merged(tables: list[pa.Table]) -> pa.Table:
    return _counted(pa.concat_tables(tables).cast(_nothing().schema))
