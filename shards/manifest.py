"""The manifest: what a reader must know about an index, and the digests that bind it together."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from shards import layout
from shards.errors import EncoderMismatch, NoIndex, ShardDamaged, UnsupportedVersion
from shards.leftovers import before_of

PROGRAM = "guidance-free-labeler 0.1.0"
"""Who wrote it, in every output."""

FORMAT = "shards"
VERSION = 1
METRIC = "inner_product"


class FileInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file of the index: plain name, size in bytes, SHA-256 as 64 hex digits."""

    name: str
    bytes: int
    sha256: str


class PartInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rows `first_row` to `first_row + rows`: their captions and their vectors."""

    first_row: int
    rows: int
    captions: FileInfo
    vectors: FileInfo


class ConceptPartInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Concepts `first_id` to `first_id + rows`: their words and their vectors."""

    first_id: int
    rows: int
    words: FileInfo
    vectors: FileInfo


class ConceptsInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The words that a labeler may say.

    `current` are those that enough captions hold now; the rest keep their ids. `table` says of every concept how many
    captions hold it and what sort of word it is, `starts` and `links` which concepts each caption holds.
    """

    rows: int
    current: int
    parts: list[ConceptPartInfo]
    table: FileInfo
    starts: FileInfo
    links: FileInfo

    def files(self) -> list[FileInfo]:
        """Every file of the concepts."""
        parts = [file for part in self.parts for file in (part.words, part.vectors)]
        return [*parts, self.table, self.starts, self.links]

    @property
    def next_number(self) -> int:
        """The number of the next part: names are not used twice, even if other prompts made all parts anew."""
        numbers = [int("".join(filter(str.isdecimal, part.words.name))) for part in self.parts]
        return max(numbers, default=-1) + 1


class IndexInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The search index: what is inside, its metric and its file."""

    kind: str
    metric: str
    file: FileInfo


class SourceInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One file that captions were read from.

    `fingerprint` is `sha256:…` of a local file, or what a remote filesystem gives instead, and behind it `#words` of a
    word list, `#column=…` of a column that was named; `rows` is how many rows were read, `complete` is false where a
    limit stopped the reading before the end, and `damaged` is true, or else not written, where something of it could
    not be read.
    """

    uri: str
    fingerprint: str
    rows: int
    complete: bool
    damaged: bool = False


class Tally(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where every row that was read went: read = kept + duplicates + sum(refused)."""

    read: int
    kept: int
    duplicates: int
    refused: dict[str, int]

    @property
    def balanced(self) -> bool:
        """Whether every row that was read is accounted for."""
        return self.read == self.kept + self.duplicates + sum(self.refused.values())


class EncoderIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must be equal for two text vectors, or a text and an image vector, to be comparable.

    `pretrained` (a weights name) and `checkpoint` (a local file) say where the weights came from, `precision` how they
    were run and `concept_prompts` how words were put to them; these are not compared.
    """

    architecture: str
    pretrained: str | None
    checkpoint: str | None
    text_digest: str
    tokenizer: str
    context_length: int
    prompt: str
    concept_prompts: list[str]
    dimension: int
    precision: str

    def key(self) -> tuple[object, ...]:
        """The fields that must match."""
        return (
            self.architecture,
            self.text_digest,
            self.tokenizer,
            self.context_length,
            self.prompt,
            self.dimension,
        )

    def describe(self) -> str:
        """One readable line: model, weights, dimension, start of the digest."""
        weights = self.pretrained or self.checkpoint
        model = f"{self.architecture}/{weights}" if weights else self.architecture
        return f"{model}, {self.dimension}-d, text weights {self.text_digest[:14]}…"

    def require(self, other: "EncoderIdentity", where: str) -> None:
        """Refuse another encoder.

        Args:
            other: the encoder at hand.
            where: the index whose identity this is, for the message.

        Raises:
            EncoderMismatch: any field of `key` differs.
        """
        if self.key() != other.key():
            raise EncoderMismatch(
                f"{where} holds vectors of {self.describe()}; this encoder is {other.describe()}. "
                f"Use the index's own model, or build an index with this one."
            )


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in a finished index; `FORMAT.md` explains every field."""

    format: str
    version: int
    name: str
    generation: int
    rows: int
    writer: str
    preset: str
    encoder: EncoderIdentity
    parts: list[PartInfo]
    counts: FileInfo
    concepts: ConceptsInfo
    index: IndexInfo
    removed: FileInfo | None
    quality: FileInfo | None
    sources: list[SourceInfo]
    tally: Tally
    settings: str
    digest: str

    def files(self) -> list[FileInfo]:
        """Every file of the index but the manifest itself."""
        parts = [file for part in self.parts for file in (part.captions, part.vectors)]
        optional = [file for file in (self.removed, self.quality) if file is not None]
        return [*parts, self.counts, *self.concepts.files(), self.index.file, *optional]

    def sealed(self) -> "Manifest":
        """This manifest with its `digest` filled in."""
        blank = msgspec.structs.replace(self, digest="")
        return msgspec.structs.replace(self, digest=digest(to_bytes(blank)))


def digest(data: bytes) -> str:
    """SHA-256 with its name.

    >>> digest(b"")[:15]
    'sha256:e3b0c442'
    """
    return "sha256:" + hashlib.sha256(data).hexdigest()


def to_bytes(manifest: Manifest) -> bytes:
    """The one serialisation of a manifest: UTF-8 JSON, two-space indent, fields in order, a final newline."""
    text = json.dumps(msgspec.to_builtins(manifest), indent=2, ensure_ascii=False)
    return text.encode() + b"\n"


def from_bytes(data: bytes, path: Path) -> Manifest:
    """Read a manifest and check it against itself.

    Args:
        data: the bytes of `manifest.json`.
        path: where they came from, for messages.

    Raises:
        UnsupportedVersion: another version of the format.
        ShardDamaged: not JSON, not a manifest, or not the bytes that were written.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ShardDamaged(f"{path}: not valid JSON ({error}); rebuild the index or restore this file") from error
    _check_version(content, path)
    try:
        manifest = msgspec.convert(content, Manifest)
        sound = to_bytes(manifest) == data and manifest.sealed().digest == manifest.digest
    except ValueError as error:  # fields that do not fit, or text that is not Unicode
        raise ShardDamaged(f"{path}: {error}; rebuild the index or restore this file") from error
    if not sound:
        raise ShardDamaged(f"{path}: does not match its own digest; rebuild the index or restore this file")
    _check_rows(manifest, path)
    return manifest


def load(folder: Path) -> Manifest:
    """Read the manifest of an index folder.

    Raises:
        NoIndex: there is none; the message says whether the folder is missing, unfinished or something else.
        UnsupportedVersion: another version of the format.
        ShardDamaged: the manifest cannot be trusted.
    """
    path = folder / layout.MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NoIndex(_why_no_index(folder)) from None
    except NotADirectoryError:
        raise NoIndex(f"{folder}: a file, where the folder of an index is expected") from None
    except OSError as error:
        raise NoIndex(f"{path}: cannot be read ({error.strerror})") from error
    return from_bytes(data, path)


def _why_no_index(folder: Path) -> str:
    if not folder.exists():
        if (before_of(folder) / layout.MANIFEST).exists():
            return f"{folder}: being compacted; if that was killed, finish it with: python -m shards compact {folder}"
        return f"{folder}: no such folder; build an index with: python -m build_index --corpus CAPTIONS"
    if (folder / layout.PLAN).exists():
        return f"{folder}: an unfinished build; run the same build_index command again and it resumes"
    return f"{folder}: no index here (no {layout.MANIFEST}); build one: python -m build_index --corpus CAPTIONS"


def _check_version(content: Any, path: Path) -> None:  # content: whatever JSON held
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ShardDamaged(
            f'{path}: not a manifest of this format (no "format": "{FORMAT}"); name the folder of an index'
        )
    version = content.get("version")
    if type(version) is not int:
        raise ShardDamaged(f"{path}: version {version!r} is not a whole number; rebuild the index or restore this file")
    if version != VERSION:
        raise UnsupportedVersion(
            f"{path}: format version {version}, this program reads version {VERSION}; "
            f"rebuild the index, or use the program that wrote it"
        )


def _check_rows(manifest: Manifest, path: Path) -> None:
    if not manifest.parts:
        raise ShardDamaged(f"{path}: no parts; an empty index is never written")
    concepts = manifest.concepts
    _require_contiguous([(part.first_row, part.rows) for part in manifest.parts], manifest.rows, "row", path)
    _require_contiguous([(part.first_id, part.rows) for part in concepts.parts], concepts.rows, "concept", path)
    if manifest.index.metric != METRIC:
        raise ShardDamaged(f"{path}: metric {manifest.index.metric!r}, expected {METRIC!r}")
    for file in manifest.files():
        if not layout.is_plain(file.name):
            raise ShardDamaged(f"{path}: {file.name!r} is not a plain file name")


def _require_contiguous(parts: list[tuple[int, int]], total: int, unit: str, path: Path) -> None:
    """Refuse parts, each given by its first number and its size, that are not all numbers from 0."""
    following = 0
    for first, size in parts:
        if first != following or size < 1:
            raise ShardDamaged(f"{path}: part at {unit} {first} should start at {unit} {following}")
        following += size
    if following != total:
        raise ShardDamaged(f"{path}: parts hold {following} {unit}s, the manifest says {total}")
