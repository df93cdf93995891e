"""The whole build on one page: read, clean, dedup, find concepts, embed, index, report."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from build_index.books import Books, Refusals
from build_index.concept_stage import PromptedWords, write_concepts
from build_index.config import CONCEPT_PROMPTS, BuildConfig
from build_index.corpora import corpus_name, find_sources
from build_index.encoding import Embedder, TextEncoder
from build_index.errors import CorpusError
from build_index.export import export_cased
from build_index.faiss_index import write_faiss_index
from build_index.intake import Intake, Reading
from build_index.quality import write_quality
from build_index.search_index.options import SearchOptions
from build_index.search_index.state import lost_settings, state_of
from build_index.search_index.stored import StoredVectors
from build_index.sources import choose_readings, damaged_before, describe, fingerprint, rows_to_read
from build_index.tagger_pool import Pending, Tagger
from encoders.presets import CUSTOM, PRESETS, PresetName
from shards import EncoderIdentity, EncoderMismatch, Index, IndexWriter, Manifest, layout
from shards.leftovers import bring_back
from shards.manifest import FORMAT, PROGRAM, VERSION, ConceptsInfo, FileInfo, PartInfo
from shards.parts import PartRows, write_array
from shards.progress import progress
from shards.reader import require_intact


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        folder: the index.
        manifest: what is in it now.
        embedded: captions that were given vectors in this run.
        concepts_embedded: concepts that were given vectors in this run.
        refusals: rows and files that were refused in this run, and files that are as damaged as before.
        notes: what a user should know about the sources, one line each.
        merged: how many indexes it was made of; 0 where it was built from captions.
        back: captions that had been removed and are there again, since they were met in this run.
    """

    folder: Path
    manifest: Manifest
    embedded: int = 0
    concepts_embedded: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    notes: tuple[str, ...] = ()
    merged: int = 0
    back: int = 0


def build(config: BuildConfig, load_encoder: Callable[[BuildConfig], TextEncoder] | None = None) -> BuildReport:
    """Captions -> concepts -> unit vectors -> shards -> FAISS -> manifest.

    Run again, it embeds only what the index does not hold yet, and never changes a finished part.

    Args:
        config: what to build.
        load_encoder: makes the text encoder; called only if there is something new.

    Raises:
        CorpusError: no captions are to be had as asked.
        EncoderError: the text encoder cannot be loaded.
        ShardError: the folder is busy, or holds something that this build cannot continue.
    """
    folder = config.out / corpus_name(config)
    if config.append and not config.corpus:
        _require_index(folder)
    sources = fingerprint(find_sources(config))  # what the user asked for
    with IndexWriter(folder) as writer:
        earlier = writer.earlier
        _require_same_clip(config, earlier)
        known = earlier.manifest.sources if earlier else []
        allowed = _rows_allowed(config, earlier)
        readings, notes = choose_readings(sources, known, allowed)  # what of it is new
        broken = damaged_before(sources, known)
        if earlier is not None and not readings:
            if config.export:
                export_cased(earlier)
            return BuildReport(writer.folder, earlier.manifest, refusals=Refusals(broken=broken), notes=notes)

        config = _with_prompts(config, earlier)
        encoder = load_encoder(config) if load_encoder else load_encoder_of(config, earlier)
        if earlier is not None:
            earlier.manifest.encoder.require(encoder.identity, str(writer.folder))
            for file in (earlier.manifest.counts, earlier.manifest.removed):  # which are written anew
                if file is not None:
                    require_intact(earlier.folder, file)
        else:
            notes += _notes_on_weights(encoder.identity)
        identity = msgspec.structs.replace(encoder.identity, concept_prompts=list(config.concept_prompts))
        writer.begin(identity, config.settings())
        intake = Intake(earlier, allowed)
        intake.refusals.broken += broken
        parts, embedded = write_parts(writer, encoder, intake, readings, config)
        if not parts:
            writer.give_up()
            raise CorpusError(f"{writer.folder}: not one caption could be used ({intake.refusals.summary()})")
        words = PromptedWords(encoder, config.concept_prompts)
        sources_now = describe(sources, known, readings, intake)
        books = Books(intake.counts.array(), intake.tally(), sources_now, intake.removed())
        concepts, concepts_embedded = write_concepts(writer, words, parts, config.least_captions, books.removed)
        del encoder, words  # their memory serves the search index
        notes += lost_settings(earlier) if earlier else ()
        manifest = finish(writer, kind_of(identity, config, earlier), parts, concepts, books, config)
        back = len(earlier.removed) - len(books.removed) if earlier else 0
        notes += _notes_on_changes(manifest, writer.folder, config, back)
    return BuildReport(writer.folder, manifest, embedded, concepts_embedded, intake.refusals, notes, back=back)


def _require_same_clip(config: BuildConfig, earlier: Index | None) -> None:
    """Refuse a CLIP of another architecture than the index's before it is loaded, and where nothing is to be embedded.

    Weights of one architecture, and CLIPs from a hub or a folder, are compared once they are loaded.

    Raises:
        EncoderMismatch: the index holds vectors of another CLIP.
    """
    clip = config.clip or (PRESETS[config.preset].clip if config.preset else "")
    architecture = clip.partition("/")[0]
    if earlier is None or not clip or ":" in architecture:
        return
    if architecture != earlier.manifest.encoder.architecture:
        raise EncoderMismatch(
            f"{earlier.folder} holds vectors of {earlier.manifest.encoder.describe()}, but {clip} was asked for; "
            f"leave out --preset and --clip, or build another index under another --name"
        )


def _require_index(folder: Path) -> None:
    """Refuse to add to what is not there; a writer would make the folder.

    Raises:
        CorpusError: there is no finished index.
    """
    bring_back(folder)
    if not (folder / layout.MANIFEST).exists():
        raise CorpusError(f"--append: there is no index at {folder} to add to; give its --name and --out")


def write_parts(
    writer: IndexWriter, encoder: TextEncoder, intake: Intake, readings: Sequence[Reading], config: BuildConfig
) -> tuple[list[PartInfo], int]:
    """Embed what is new, part by part; parts that a killed build finished are taken as they are.

    Returns:
        Every part of the index, and how many captions were embedded in this run.
    """
    parts = list(writer.earlier.manifest.parts) if writer.earlier else []
    listed = {reading.number for reading in readings if reading.source.listed}
    embedded = shown = 0
    total = rows_to_read(readings, _rows_allowed(config, writer.earlier))
    with (
        Tagger(config.language, config.workers) as tagger,
        progress("captions", "rows", total) as bar,
        Embedder(encoder, bar.update) as embedder,
    ):
        waiting: deque[Begun] = deque()
        number, first_row = len(parts), parts[-1].first_row + parts[-1].rows if parts else 0
        for rows in intake.parts(readings, config.rows_per_part):
            part = writer.finished_part(number, first_row, rows)
            begun = Begun(number, first_row, rows, part)
            if part is None:
                begun.concepts = tagger.begin(rows.texts, [source in listed for source in rows.sources.tolist()])
                begun.vectors = embedder.begin(rows.texts)
                embedded += len(rows.texts)
            known = len(rows.texts) if part is None else 0  # these are shown as they are embedded
            bar.update(intake.rows_read.total() - shown - known)
            shown = intake.rows_read.total()
            waiting.append(begun)
            number, first_row = number + 1, first_row + len(rows.texts)
            while len(waiting) > embedder.ahead:
                parts.append(waiting.popleft().written(writer))
        parts += [begun.written(writer) for begun in waiting]
        bar.update(intake.rows_read.total() - shown)
    return parts, embedded


@dataclass
class Begun:
    """A part on its way: finished by a build that was killed, or being tagged and embedded meanwhile."""

    number: int
    first_row: int
    rows: PartRows
    part: PartInfo | None
    concepts: Pending | None = None
    vectors: Future[NDArray[np.float32]] | None = None

    def written(self, writer: IndexWriter) -> PartInfo:
        """The part on disk, once all that belongs to it is there."""
        if self.part is not None:
            return self.part
        assert self.concepts is not None
        assert self.vectors is not None
        if self.concepts.is_elsewhere:
            self.vectors.result()  # an encoder that fails is met before the workers are
        concepts = self.concepts.result()  # found here, while the encoder works
        return writer.write_part(self.number, self.first_row, self.rows, concepts, self.vectors.result())


@dataclass(frozen=True)
class Kind:
    """What all captions of an index share: whose vectors they have, the preset's name, how the search is made."""

    encoder: EncoderIdentity
    preset: str
    search: SearchOptions


def kind_of(identity: EncoderIdentity, config: BuildConfig, like: Index | None) -> Kind:
    """As the config says; what that leaves open is as another index has it, or else as usual."""
    options = config.search_options(state_of(like).options if like else SearchOptions())
    return Kind(identity, _preset_name(config, like.manifest if like else None), options)


def finish(
    writer: IndexWriter,
    kind: Kind,
    parts: list[PartInfo],
    concepts: ConceptsInfo,
    books: Books,
    config: BuildConfig,
) -> Manifest:
    """Write the search index, measure it, and write the manifest."""
    assert books.tally.balanced, f"rows were lost: {books.tally}"
    vectors = StoredVectors.of_parts(writer.folder, parts, books.removed)
    index, state = write_faiss_index(writer.table_path("captions", "faiss"), vectors, kind.search, writer.earlier)
    del vectors  # and the pages of their files, which are mapped anew to be measured
    manifest = Manifest(
        format=FORMAT,
        version=VERSION,
        name=writer.name,
        generation=writer.generation,
        rows=sum(part.rows for part in parts),
        writer=PROGRAM,
        preset=kind.preset,
        encoder=kind.encoder,
        parts=parts,
        counts=write_array(writer.table_path("counts", "npy"), books.counts),
        concepts=concepts,
        index=index,
        removed=_removed_file(writer, books.removed),
        quality=None,
        sources=books.sources,
        tally=books.tally,
        settings=config.settings(),
        digest="",
    )
    quality = write_quality(writer.table_path("quality", "json"), Index(writer.folder, manifest), state)
    finished = writer.finish(msgspec.structs.replace(manifest, quality=quality))
    if config.export:
        export_cased(Index(writer.folder, finished))
    return finished


def _removed_file(writer: IndexWriter, removed: NDArray[np.int64]) -> FileInfo | None:
    """The list of removed rows: the earlier one while it holds the same, none where nothing is removed."""
    if not removed.size:
        return None
    if writer.earlier is not None and len(removed) == len(writer.earlier.removed):
        return writer.earlier.manifest.removed
    return write_array(writer.table_path("removed", "npy"), removed.astype("<i8"))


def _notes_on_weights(identity: EncoderIdentity) -> tuple[str, ...]:
    if identity.checkpoint is None or identity.pretrained is not None:
        return ()
    from encoders.identity import source_of  # torch is there already: a network was loaded
    from encoders.weights import other_weights

    others = other_weights(source_of(identity))
    if not others:
        return ()
    clip, them = identity.architecture, ", ".join(others)
    return (
        f"{identity.checkpoint} has no name, so it was given the activation and the pixels that {clip} has by itself; "
        f"{them} want others: if it is one of them, build again with --clip {clip}/{others[0]} or the like",
    )


def _notes_on_changes(content: Manifest, folder: Path, config: BuildConfig, back: int) -> tuple[str, ...]:
    notes = []
    if not content.concepts.current:
        notes.append(
            "no word of these captions can be a label, so every region will be called unknown; --language says which "
            "language they are in, --least-captions how many captions must hold a word, and --words adds a list"
        )
    if back:
        notes.append(
            f"{back:,} removed captions are back, since a source holds them; shards remove takes them out again"
        )
    if not config.export and (folder / layout.CASED).is_dir():
        notes.append(f"{folder / layout.CASED} is older than the index now; --export cased makes it anew")
    return tuple(notes)


def _rows_allowed(config: BuildConfig, earlier: Index | None) -> int | None:
    """Rows that may still be read under `--limit`, which counts from the index's first build."""
    if not config.limit:
        return None
    return max(config.limit - (earlier.manifest.tally.read if earlier else 0), 0)


def _with_prompts(config: BuildConfig, earlier: Index | None) -> BuildConfig:
    """With the templates that were asked for, else the index's own, else the usual ones."""
    own = tuple(earlier.manifest.encoder.concept_prompts) if earlier else ()
    return replace(config, concept_prompts=config.concept_prompts or own or CONCEPT_PROMPTS)


def _preset_name(config: BuildConfig, earlier: Manifest | None) -> str:
    if config.clip:
        return CUSTOM
    if config.preset is None and earlier is not None:
        return earlier.preset
    return (config.preset or PresetName.DEFAULT).value


def load_encoder_of(config: BuildConfig, earlier: Index | None) -> TextEncoder:
    """The encoder that was asked for, else the index's own, else the default."""
    from encoders.clip_text import clip_text_of, load_clip_text  # torch loads here, and only if something is to embed

    if earlier is not None and config.preset is None and not config.clip:
        return clip_text_of(earlier.manifest.encoder, config.clip_checkpoint, config.device, config.precision)
    clip = config.clip or PRESETS[config.preset or PresetName.DEFAULT].clip
    return load_clip_text(clip, config.clip_checkpoint, config.device, config.precision)
