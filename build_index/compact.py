"""Rewriting an index without the captions that were removed from it, and in few parts; nothing is embedded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from build_index.concept_stage import write_concept_tables
from build_index.export import export_cased, give_up_export, is_export_given_up
from build_index.faiss_index import write_faiss_index
from build_index.quality import write_quality
from build_index.rewriting import is_scattered, require_intact_concepts, rewrite_parts
from build_index.search_index.state import lost_settings, state_of
from build_index.search_index.stored import StoredVectors
from shards import Index, IndexWriter, Manifest, NoIndex, open_index
from shards.leftovers import aside_of, before_of, clear, make_way
from shards.manifest import ConceptsInfo, PartInfo
from shards.parts import write_array
from shards.writer import changing


def compact(folder: Path, tell: Callable[[str], object] = lambda line: None) -> tuple[int, int]:
    """Rewrite an index without its removed captions, small parts gathered; rows and concepts are numbered anew.

    The new folder is written beside the old one and takes its name when it is complete; killed at any moment, it is
    finished or begun again by the next writer. What else lies in the folder stays there, and an export is made anew.
    Sources that have no caption left are forgotten, so that they can be read again.

    Args:
        folder: an index.
        tell: is told what a user should know, one line each.

    Returns:
        Rows before and after.

    Raises:
        NoIndex: there is no index, or nothing would be left of it.
        ShardDamaged: a file is not what the manifest says.
    """
    with changing(folder) as (_, index):
        if len(index.removed) == index.manifest.rows:
            raise NoIndex(f"{folder}: every caption was removed; delete the folder instead")
        if not len(index.removed) and not is_scattered(index):
            if is_export_given_up(folder):  # by a compaction that was killed
                export_cased(index)
            return index.manifest.rows, index.manifest.rows
        for note in lost_settings(index):
            tell(note)
        rows = _replace(folder.resolve(), index)
    return index.manifest.rows, rows


def _replace(place: Path, index: Index) -> int:
    """Put an index without its removed captions in the place of one that is locked; returns how many are left."""
    aside = aside_of(place)
    try:
        with IndexWriter(aside) as writer:  # its lock goes where the folder goes, and keeps others out to the end
            writer.begin(index.manifest.encoder, index.manifest.settings)
            rows = _rewrite(index, writer).rows
            give_up_export(place)
            place.rename(before_of(place))
            make_way(place)
            aside.rename(place)
            clear(place)
            if is_export_given_up(place):
                export_cased(open_index(place))
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # where it was refused or interrupted
    return rows


def _rewrite(index: Index, writer: IndexWriter) -> Manifest:
    parts, books = rewrite_parts([index], writer)
    concepts = _write_concepts(index, writer, parts)
    vectors = StoredVectors.of_parts(writer.folder, parts, books.removed)
    path = writer.table_path("captions", "faiss")
    search_index, state = write_faiss_index(path, vectors, state_of(index).options)
    manifest = msgspec.structs.replace(
        index.manifest,
        generation=writer.generation,
        rows=sum(part.rows for part in parts),
        parts=parts,
        counts=write_array(writer.table_path("counts", "npy"), books.counts),
        concepts=concepts,
        index=search_index,
        removed=None,
        quality=None,
        sources=books.sources,
        tally=books.tally,
    )
    quality = write_quality(writer.table_path("quality", "json"), Index(writer.folder, manifest), state)
    return writer.finish(msgspec.structs.replace(manifest, quality=quality))


def _write_concepts(index: Index, writer: IndexWriter, parts: list[PartInfo]) -> ConceptsInfo:
    """The concepts that may still be said, in one part, with their vectors as they are."""
    require_intact_concepts(index)
    concepts = index.concepts
    ids = np.flatnonzero(concepts.counts)
    words = concepts.words(ids)
    texts, kinds = (pa.array(each, pa.string()) for each in (words, [concepts.kinds[i] for i in ids]))
    chosen = pa.table({"text": texts, "kind": kinds, "count": concepts.counts[ids]})
    concept_parts = [writer.write_concepts(0, 0, words, concepts.vectors(ids))] if words else []
    return write_concept_tables(writer, parts, concept_parts, texts, chosen)
