"""What a compaction that was killed leaves beside an index: never taken for one, and put right by the next writer.

A compaction writes `NAME.compacting`, renames `NAME` to `NAME.before-compacting` and the new folder to `NAME`, moves
what the format does not know from the old folder into the new one, and deletes the old one.
"""

import shutil
from pathlib import Path

import filelock

from shards import layout
from shards.errors import IndexBusy, ShardError


def aside_of(folder: Path) -> Path:
    """Where an index is written anew."""
    return _beside(folder, layout.COMPACTING)


def before_of(folder: Path) -> Path:
    """Where an index waits until the new one has its name."""
    return _beside(folder, layout.BEFORE_COMPACTING)


def is_leftover(folder: Path) -> bool:
    """Whether a folder is what a compaction left beside an index, and not the only copy of it."""
    for suffix, copies in ((layout.COMPACTING, ("", layout.BEFORE_COMPACTING)), (layout.BEFORE_COMPACTING, ("",))):
        name = folder.name.removesuffix(suffix)
        if name and name != folder.name:
            return any((folder.with_name(name + copy) / layout.MANIFEST).exists() for copy in copies)
    return False


def bring_back(folder: Path) -> None:
    """Give an index its name again, where a compaction was killed between its two renames.

    Raises:
        IndexBusy: it was not killed, but is at work.
    """
    before = before_of(folder)
    if not is_away(folder):
        return
    try:
        with filelock.FileLock(before / layout.LOCK, timeout=0):
            make_way(folder)
            if not folder.exists():
                before.rename(folder.resolve())
    except filelock.Timeout:
        raise IndexBusy(f"{folder}: another program is compacting it; wait for it") from None


def is_away(folder: Path) -> bool:
    """Whether an index waits under another name until a compaction has written the new one, or was killed at that."""
    return (before_of(folder) / layout.MANIFEST).exists() and not (folder / layout.MANIFEST).exists()


def make_way(folder: Path) -> None:
    """Take away a folder that holds nothing but a lock: of a program that came between a compaction's two renames."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [layout.LOCK]:
        shutil.rmtree(folder)


def clear(folder: Path) -> None:
    """Put away what a compaction left beside a finished index, whose lock the caller holds.

    What the format does not know is moved from the old folder into the new one: a user's notes, an export.

    Raises:
        ShardError: something of that name is in the new folder, too.
    """
    before = before_of(folder)
    for path in sorted(before.iterdir()) if before.exists() else ():
        if path.name == layout.LOCK or layout.is_ours(path.name):
            continue
        target = folder / path.name
        if target.exists():
            raise ShardError(f"{path}: left by a compaction that was killed, and {target} is there as well; delete one")
        path.rename(target)
    for left in (before, aside_of(folder)):
        if left.exists():
            shutil.rmtree(left)


def _beside(folder: Path, suffix: str) -> Path:
    place = folder.resolve()  # `.` has no name, and a link stays where it is
    return place.with_name(place.name + suffix)
