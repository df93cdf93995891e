"""Files that appear whole or not at all, and their digests."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from shards import layout
from shards.manifest import FileInfo


def write_whole(path: Path, write: Callable[[Path], None]) -> FileInfo:
    """Write a file aside, flush it to the disk, then rename it.

    Args:
        path: where the file shall appear.
        write: writes the content to the path that it is given.

    Returns:
        Name, size and SHA-256 of what was written.
    """
    partial = path.with_name(path.name + layout.PARTIAL)
    try:
        write(partial)
        _flush(partial)
        info = file_info(partial)
    except BaseException as error:  # a full disk, Ctrl-C: what was begun is of no use
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a stream does not know its file
        raise
    partial.replace(path)
    _flush(path.parent)
    return FileInfo(name=path.name, bytes=info.bytes, sha256=info.sha256)


def write_bytes(path: Path, data: bytes) -> FileInfo:
    """Write a small file whole."""

    def write(partial: Path) -> None:
        partial.write_bytes(data)

    return write_whole(path, write)


def file_info(path: Path) -> FileInfo:
    """Name, size and SHA-256 of a file on disk, read in blocks."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return FileInfo(name=path.name, bytes=size, sha256=digest.hexdigest())


def _flush(path: Path) -> None:
    """Ask the operating system to put a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
