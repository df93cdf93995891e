"""Checking every byte of an index against its manifest."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards import manifest
from shards.errors import ShardDamaged
from shards.files import file_info
from shards.manifest import FileInfo, Manifest, PartInfo
from shards.reader import Index, require_size
from shards.writer import SCHEMA, text_hash

UNIT_TOLERANCE = 0.002
"""How far the norm of a float16 row may be from 1: rounding moves it by less than 0.0005."""


def verify(folder: Path) -> Iterator[str]:
    """Find everything that is wrong with an index.

    Bytes are compared with the manifest's digests; then what the format promises of the content is checked, so
    that an index whose writer was wrong is found as well as one whose disk was.

    Yields:
        One line per defect; nothing for a sound index.

    Raises:
        NoIndex, UnsupportedVersion: there is nothing to verify.
    """
    try:
        content = manifest.load(folder)
    except ShardDamaged as error:
        yield str(error)
        return
    defects = [line for file in content.files() for line in _verify_bytes(folder, file)]
    yield from defects
    if not defects:
        yield from _verify_content(folder, content)


def _verify_bytes(folder: Path, file: FileInfo) -> Iterator[str]:
    try:
        path = require_size(folder, file)
    except ShardDamaged as error:
        yield str(error)
        return
    found = file_info(path).sha256
    if found != file.sha256:
        yield f"{path}: SHA-256 {found[:12]}…, the manifest says {file.sha256[:12]}…; restore it or rebuild"


def _verify_content(folder: Path, content: Manifest) -> Iterator[str]:
    try:
        index = Index(folder, content)
    except ShardDamaged as error:
        yield str(error)
        return
    if not content.tally.balanced or content.tally.kept != content.rows:
        yield f"{folder}: rows read are not rows kept + duplicates + refused ({content.tally})"
    yield from _verify_counts(index)
    seen: set[bytes] = set()
    for number, part in enumerate(content.parts):
        yield from _verify_vectors(folder, part, index.part_vectors(number))
        yield from _verify_captions(folder, part, seen, len(content.sources))


def _verify_counts(index: Index) -> Iterator[str]:
    path = index.folder / index.manifest.counts.name
    try:
        counts = index.counts()
    except ShardDamaged as error:
        yield str(error)
        return
    met = index.manifest.tally.kept + index.manifest.tally.duplicates
    if not counts.all() or int(counts.sum(dtype=np.uint64)) != met:
        yield f"{path}: captions were met {int(counts.sum(dtype=np.uint64))} times, the manifest says {met}"


def _verify_vectors(folder: Path, part: PartInfo, vectors: NDArray[np.float16]) -> Iterator[str]:
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= UNIT_TOLERANCE))  # also true for NaN
    if wrong.size:
        yield f"{folder / part.vectors.name}: {wrong.size} rows are not unit vectors, first at {wrong[0]}"


def _verify_captions(folder: Path, part: PartInfo, seen: set[bytes], sources: int) -> Iterator[str]:
    path = folder / part.captions.name
    try:
        table = pq.read_table(path)
    except Exception as error:  # what is no parquet makes pyarrow raise errors of many kinds
        yield f"{path}: not readable as parquet ({error})"
        return
    if not table.schema.equals(SCHEMA):
        yield f"{path}: columns {table.schema.names}, expected {SCHEMA.names}"
        return
    if table["row"].to_pylist() != list(range(part.first_row, part.first_row + part.rows)):
        yield f"{path}: rows are not {part.first_row} to {part.first_row + part.rows - 1} in order"
    hashes = table["hash"].to_pylist()
    if hashes != [text_hash(text) for text in table["text"].to_pylist()]:
        yield f"{path}: a hash does not belong to its text"
    different = len(seen) + len(hashes)
    seen.update(hashes)
    if len(seen) != different:
        yield f"{path}: a caption occurs twice"
    if not all(0 <= source < sources for source in set(table["source"].to_pylist())):
        yield f"{path}: a source that the manifest does not list"
