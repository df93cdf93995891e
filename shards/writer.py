"""Writing an index: lock, plan, parts in order, manifest last."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import filelock
import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards import layout
from shards.errors import IndexBusy, NoIndex, PlanConflict, ShardDamaged, ShardError, UserError
from shards.files import allow_open_files, file_info, write_bytes
from shards.leftovers import before_of, bring_back, clear, is_away
from shards.manifest import ConceptPartInfo, EncoderIdentity, Manifest, PartInfo, load, to_bytes
from shards.parts import (
    CAPTIONS_SCHEMA,
    WORDS_SCHEMA,
    ConceptPair,
    PartRows,
    captions_table,
    map_array,
    read_parquet,
    words_table,
    write_array,
    write_table,
)
from shards.reader import Index, open_index


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an unfinished build is building; a resume must be building the same."""

    generation: int
    name: str
    encoder: EncoderIdentity
    settings: str

    def key(self) -> tuple[object, ...]:
        """The fields that, with its captions, decide the bytes of a part."""
        return self.name, self.encoder.key(), self.encoder.concept_prompts, self.settings


class IndexWriter:
    """Writes the files of one index folder, of which it is the only writer while it is open.

    A context manager. What is left unfinished when it closes is taken up by the next writer with the same plan.

    Attributes:
        folder: the index folder.
        earlier: the index that is there already and is added to, if any.
        generation: the number that this writer's tables carry.
        name: of the index: the one it was built under, whatever its folder is called now.
    """

    def __init__(self, folder: Path) -> None:
        """Lock the folder, making it if need be.

        Raises:
            IndexBusy: another program is writing there.
            ShardError: there can be no such folder, it holds an index that cannot be read, or files that are named
                like ours and belong to no index, or the index is away while it is compacted.
        """
        self.folder = folder
        self._begun = False
        allow_open_files()  # the parts of a first build are mapped, too, once all are written
        bring_back(folder)
        try:
            self._made = [path for path in (folder / layout.LOCK, folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ShardError(f"{folder}: no folder can be made, a file is in the way; choose another --out") from error
        except OSError as error:
            raise ShardError(f"{folder}: no folder can be made ({error.strerror}); choose another --out") from error
        self._lock = filelock.FileLock(folder / layout.LOCK)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise IndexBusy(
                f"{folder}: another program is writing here; wait for it, or choose another --out"
            ) from None
        try:
            if is_away(folder):  # it was there a moment ago, or something else has its name
                raise ShardError(
                    f"{folder}: being compacted, or that was killed, and the index is at {before_of(folder)}; run the "
                    f"same command again, and if this comes again, move what is in {folder} away"
                )
            self.earlier: Index | None = open_index(folder) if (folder / layout.MANIFEST).exists() else None
            self.generation = self.earlier.manifest.generation + 1 if self.earlier else 1
            self.name = self.earlier.manifest.name if self.earlier else folder.name
            self._require_no_strangers()
            self._tidy()
            if self.earlier is not None:
                clear(folder)
        except BaseException:
            self._leave()
            raise

    def __enter__(self) -> "IndexWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun and isinstance(error, UserError) and not self._has_parts():
            self.give_up()  # nothing is lost, and nothing is in the way of a command that is mended
        self._leave()

    def _leave(self) -> None:
        """Let others write; where nothing came of it, take away the lock and the folders that were made for it."""
        if not any((self.folder / name).exists() for name in (layout.MANIFEST, layout.PLAN)):
            for path in self._made:
                with suppress(OSError):  # something is in the folder
                    path.unlink() if path.name == layout.LOCK else path.rmdir()
        self._lock.release()

    def _has_parts(self) -> bool:
        """Whether there is a part that belongs to the plan."""
        return (self.folder / layout.captions_name(len(self.earlier.manifest.parts) if self.earlier else 0)).exists()

    def begin(self, encoder: EncoderIdentity, settings: str) -> None:
        """Record what is being built, or resume it.

        Args:
            encoder: whose vectors will be written.
            settings: a digest of whatever else decides the bytes of the parts.

        Raises:
            PlanConflict: an unfinished build with another encoder or other settings is in the folder.
        """
        plan = Plan(generation=self.generation, name=self.name, encoder=encoder, settings=settings)
        found = self._found_plan()
        if found is None:
            self._begun = True
            write_bytes(self.folder / layout.PLAN, msgspec.json.format(msgspec.json.encode(plan)))
        elif found.key() != plan.key():
            raise PlanConflict(
                f"{self.folder}: an unfinished build with {found.encoder.describe()} is here, this one has "
                f"{encoder.describe()} or other settings; finish it with the command that began it, or "
                f"{self._giving_up()}"
            )

    def give_up(self) -> None:
        """Forget what was begun: nothing came of it. The plan goes last, since it says whose the other files are."""
        self._delete_all_but(self._named() | {layout.PLAN})
        (self.folder / layout.PLAN).unlink(missing_ok=True)

    def require_no_plan(self) -> None:
        """Refuse to change an index that a build is not finished with.

        Raises:
            PlanConflict: an unfinished build is in the folder.
        """
        if self._found_plan() is not None:
            raise PlanConflict(
                f"{self.folder}: an unfinished build is here; run its build_index command again first, or "
                f"{self._giving_up()}"
            )

    def _found_plan(self) -> Plan | None:
        path = self.folder / layout.PLAN
        try:
            return msgspec.json.decode(path.read_bytes(), type=Plan)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise PlanConflict(f"{path}: unreadable ({error}); {self._giving_up()}") from error

    def _giving_up(self) -> str:
        """What a user has to do to begin anew: parts without a manifest and without a plan would be refused."""
        parts = "" if self.earlier else " and the parts beside it"
        return f"delete {self.folder / layout.PLAN}{parts} to give it up"

    def _require_no_strangers(self) -> None:
        """Refuse files that are named like ours where neither a manifest nor the plan of a first build owns them.

        They are a user's own, or what is left of an index whose manifest was lost.

        Raises:
            ShardError: there are some.
        """
        plan = self._found_plan()
        if self.earlier is not None or (plan is not None and plan.generation == self.generation):
            return
        begun = layout.PLAN + layout.PARTIAL  # all that a build leaves that was killed before it had a plan
        names = sorted(path.name for path in self.folder.iterdir() if layout.is_ours(path.name) and path.name != begun)
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ShardError(
                f"{self.folder}: holds {names[0]}{others}, named like files of an index, but no {layout.MANIFEST} that "
                f"names them; restore it, move these files away, or choose another --name or --out"
            )

    def _tidy(self) -> None:
        """Delete what belongs to nobody: files without a plan and without a place in the manifest.

        A plan whose generation is finished was left by a writer that was killed between its last two steps.
        """
        plan = self._found_plan()
        if plan is None or plan.generation < self.generation:
            if plan is not None:
                (self.folder / layout.PLAN).unlink()
            self._delete_all_but(self._named())

    def _named(self) -> set[str]:
        """The manifest that is there, and every file that it names."""
        return {file.name for file in self.earlier.manifest.files()} | {layout.MANIFEST} if self.earlier else set()

    def finished_part(self, part: int, first_row: int, rows: PartRows) -> PartInfo | None:
        """The part as an earlier run left it, if it is there and holds exactly these captions."""
        captions = self.folder / layout.captions_name(part)
        vectors = self.folder / layout.vectors_name(part)
        count = len(rows.texts)
        try:
            found = read_parquet(captions, count, CAPTIONS_SCHEMA)
            map_array(vectors, np.dtype("<f2"), (count, None))
        except ShardDamaged:  # or not there: the part is made, or made again
            return None
        if not found.drop("concepts").equals(rows.table(first_row)):
            return None
        return PartInfo(first_row=first_row, rows=count, captions=file_info(captions), vectors=file_info(vectors))

    def write_part(
        self,
        part: int,
        first_row: int,
        rows: PartRows,
        concepts: Sequence[Sequence[ConceptPair]],
        vectors: NDArray[np.float32],
    ) -> PartInfo:
        """Write one part.

        Args:
            part: number of the part, from 0.
            first_row: global row number of its first caption.
            rows: n captions.
            concepts: the concepts of each, n times.
            vectors: float32 [n, d], unit rows, finite.
        """
        return self.write_rows(part, captions_table(first_row, rows, concepts), _halved(vectors))

    def write_rows(self, part: int, table: pa.Table, vectors: NDArray[np.float16]) -> PartInfo:
        """Write one part from its columns: vectors first, captions last, since the captions file makes it count.

        Args:
            part: number of the part, from 0.
            table: n captions as `CAPTIONS_SCHEMA` has them, rows ascending by one.
            vectors: float16 [n, d], unit rows.
        """
        captions = self.folder / layout.captions_name(part)
        captions.unlink(missing_ok=True)  # never old captions beside new vectors
        return PartInfo(
            first_row=table["row"][0].as_py(),
            rows=len(table),
            vectors=write_array(self.folder / layout.vectors_name(part), vectors),
            captions=write_table(captions, table),
        )

    def finished_concepts(self, part: int, first_id: int, words: Sequence[str]) -> ConceptPartInfo | None:
        """A part of the concepts as an earlier run left it, if it is there and holds exactly these words."""
        texts = self.folder / layout.concept_words_name(part)
        vectors = self.folder / layout.concept_vectors_name(part)
        try:
            found = read_parquet(texts, len(words), WORDS_SCHEMA)
            map_array(vectors, np.dtype("<f2"), (len(words), None))
        except ShardDamaged:
            return None
        if not found.equals(words_table(first_id, words)):
            return None
        return ConceptPartInfo(first_id=first_id, rows=len(words), words=file_info(texts), vectors=file_info(vectors))

    def write_concepts(
        self, part: int, first_id: int, words: Sequence[str], vectors: NDArray[np.float32]
    ) -> ConceptPartInfo:
        """Write one part of the concepts: vectors first, words last.

        Args:
            part: number of the part, from 0.
            first_id: id of its first concept.
            words: n concepts.
            vectors: float32 [n, d], unit rows, finite.
        """
        texts = self.folder / layout.concept_words_name(part)
        texts.unlink(missing_ok=True)
        return ConceptPartInfo(
            first_id=first_id,
            rows=len(words),
            vectors=write_array(self.folder / layout.concept_vectors_name(part), _halved(vectors)),
            words=write_table(texts, words_table(first_id, words)),
        )

    def table_path(self, what: str, suffix: str) -> Path:
        """Where this generation's table of a kind belongs."""
        return self.folder / layout.generation_name(what, self.generation, suffix)

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, then remove the plan and every file of ours that it does not name."""
        sealed = manifest.sealed()
        write_bytes(self.folder / layout.MANIFEST, to_bytes(sealed))
        (self.folder / layout.PLAN).unlink(missing_ok=True)
        self._delete_all_but({file.name for file in sealed.files()} | {layout.MANIFEST})
        return sealed

    def _delete_all_but(self, kept: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.name not in kept and layout.is_ours(path.name):
                path.unlink()


@contextmanager
def changing(folder: Path) -> Iterator[tuple[IndexWriter, Index]]:
    """An index that is there, and its writer.

    Raises:
        NoIndex: there is none.
        PlanConflict: a build is not finished with it.
    """
    bring_back(folder)
    load(folder)  # a writer would make the folder
    with IndexWriter(folder) as writer:
        if writer.earlier is None:
            raise NoIndex(f"{folder}: no index here any more")
        writer.require_no_plan()
        yield writer, writer.earlier


def _halved(vectors: NDArray[np.float32]) -> NDArray[np.float16]:
    """As stored.

    Raises:
        ValueError: a value is not finite.
    """
    if not np.isfinite(vectors).all():
        raise ValueError("the encoder returned vectors that are not finite")
    return vectors.astype("<f2")
