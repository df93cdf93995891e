"""Rows of finished indexes written anew: without what was removed from them, and each caption once.

Nothing is embedded: a caption keeps its vector and its concepts, whatever its new number.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from build_index.books import Books, Counts
from build_index.dedup import SeenCaptions
from shards import Index, IndexWriter
from shards.manifest import PartInfo, SourceInfo, Tally
from shards.parts import CAPTIONS_SCHEMA, alive
from shards.progress import progress
from shards.reader import require_intact

REMOVED = "removed"
"""The reason under which the tally keeps removed captions, so that the books still balance."""

ROWS_TOGETHER = 32_768
"""Neighbouring parts that have no more rows than this together become one; larger ones stay as they are."""

COLUMNS = ("text", "hash", "source", "concepts")
"""All of the captions file but the row numbers."""


def is_scattered(index: Index) -> bool:
    """Whether writing an index anew would make fewer parts of it, as after many small appends."""
    rows = [part.rows for part in index.manifest.parts]
    return any(one + other <= ROWS_TOGETHER for one, other in pairwise(rows))


class _Gathered:
    """Captions and vectors on their way into parts; `parts` are those that are written."""

    def __init__(self, writer: IndexWriter) -> None:
        self.parts: list[PartInfo] = []
        self.rows = 0
        self._writer = writer
        self._tables: list[pa.Table] = []
        self._vectors: list[NDArray[np.float16]] = []
        self._waiting = 0

    def add(self, table: pa.Table, vectors: NDArray[np.float16]) -> None:
        """Take n captions and their vectors, float16 [n, d]."""
        if self._waiting + len(table) > ROWS_TOGETHER:
            self.write()
        self._tables.append(table)
        self._vectors.append(vectors)
        self._waiting += len(table)
        self.rows += len(table)

    def write(self) -> None:
        """Write what waits as one part, if anything does."""
        if self._waiting:
            table = pa.concat_tables(self._tables).combine_chunks()
            self.parts.append(self._writer.write_rows(len(self.parts), table, np.concatenate(self._vectors)))
            self._tables, self._vectors, self._waiting = [], [], 0


def rewrite_parts(indexes: Sequence[Index], writer: IndexWriter) -> tuple[list[PartInfo], Books]:
    """Write the captions of indexes one after another, and add up their books.

    A caption that stands in several belongs to the first and counts as often as in all of them. Sources that lost
    captions by removal, and have none left, are forgotten, so that they can be read again; if captions of theirs were
    met more than once, so are sources that never had one of their own, since it may be there that they were met.

    Args:
        indexes: with vectors of one encoder.
        writer: of an index that is to be made.

    Returns:
        The parts, each what is left of one of the old or of several small ones, and the books.

    Raises:
        ShardDamaged: a file of one of the indexes is not what its manifest says.
    """
    gathered = _Gathered(writer)
    source_count = 0
    seen, counts = SeenCaptions(), Counts(np.zeros(0, np.uint32))
    with progress("captions", "rows", sum(index.manifest.rows for index in indexes)) as bar:
        for index in indexes:
            _require_intact_tables(index)
            numbers = _source_numbers(index)
            meetings = index.counts()
            for number, part in enumerate(index.manifest.parts):
                for file in (part.captions, part.vectors):
                    require_intact(index.folder, file)  # read twice, but from the disk once
                keep = alive(part, index.removed)
                table = index.part_table(number, COLUMNS).filter(keep)
                rows, fresh = seen.assign(table["hash"].to_pylist())
                counts.add(rows, meetings[part.first_row : part.first_row + part.rows][keep])
                if any(fresh):
                    table = _renumbered(table.filter(fresh), gathered.rows, source_count + numbers)
                    gathered.add(table, index.part_vectors(number)[keep][fresh])
                bar.update(part.rows)
            source_count += int((numbers >= 0).sum())
    gathered.write()
    sources, tally = books_together(indexes, len(seen))
    return gathered.parts, Books(counts.array(), tally, sources, removed=np.zeros(0, np.int64))


def books_together(indexes: Sequence[Index], kept: int) -> tuple[list[SourceInfo], Tally]:
    """Sources and tally of the index that others are made into, of which `kept` captions are left."""
    sources: list[SourceInfo] = []
    for index in indexes:
        numbers = _source_numbers(index)
        sources += [info for info, to in zip(index.manifest.sources, numbers, strict=True) if to >= 0]
    return sources, _added([_without_removed(index) for index in indexes], kept)


def require_intact_concepts(index: Index) -> None:
    """Refuse words, or vectors of words, that are not what the manifest says: they would be sound in a new index.

    Raises:
        ShardDamaged: a file is missing or holds something else.
    """
    concepts = index.manifest.concepts
    for file in [concepts.table, *(file for part in concepts.parts for file in (part.words, part.vectors))]:
        require_intact(index.folder, file)


def _require_intact_tables(index: Index) -> None:
    for file in (index.manifest.counts, index.manifest.removed):
        if file is not None:
            require_intact(index.folder, file)


def _renumbered(table: pa.Table, first_row: int, numbers: NDArray[np.int32]) -> pa.Table:
    """Captions with other numbers for themselves and for their sources."""
    rows = np.arange(first_row, first_row + len(table), dtype=np.int64)
    sources = numbers[table["source"].to_numpy()].astype(np.int32)
    place = table.schema.get_field_index("source")
    table = table.set_column(place, CAPTIONS_SCHEMA.field("source"), pa.array(sources))
    return table.add_column(0, CAPTIONS_SCHEMA.field("row"), pa.array(rows))


def _source_numbers(index: Index) -> NDArray[np.int32]:
    """The new number of every source, counted from 0, and -1 for one that is forgotten: int32 [sources]."""
    held, lost, shared = np.zeros((3, len(index.manifest.sources)), np.bool_)
    meetings = index.counts()
    for number, part in enumerate(index.manifest.parts) if len(index.removed) else ():
        sources, left = index.part_table(number, ["source"])["source"].to_numpy(), alive(part, index.removed)
        met_again = meetings[part.first_row : part.first_row + part.rows] > 1
        held[sources[left]] = True
        lost[sources[~left]] = True
        shared[sources[~left & met_again]] = True
    forgotten = lost & ~held
    if (shared & forgotten).any():
        forgotten = ~held
    return np.where(forgotten, -1, np.cumsum(~forgotten) - 1).astype(np.int32)


def _without_removed(index: Index) -> Tally:
    """The books with every meeting of a removed caption under its own heading, so that they still balance."""
    tally = index.manifest.tally
    meetings = int(index.counts()[index.removed].sum(dtype=np.uint64))
    refused = {**tally.refused, REMOVED: tally.refused.get(REMOVED, 0) + meetings}
    return Tally(
        read=tally.read,
        kept=tally.kept - len(index.removed),
        duplicates=tally.duplicates - (meetings - len(index.removed)),
        refused={reason: rows for reason, rows in sorted(refused.items()) if rows},
    )


def _added(tallies: Sequence[Tally], kept: int) -> Tally:
    """The books of all together, where captions that several have are duplicates but for one."""
    refused: dict[str, int] = {}
    for tally in tallies:
        for reason, rows in tally.refused.items():
            refused[reason] = refused.get(reason, 0) + rows
    return Tally(
        read=sum(tally.read for tally in tallies),
        kept=kept,
        duplicates=sum(tally.kept + tally.duplicates for tally in tallies) - kept,
        refused=dict(sorted(refused.items())),
    )
