"""The whole build on one page: read, clean, dedup, embed, index, report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from build_index.config import BuildConfig
from build_index.corpora import corpus_name, find_sources
from build_index.errors import CorpusError
from build_index.faiss_index import write_faiss_index
from build_index.intake import Intake, Reading, Refusals
from build_index.sources import choose_readings, describe, fingerprint, rows_to_read
from encoders.presets import PRESETS
from shards import EncoderIdentity, Index, IndexWriter, Manifest, layout, open_index
from shards.manifest import FORMAT, VERSION, PartInfo, SourceInfo
from shards.progress import progress
from shards.writer import Plan, write_array

WRITER = "guidance-free-labeler 0.1.0"

CAPTIONS_PER_CALL = 2_048
"""Captions that are sorted by length together: enough for batches of nearly equal length."""


class TextEncoder(Protocol):
    """Captions to vectors."""

    identity: EncoderIdentity

    def encode(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Embed n captions: float32 [n, d], unit rows."""
        ...


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        folder: the index.
        manifest: what is in it now.
        embedded: captions that were given vectors in this run.
        refusals: rows and files that were refused in this run.
        notes: what a user should know about the sources, one line each.
    """

    folder: Path
    manifest: Manifest
    embedded: int
    refusals: Refusals
    notes: tuple[str, ...] = ()


def build(config: BuildConfig, load_encoder: Callable[[BuildConfig], TextEncoder] | None = None) -> BuildReport:
    """Captions -> unit vectors -> shards -> FAISS -> manifest.

    Run again, it embeds only captions that the index does not hold yet, and never changes a finished part.

    Args:
        config: what to build.
        load_encoder: makes the text encoder; called only if there is something new.

    Raises:
        CorpusError: no captions are to be had as asked.
        EncoderError: the text encoder cannot be loaded.
        ShardError: the folder holds something that this build cannot continue.
    """
    folder = config.out / corpus_name(config)
    earlier = open_index(folder) if (folder / layout.MANIFEST).exists() else None
    known = earlier.manifest.sources if earlier else []
    allowed = _rows_allowed(config, earlier)
    sources = fingerprint(find_sources(config))  # what the user asked for
    readings, notes = choose_readings(sources, known, allowed)  # what of it is new
    if earlier is not None and not readings:
        return BuildReport(folder, earlier.manifest, 0, Refusals(), notes)

    encoder = (load_encoder or _load_clip_text)(config)
    if earlier is not None:
        earlier.manifest.encoder.require(encoder.identity, str(folder))
    writer = IndexWriter(folder, Plan(name=folder.name, encoder=encoder.identity, settings=config.settings()), earlier)
    intake = Intake(earlier, allowed)
    with progress("reading and embedding captions", "rows", rows_to_read(readings, allowed)) as bar:
        parts, embedded = write_parts(writer, encoder, intake, readings, config.rows_per_part, bar)
    if not parts:
        raise CorpusError(f"{folder}: not one caption could be used ({intake.refusals.summary()})")
    manifest = finish(writer, parts, intake, describe(sources, known, readings, intake), config)
    return BuildReport(folder, manifest, embedded, intake.refusals, notes)


def write_parts(
    writer: IndexWriter, encoder: TextEncoder, intake: Intake, readings: Sequence[Reading], size: int, bar: "Bar"
) -> tuple[list[PartInfo], int]:
    """Embed what is new, part by part; parts that a killed build finished are taken as they are.

    Returns:
        Every part of the index, and how many captions were embedded in this run.
    """
    parts = list(writer.earlier_parts)
    embedded = shown = 0
    for rows in intake.parts(readings, size):
        number, first_row = len(parts), sum(part.rows for part in parts[-1:]) + (parts[-1].first_row if parts else 0)
        part = writer.finished_part(number, first_row, rows)
        if part is None:
            part = writer.write_part(number, first_row, rows, embed(encoder, rows.texts, bar))
            embedded += part.rows
            shown += part.rows
        parts.append(part)
        bar.update(intake.rows_read.total() - shown)
        shown = intake.rows_read.total()
    bar.update(intake.rows_read.total() - shown)
    return parts, embedded


def embed(encoder: TextEncoder, texts: Sequence[str], bar: "Bar") -> NDArray[np.float32]:
    """Embed the captions of a part, showing progress: float32 [n, d], unit rows."""
    vectors = []
    for start in range(0, len(texts), CAPTIONS_PER_CALL):
        vectors.append(encoder.encode(texts[start : start + CAPTIONS_PER_CALL]))
        bar.update(len(vectors[-1]))
    return np.concatenate(vectors)


def finish(
    writer: IndexWriter, parts: list[PartInfo], intake: Intake, sources: list[SourceInfo], config: BuildConfig
) -> Manifest:
    """Count, index, and write the manifest."""
    encoder = writer.plan.encoder
    vectors = [np.load(writer.folder / part.vectors.name, mmap_mode="r") for part in parts]
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        name=writer.plan.name,
        generation=writer.generation,
        rows=sum(part.rows for part in parts),
        writer=WRITER,
        preset="custom" if config.clip else config.preset.value,
        encoder=encoder,
        parts=parts,
        counts=write_array(writer.folder / layout.counts_name(writer.generation), intake.counts.array()),
        index=write_faiss_index(writer.folder, layout.faiss_name(writer.generation), vectors, encoder.dimension),
        sources=sources,
        tally=intake.tally(),
        settings=writer.plan.settings,
        digest="",
    )
    return writer.finish(manifest)


class Bar(Protocol):
    """The part of a progress bar that the build needs."""

    def update(self, n: int) -> object:
        """Say that n more rows were read."""
        ...


def _rows_allowed(config: BuildConfig, earlier: Index | None) -> int | None:
    """Rows that may still be read under `--limit`, which counts from the index's first build."""
    if not config.limit:
        return None
    return max(config.limit - (earlier.manifest.tally.read if earlier else 0), 0)


def _load_clip_text(config: BuildConfig) -> TextEncoder:
    from encoders.clip_text import load_clip_text  # torch is loaded here, and only when something is to be embedded

    return load_clip_text(config.clip or PRESETS[config.preset].clip, config.clip_checkpoint, config.device)
