"""Reading an index: vectors mapped from the disk, captions decoded by row group when asked for."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards import layout, manifest
from shards.errors import NoIndex, ShardDamaged, ShardError
from shards.files import allow_open_files, file_info
from shards.leftovers import is_leftover
from shards.manifest import FileInfo, Manifest
from shards.parts import CAPTIONS_SCHEMA, CONCEPT_TABLE_SCHEMA, map_array, read_parquet
from shards.place import Place, require_size
from shards.stores import Numbers, Parts, Texts, Vectors

Opened = TypeVar("Opened")


class Index:
    """One finished index, open for reading. Opening reads the manifest and the headers of the vectors, nothing more.

    Attributes:
        folder: where it is.
        manifest: what is in it.
    """

    def __init__(self, folder: Path, content: Manifest) -> None:
        """Check that every file is there with its size, and map the vectors.

        Raises:
            ShardDamaged: a file is missing or not what the manifest says.
        """
        self.folder = folder
        self.manifest = content
        self._place = Place(folder, content.files())
        allow_open_files()
        sizes = [part.rows for part in content.parts]
        dimension = content.encoder.dimension
        self._vectors = Vectors(self._place, "row", [part.vectors.name for part in content.parts], sizes, dimension)
        self._captions = Texts(self._place, "row", [part.captions.name for part in content.parts], sizes)

    def __repr__(self) -> str:
        rows, words = self.manifest.rows, self.manifest.concepts.current
        return (
            f"Index({str(self.folder)!r}: {rows:,} captions, {words:,} concepts, {self.manifest.encoder.architecture})"
        )

    def __reduce__(self) -> tuple[Callable[..., "Index"], tuple[Path, str]]:
        """Sent to another process, it is opened there anew, with the same content or not at all."""
        return _opened_again, (self._place.absolute, self.manifest.digest)

    @property
    def name(self) -> str:
        """The corpus that this index holds."""
        return self.manifest.name

    @property
    def faiss_path(self) -> Path:
        """The search index's file.

        Raises:
            ShardError: it was replaced since the index was opened.
        """
        return self._place.path(self.manifest.index.file.name)

    @property
    def quality_path(self) -> Path | None:
        """The measurement of the search index, if there is one.

        Raises:
            ShardError: it was replaced since the index was opened.
        """
        file = self.manifest.quality
        return None if file is None else self._place.path(file.name)

    def vectors(self, rows: Numbers) -> NDArray[np.float32]:
        """Vectors of global rows, in the order asked for: float32 [n, d], unit rows to within float16 rounding."""
        return self._vectors.take(rows)

    def part_vectors(self, part: int) -> NDArray[np.float16]:
        """All vectors of a part, float16 [n, d], mapped and read-only."""
        return self._vectors.parts[part]

    def captions(self, rows: Numbers) -> list[str]:
        """Captions of global rows, in the order asked for."""
        return self._captions.take(rows)

    def part_table(self, part: int, columns: Sequence[str]) -> pa.Table:
        """Columns of a part's captions file, in the order of the format."""
        info = self.manifest.parts[part]
        return read_parquet(self._place.path(info.captions.name), info.rows, CAPTIONS_SCHEMA, columns)

    def part_hashes(self, part: int) -> NDArray[np.uint8]:
        """The hashes of all captions of a part, in row order: uint8 [n, 16]."""
        hashes = self.part_table(part, ["hash"])["hash"].combine_chunks()
        return np.frombuffer(hashes.buffers()[1], np.uint8).reshape(-1, 16)[hashes.offset :][: len(hashes)]

    def counts(self) -> NDArray[np.uint32]:
        """How often each caption was met, uint32 [rows]."""
        return map_array(self._place.path(self.manifest.counts.name), np.dtype("<u4"), (self.manifest.rows,))

    def recall(self) -> str:
        """What was measured of the search index, for people: ", recall@10 1.000 measured"; empty if nothing was.

        Raises:
            ShardDamaged: the file cannot be read.
        """
        path = self.quality_path
        if path is None:
            return ""
        try:
            measured = msgspec.json.decode(path.read_bytes(), type=_Quality)
        except (OSError, ValueError) as error:
            raise ShardDamaged(f"{path}: not a measurement of the search index ({error})") from error
        return f", recall@{measured.at} {measured.recall:.3f} measured"

    @cached_property
    def removed(self) -> NDArray[np.int64]:
        """Rows that were removed, int64 [n], ascending. They keep their numbers and are never found."""
        file = self.manifest.removed
        if file is None:
            return np.zeros(0, np.int64)
        return np.array(map_array(self._place.path(file.name), np.dtype("<i8"), (None,)))

    @cached_property
    def concepts(self) -> "Concepts":
        """The words that a labeler may say."""
        return Concepts(self._place, self.manifest)


class _Quality(msgspec.Struct, frozen=True):
    """What a reader needs of the measurement of a search index."""

    at: int
    recall: float


class Concepts:
    """The concepts of an index: words, vectors, and which captions hold them.

    Attributes:
        counts: uint32 [concepts], captions that hold each; 0 for one that is not to be said any more.
        kinds: a string for each: noun, phrase, proper, word.
    """

    def __init__(self, place: Place, content: Manifest) -> None:
        """Read the table and map the rest.

        Raises:
            ShardDamaged: a file is not what the manifest says.
        """
        info = content.concepts
        sizes = [part.rows for part in info.parts]
        dimension = content.encoder.dimension
        self._vectors = Vectors(place, "concept", [part.vectors.name for part in info.parts], sizes, dimension)
        self._words = Texts(place, "concept", [part.words.name for part in info.parts], sizes)
        table = read_parquet(place.path(info.table.name), info.rows, CONCEPT_TABLE_SCHEMA)
        self.counts: NDArray[np.uint32] = table["count"].to_numpy()
        self.kinds: list[str] = table["kind"].to_pylist()
        self._rows = Parts(place.folder, "row", [content.rows])
        self._starts_path, self._links_path = place.path(info.starts.name), place.path(info.links.name)
        self._starts = map_array(self._starts_path, np.dtype("<i8"), (content.rows + 1,))
        self._links = map_array(self._links_path, np.dtype("<i4"), (None,))
        if self._starts[0] != 0 or self._starts[-1] != len(self._links):
            ends = f"{self._starts[0]} to {self._starts[-1]}"
            raise ShardDamaged(f"{self._starts_path}: from {ends}, but there are {len(self._links)} links")

    def __len__(self) -> int:
        return len(self._words)

    def of_row(self, row: int) -> NDArray[np.int32]:
        """Ids of the concepts that a caption holds, int32 [n], in order of appearance.

        Raises:
            ShardDamaged: they are no ids of this index.
        """
        self._rows.require(row)
        return self.of_rows(row, 1)[1]

    def of_rows(self, first: int, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Concepts of some captions in a row.

        Returns:
            How many each caption holds, int64 [rows], and their ids one after the other, int32 [links].

        Raises:
            ShardDamaged: they are no ids of this index.
        """
        starts = self._starts[first : first + rows + 1]
        sizes = np.diff(starts)
        if starts[0] < 0 or starts[-1] > len(self._links) or (sizes < 0).any():
            raise ShardDamaged(f"{self._starts_path}: not ascending from row {first} to row {first + rows}")
        ids: NDArray[np.int32] = self._links[starts[0] : starts[-1]]
        self._require_ids(ids, first)
        return sizes, ids

    def of_each(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Concepts of captions that stand anywhere, in the order asked for.

        Args:
            rows: int64 [n], global rows.

        Returns:
            How many each caption holds, int64 [n], and their ids one after the other, int32 [links].

        Raises:
            ShardDamaged: they are no ids of this index.
        """
        self._rows.require_all(rows)
        first, last = self._starts[rows], self._starts[rows + 1]
        sizes = last - first
        if (first < 0).any() or (last > len(self._links)).any() or (sizes < 0).any():
            raise ShardDamaged(f"{self._starts_path}: not ascending where rows {rows.min()} to {rows.max()} begin")
        skipped = np.repeat(first - (np.cumsum(sizes) - sizes), sizes)
        ids: NDArray[np.int32] = self._links[skipped + np.arange(len(skipped))]
        self._require_ids(ids, int(rows.min()) if rows.size else 0)
        return sizes, ids

    def _require_ids(self, ids: NDArray[np.int32], row: int) -> None:
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise ShardDamaged(f"{self._links_path}: links of row {row} or later are not ids of concepts")

    def part_vectors(self) -> list[NDArray[np.float16]]:
        """All vectors, float16 [n, d] for each part, mapped and read-only."""
        return self._vectors.parts

    def words(self, ids: Numbers) -> list[str]:
        """Canonical texts of concepts, in the order asked for."""
        return self._words.take(ids)

    def vectors(self, ids: Numbers) -> NDArray[np.float32]:
        """Vectors of concepts, in the order asked for: float32 [n, d], unit rows."""
        return self._vectors.take(ids)


def require_intact(folder: Path, file: FileInfo) -> Path:
    """The path of a file of the index, once every byte of it is known to be what the manifest means.

    Raises:
        ShardDamaged: it is missing, cannot be read, or holds something else.
    """
    path = require_size(folder, file)
    try:
        found = file_info(path).sha256
    except OSError as error:
        raise ShardDamaged(f"{path}: cannot be read ({error.strerror})") from error
    if found != file.sha256:
        raise ShardDamaged(
            f"{path}: SHA-256 {found[:12]}…, the manifest says {file.sha256[:12]}…; restore it or rebuild"
        )
    return path


def open_index(folder: Path | str) -> Index:
    """Open one index folder.

    Raises:
        NoIndex: no finished index is there.
        UnsupportedVersion: the folder is of another format version.
        ShardDamaged: a file is missing or not what the manifest says.
    """
    place = Path(folder)
    return steady(place, lambda: Index(place, manifest.load(place)))


def _opened_again(folder: Path, digest: str) -> Index:
    """An index that was open in another process.

    Raises:
        ShardError: it cannot be opened, or was changed since.
    """
    index = open_index(folder)
    if index.manifest.digest != digest:
        raise ShardError(f"{folder}: changed since it was opened in another process; open it there again")
    return index


def steady(path: Path, opening: Callable[[], Opened]) -> Opened:
    """What is opened of an index, or of a folder of them; anew if a writer ended meanwhile.

    It deletes the files of the manifest that was there before, which would seem to be missing.

    Args:
        path: an index, or a folder of them.
        opening: opens it, from the manifest on.

    Raises:
        ShardError: it cannot be opened, and nobody changed it.
    """
    while True:
        before = _manifests(path)
        try:
            return opening()
        except ShardError:
            if _manifests(path) == before:
                raise


def _manifests(path: Path) -> list[bytes]:
    """The manifests that can be read, as they are."""
    found = []
    for file in (path / layout.MANIFEST, *sorted(path.glob(f"*/{layout.MANIFEST}"))):
        with suppress(OSError):
            found.append(file.read_bytes())
    return found


def index_folders(path: Path) -> list[Path]:
    """The index folders that a path means: itself, or every finished index one level below, sorted by name.

    What a killed compaction left beside an index is none.

    Raises:
        NoIndex: there is none; the message says what is there instead.
    """
    if (path / layout.MANIFEST).exists() or not path.is_dir():
        return [path]
    finished = sorted(child for child in path.iterdir() if (child / layout.MANIFEST).exists())
    below = [child for child in finished if not is_leftover(child)]
    if below:
        return below
    unfinished = sorted(child.name for child in path.iterdir() if (child / layout.PLAN).exists())
    if unfinished:
        raise NoIndex(f"{path}: only unfinished builds here ({', '.join(unfinished)}); run build_index again to finish")
    return [path]  # opening it says why it is no index


def open_indexes(path: Path | str) -> list[Index]:
    """Open an index, or a folder of them, to be searched together.

    Raises:
        NoIndex, UnsupportedVersion, ShardDamaged: as `open_index`.
    """
    return [open_index(folder) for folder in index_folders(Path(path))]
