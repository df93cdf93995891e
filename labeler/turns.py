"""Several runs may write to one folder of labels: each takes its turn."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def turn(out: Path) -> Iterator[None]:
    """Write to a folder of labels alone: another run that comes to here waits. It leaves no file behind.

    Where the file system knows no locks, nobody waits.
    """
    folder = os.open(out, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)  # ends the turn
