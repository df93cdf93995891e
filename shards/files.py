"""Files that appear whole or not at all, and their digests."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from shards import layout
from shards.manifest import FileInfo

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_OPEN_FILES = 1 << 20
"""Parts of 33 thousand million captions, more than an index can hold."""


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
        with ThreadPoolExecutor(1) as beside:  # the disk is waited for and the digest computed at the same time
            flushed = beside.submit(_flush, partial)
            info = file_info(partial)
            flushed.result()
        partial.replace(path)
    except BaseException as error:  # a full disk, Ctrl-C: what was begun is of no use
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a stream does not know its file
        raise
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


def allow_open_files() -> None:
    """Raise the number of files that this process may have open as far as the system lets it.

    Every part of an index is mapped, and a mapped file counts as an open one; most shells allow 1,024, which is too few
    for 33 million captions.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # what the system calls its limit may be more than it grants
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _flush(path: Path) -> None:
    """Ask the operating system to put a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
