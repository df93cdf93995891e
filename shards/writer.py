"""Writing an index: plan first, parts in order, manifest last."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shards import layout
from shards.errors import PlanConflict
from shards.files import file_info, write_bytes, write_whole
from shards.manifest import (
    EncoderIdentity,
    FileInfo,
    Manifest,
    PartInfo,
    to_bytes,
)
from shards.reader import Index, load_array

ROWS_PER_GROUP = 4_096
"""Rows that a reader must decode to get at one caption."""

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("hash", pa.binary(16), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
    ]
)


def text_hash(text: str) -> bytes:
    """The 16 bytes that stand for a normalised caption.

    >>> text_hash("a dog").hex()[:8]
    '2d542c24'
    """
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an unfinished build is building; a resume must be building the same."""

    name: str
    encoder: EncoderIdentity
    settings: str

    def key(self) -> tuple[object, ...]:
        """The fields that, with its captions, decide the bytes of a part."""
        return self.name, self.encoder.key(), self.settings


@dataclass(frozen=True)
class PartRows:
    """The captions of one part, before they have vectors.

    Attributes:
        texts: n normalised captions.
        hashes: n times the 16 bytes of `text_hash`.
        sources: int32 [n], counts into the plan's sources.
    """

    texts: Sequence[str]
    hashes: Sequence[bytes]
    sources: NDArray[np.int32]


class IndexWriter:
    """Writes the files of one index folder; whoever holds one is the folder's only writer."""

    def __init__(self, folder: Path, plan: Plan, earlier: Index | None = None) -> None:
        """Record the plan, or resume the one that is there.

        Parts without a plan and without a place in the manifest belong to nobody, and are deleted.

        Args:
            folder: the index folder; made if need be.
            plan: what is being built.
            earlier: the index that is there already and is added to.

        Raises:
            PlanConflict: an unfinished build with another encoder or other settings is in the folder.
        """
        self.folder = folder
        self.plan = plan
        self.earlier_parts = list(earlier.manifest.parts) if earlier else []
        self.generation = earlier.manifest.generation + 1 if earlier else 1
        self._kept = {file.name for file in earlier.manifest.files()} | {layout.MANIFEST} if earlier else set()
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / layout.PLAN
        if path.exists():
            self._require_same_plan(path)
        else:
            self._delete_all_but(self._kept)
            write_bytes(path, msgspec.json.format(msgspec.json.encode(plan)))

    def _require_same_plan(self, path: Path) -> None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Plan)
        except msgspec.MsgspecError as error:
            raise PlanConflict(f"{path}: unreadable ({error}); delete it to give up the unfinished build") from error
        if found.key() != self.plan.key():
            raise PlanConflict(
                f"{self.folder}: an unfinished build with {found.encoder.describe()} is here, this one has "
                f"{self.plan.encoder.describe()} or other settings; finish it with the command that began it, or "
                f"delete {path} to give it up"
            )

    def _delete_all_but(self, kept: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.name not in kept and layout.is_ours(path.name):
                path.unlink()

    def finished_part(self, part: int, first_row: int, rows: PartRows) -> PartInfo | None:
        """The part as an earlier run left it, if it is there and holds exactly these captions."""
        captions = self.folder / layout.captions_name(part)
        vectors = self.folder / layout.vectors_name(part)
        if not (captions.exists() and vectors.exists()):
            return None
        expected = _captions_table(first_row, rows)
        try:
            load_array(vectors, np.dtype("<f2"), (len(expected), self.plan.encoder.dimension))
            same = pq.read_table(captions).equals(expected)
        except Exception:  # damaged, of whatever kind: the part is made again
            return None
        if not same:
            return None
        return PartInfo(
            first_row=first_row, rows=len(expected), captions=file_info(captions), vectors=file_info(vectors)
        )

    def write_part(self, part: int, first_row: int, rows: PartRows, vectors: NDArray[np.float32]) -> PartInfo:
        """Write one part: vectors first, captions last, since the captions file makes it count.

        Args:
            part: number of the part, from 0.
            first_row: global row number of its first caption.
            rows: the captions.
            vectors: float32 [n, d], unit rows, finite.
        """
        if not np.isfinite(vectors).all():
            raise ValueError(f"part {part}: the encoder returned vectors that are not finite")
        (self.folder / layout.captions_name(part)).unlink(missing_ok=True)  # never old captions beside new vectors
        return PartInfo(
            first_row=first_row,
            rows=len(rows.texts),
            vectors=write_array(self.folder / layout.vectors_name(part), vectors.astype("<f2")),
            captions=write_whole(
                self.folder / layout.captions_name(part),
                lambda partial: _write_captions(partial, first_row, rows),
            ),
        )

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, then remove the plan and every generation that it does not name."""
        sealed = manifest.sealed()
        write_bytes(self.folder / layout.MANIFEST, to_bytes(sealed))
        (self.folder / layout.PLAN).unlink(missing_ok=True)
        self._delete_all_but({file.name for file in sealed.files()} | {layout.MANIFEST})
        return sealed


def write_array(path: Path, array: NDArray[np.generic]) -> FileInfo:
    """Write a `.npy` file whole."""

    def write(partial: Path) -> None:
        with partial.open("wb") as stream:
            np.lib.format.write_array(stream, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)

    return write_whole(path, write)


def _captions_table(first_row: int, rows: PartRows) -> pa.Table:
    count = len(rows.texts)
    return pa.table(
        [
            pa.array(np.arange(first_row, first_row + count, dtype=np.int64)),
            pa.array(rows.texts, pa.string()),
            pa.array(rows.hashes, pa.binary(16)),
            pa.array(rows.sources, pa.int32()),
        ],
        schema=SCHEMA,
    )


def _write_captions(path: Path, first_row: int, rows: PartRows) -> None:
    table = _captions_table(first_row, rows)
    pq.write_table(table, path, row_group_size=ROWS_PER_GROUP, compression="zstd", write_page_checksum=True)
