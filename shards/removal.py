"""Taking captions out of an index: their rows become tombstones, and words that only they held are not said again."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shards.concepts import choose_concepts, count_concepts, write_concept_table
from shards.errors import ShardError
from shards.manifest import FileInfo, Manifest, load
from shards.parts import alive, write_array
from shards.reader import Index, require_intact
from shards.writer import IndexWriter, changing


def remove(folder: Path, source: str | None, pattern: str | None) -> tuple[Manifest, int]:
    """Remove the captions of a source, or those that match a pattern, or those of a source that match it.

    Rows keep their numbers and no part changes; `compact` frees the room. A caption that was met in several sources
    belongs to the first.

    Args:
        folder: an index.
        source: the URI of a source as the manifest has it, or else the end of one or several.
        pattern: a regular expression, searched for in the caption, ignoring case.

    Returns:
        The new manifest, and how many rows were removed now.

    Raises:
        ShardError: no such source, or a pattern that is no regular expression, or empty.
        NoIndex: there is no index.
        ShardDamaged: what is read of it is not what the manifest says.
    """
    with changing(folder) as (writer, index):
        if index.manifest.removed is not None:
            require_intact(folder, index.manifest.removed)  # its rows get a new digest
        found = np.setdiff1d(matching_rows(index, _source_numbers(index, source), _compiled(pattern)), index.removed)
        if not found.size:
            return index.manifest, 0
        removed = np.union1d(index.removed, found)
        concepts = index.manifest.concepts
        table, current = _recounted(writer, index, removed)
        manifest = msgspec.structs.replace(
            index.manifest,
            generation=writer.generation,
            removed=write_array(writer.table_path("removed", "npy"), removed.astype("<i8")),
            concepts=msgspec.structs.replace(concepts, table=table, current=current),
        )
        return writer.finish(manifest), int(found.size)


def holding(folders: Sequence[Path], source: str) -> list[Path]:
    """Those of several indexes that have read a source.

    Args:
        folders: indexes.
        source: as `remove` takes it.

    Raises:
        ShardError: none of them has; the message lists the sources that there are.
        NoIndex: one of them is no index.
    """
    known = {folder: [info.uri for info in load(folder).sources] for folder in folders}
    there = dict.fromkeys(chain.from_iterable(known.values()))
    meant = _meant(source, there)
    found = [folder for folder, uris in known.items() if meant.intersection(uris)]
    if not found:
        where = folders[0] if len(folders) == 1 else folders[0].parent
        raise ShardError(f"{where}: no source {source}; the sources: {', '.join(there)}")
    return found


def _meant(source: str, uris: Iterable[str]) -> set[str]:
    """The URI that a user wrote out, if there is one, or else all that end so."""
    return {source}.intersection(uris) or {uri for uri in uris if uri.endswith(f"/{source}")}


def matching_rows(index: Index, sources: list[int] | None, pattern: re.Pattern[str] | None) -> NDArray[np.int64]:
    """Rows of some sources (None for all) whose captions a pattern (None for any) is found in, ascending."""
    rows = []
    for number, part in enumerate(index.manifest.parts):
        table = index.part_table(number, ["text", "source"])
        wanted = np.ones(part.rows, np.bool_)
        if sources is not None:
            wanted &= np.isin(table["source"].to_numpy(), sources)
        if pattern is not None:
            texts = table["text"].to_pylist()
            wanted &= np.fromiter((pattern.search(text) is not None for text in texts), np.bool_, part.rows)
        rows.append(np.flatnonzero(wanted) + part.first_row)
    return np.concatenate(rows)


def _source_numbers(index: Index, source: str | None) -> list[int] | None:
    if source is None:
        return None
    holding([index.folder], source)  # or else it says which there are
    uris = [info.uri for info in index.manifest.sources]
    meant = _meant(source, uris)
    return [number for number, uri in enumerate(uris) if uri in meant]


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern == "":  # as a variable of a shell that holds nothing
        raise ShardError("--matching: empty, and found in every caption; give a regular expression ('.' means all)")
    try:
        return None if pattern is None else re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise ShardError(f"--matching {pattern}: not a regular expression ({error})") from error


def _recounted(writer: IndexWriter, index: Index, removed: NDArray[np.int64]) -> tuple[FileInfo, int]:
    """The concept table without the removed captions, and how many of the concepts are left to say."""
    lists = (
        (index.part_table(number, ["concepts"])["concepts"].combine_chunks(), alive(part, removed))
        for number, part in enumerate(index.manifest.parts)
    )
    concepts = index.concepts
    words = pa.array(concepts.words(range(len(concepts))), pa.string())
    said = words.filter(pa.array(concepts.counts > 0))
    counted = count_concepts(lists)
    left = choose_concepts(counted.filter(pc.is_in(counted["text"], value_set=said)), least=1)
    return write_concept_table(writer.table_path("concepts", "parquet"), words, left), len(left)
