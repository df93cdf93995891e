"""Checking every byte of an index against its manifest."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards import manifest
from shards.concepts import KINDS, find_links
from shards.errors import ShardDamaged, ShardError
from shards.manifest import ConceptPartInfo, FileInfo, Manifest
from shards.parts import CAPTIONS_SCHEMA, WORDS_SCHEMA, alive, read_parquet, text_hash, word_hash
from shards.reader import Index, require_intact

UNIT_TOLERANCE = 0.002
"""How far the norm of a float16 row may be from 1: rounding moves it by less than 0.0005."""


def verify(folder: Path | str) -> Iterator[str]:
    """Find everything that is wrong with an index.

    Bytes are compared with the manifest's digests; then what the format promises of the content is checked, so
    that an index whose writer was wrong is found as well as one whose disk was.

    Yields:
        One line per defect; nothing for a sound index.

    Raises:
        NoIndex, UnsupportedVersion: there is nothing to verify.
        ShardError: a writer changed the index meanwhile, and so deleted files that were looked for.
    """
    folder = Path(folder)
    try:
        content = manifest.load(folder)
    except ShardDamaged as error:
        yield str(error)
        return
    defects = [line for file in content.files() for line in _verify_bytes(folder, file)]
    defects = defects or list(_verify_content(folder, content))
    if defects and manifest.load(folder).digest != content.digest:
        raise ShardError(f"{folder}: was changed while it was verified; verify it again")
    yield from defects


def _verify_bytes(folder: Path, file: FileInfo) -> Iterator[str]:
    try:
        require_intact(folder, file)
    except ShardDamaged as error:
        yield str(error)


def _verify_content(folder: Path, content: Manifest) -> Iterator[str]:
    try:
        index = Index(folder, content)
    except ShardDamaged as error:
        yield str(error)
        return
    defects = [line for check in _checks(index) for line in _with_damage(check)]
    yield from defects
    if not defects:
        yield from _with_damage(_verify_links(index))


def _checks(index: Index) -> Iterator[Iterator[str]]:
    """Checks that need nothing of each other."""
    yield _verify_books(index)
    yield _verify_removed(index)
    yield _verify_quality(index)
    seen: set[bytes] = set()
    for number, part in enumerate(index.manifest.parts):
        yield _verify_vectors(index.folder / part.vectors.name, index.part_vectors(number))
        yield _verify_captions(index, number, seen)
    yield _verify_concepts(index)


def _with_damage(check: Iterator[str]) -> Iterator[str]:
    """The lines of a check, and one more where it could not go on."""
    try:
        yield from check
    except ShardDamaged as error:
        yield str(error)


def _verify_books(index: Index) -> Iterator[str]:
    content = index.manifest
    if not content.tally.balanced or content.tally.kept != content.rows:
        yield f"{index.folder}: rows read are not rows kept + duplicates + refused ({content.tally})"
    met = int(index.counts().sum(dtype=np.uint64))
    expected = content.tally.kept + content.tally.duplicates
    if not index.counts().all() or met != expected:
        yield f"{index.folder / content.counts.name}: captions were met {met} times, the manifest says {expected}"


def _verify_removed(index: Index) -> Iterator[str]:
    file, removed = index.manifest.removed, index.removed
    if file is None:
        return
    ascending = (np.diff(removed) > 0).all()
    if removed.size and not (ascending and removed[0] >= 0 and removed[-1] < index.manifest.rows):
        yield f"{index.folder / file.name}: not ascending rows of this index"


def _verify_quality(index: Index) -> Iterator[str]:
    index.recall()
    yield from ()


def _verify_concepts(index: Index) -> Iterator[str]:
    info = index.manifest.concepts
    concepts = index.concepts
    for part, vectors in zip(info.parts, concepts.part_vectors(), strict=True):
        yield from _verify_vectors(index.folder / part.vectors.name, vectors)
    seen: set[str] = set()
    for part in info.parts:
        yield from _verify_words(index.folder / part.words.name, part, seen)
    table = index.folder / info.table.name
    said = int(np.count_nonzero(concepts.counts))
    if said != info.current:
        yield f"{table}: {said} concepts may be said, the manifest says {info.current}"
    kinds = set(zip(concepts.kinds, (concepts.counts > 0).tolist(), strict=True))
    for kind in sorted(kind for kind, is_said in kinds if kind not in (KINDS if is_said else ("",))):
        yield f"{table}: a concept of the kind {kind!r}"


def _verify_words(path: Path, part: ConceptPartInfo, seen: set[str]) -> Iterator[str]:
    table = read_parquet(path, part.rows, WORDS_SCHEMA)
    if not np.array_equal(table["id"].to_numpy(), np.arange(part.first_id, part.first_id + part.rows)):
        yield f"{path}: ids are not {part.first_id} to {part.first_id + part.rows - 1} in order"
    different = len(seen) + part.rows
    seen.update(table["text"].to_pylist())
    if len(seen) != different:
        yield f"{path}: a concept occurs twice"


def _verify_links(index: Index) -> Iterator[str]:
    """Links against the captions' own concepts, and counts against links; all these are known to be readable."""
    info, concepts = index.manifest.concepts, index.concepts
    vocabulary = pa.array(concepts.words(range(len(concepts))), pa.string())
    held = np.zeros(len(concepts), np.int64)
    for number, part in enumerate(index.manifest.parts):
        sizes, ids = concepts.of_rows(part.first_row, part.rows)
        lists = index.part_table(number, ["concepts"])["concepts"].combine_chunks()
        found_sizes, found = find_links(lists, vocabulary)
        if not np.array_equal(sizes, found_sizes) or not np.array_equal(ids, found):
            yield f"{index.folder / info.links.name}: not the concepts of the captions in {part.captions.name}"
            return
        held += np.bincount(ids[np.repeat(alive(part, index.removed), sizes)], minlength=len(held))
    wrong = np.flatnonzero((concepts.counts > 0) & (concepts.counts != held))
    if wrong.size:
        yield f"{index.folder / info.table.name}: {wrong.size} concepts have wrong counts, first {wrong[0]}"


def _verify_vectors(path: Path, vectors: NDArray[np.float16]) -> Iterator[str]:
    with np.errstate(invalid="ignore"):  # of what is not a number, said below
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= UNIT_TOLERANCE))  # also true for NaN
    if wrong.size:
        yield f"{path}: {wrong.size} rows are not unit vectors, first at {wrong[0]}"


def _verify_captions(index: Index, number: int, seen: set[bytes]) -> Iterator[str]:
    part = index.manifest.parts[number]
    path = index.folder / part.captions.name
    table = read_parquet(path, part.rows, CAPTIONS_SCHEMA)
    if not np.array_equal(table["row"].to_numpy(), np.arange(part.first_row, part.first_row + part.rows)):
        yield f"{path}: rows are not {part.first_row} to {part.first_row + part.rows - 1} in order"
    hashes = table["hash"].to_pylist()
    texts = table["text"].to_pylist()
    if any(text_hash(text) != known != word_hash(text) for known, text in zip(hashes, texts, strict=True)):
        yield f"{path}: a hash does not belong to its text"
    different = len(seen) + len(hashes)
    seen.update(hashes)
    if len(seen) != different:
        yield f"{path}: a caption occurs twice"
    sources = table["source"].to_numpy()
    if sources.min() < 0 or sources.max() >= len(index.manifest.sources):
        yield f"{path}: a source that the manifest does not list"
