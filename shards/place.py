"""The folder of an open index, which others may change, and its program may leave."""

import os
from collections.abc import Iterable
from pathlib import Path

from shards.errors import ShardDamaged, ShardError
from shards.manifest import FileInfo


class Place:
    """A folder whose files are those that were there when its index was opened, or are refused.

    Attributes:
        folder: as it was named, for messages.
        absolute: the same from the root, since the working directory may change.
    """

    def __init__(self, folder: Path, files: Iterable[FileInfo]) -> None:
        """Look at every file.

        Raises:
            ShardDamaged: one is missing or has another size than the manifest says.
        """
        self.folder = folder
        self.absolute = folder.absolute()
        self._marks = {file.name: _mark(_sized(folder, file)) for file in files}

    def path(self, name: str) -> Path:
        """Where a file of the index is.

        Raises:
            ShardError: another one is there by now, or none.
        """
        path = self.absolute / name
        try:
            if _mark(path.stat()) == self._marks[name]:
                return path
        except OSError:
            pass  # it is gone
        raise ShardError(
            f"{path}: not the file that was there when the index was opened; the index was changed or moved since, "
            "open it again"
        )


def _mark(found: os.stat_result) -> tuple[int, int, int, int]:
    """What tells a file from one that takes its place: a writer renames files into theirs, and changes none.

    A new file may have the number of one that was deleted, so its size and its time count as well.
    """
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def require_size(folder: Path, file: FileInfo) -> Path:
    """The path of a file of the index, once it is known to exist with the right size.

    Raises:
        ShardDamaged: it is missing or has another size.
    """
    _sized(folder, file)
    return folder / file.name


def _sized(folder: Path, file: FileInfo) -> os.stat_result:
    path = folder / file.name
    try:
        found = path.stat()
    except OSError as error:
        raise ShardDamaged(f"{path}: {error.strerror}; the manifest names it; restore it or rebuild") from error
    if found.st_size != file.bytes:
        raise ShardDamaged(f"{path}: {found.st_size} bytes, the manifest says {file.bytes}; restore it or rebuild")
    return found
