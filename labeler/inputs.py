"""Which files are pictures, and under which names their labels are written."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shards import UserError

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"]
)


class InputError(UserError):
    """There are no pictures where the user pointed."""


@dataclass(frozen=True)
class PictureFile:
    """A picture to be labelled.

    Attributes:
        path: where it is.
        name: its path below the folder that was asked for, with forward slashes.
        stem: what its outputs are called, before `.json`.
    """

    path: Path
    name: str
    stem: str


def find_pictures(root: Path, out: Path) -> list[PictureFile]:
    """Every picture that a path means, sorted by name; what an earlier run wrote to `out` is no picture.

    Two pictures that differ only in their suffix keep it in the names of their outputs.

    Raises:
        InputError: there is none.
    """
    if root.is_file():
        return [PictureFile(root, root.name, root.stem)]
    if not root.is_dir():
        raise InputError(f"{root}: no such file or folder")
    outputs = out.resolve()
    if outputs == root.resolve():
        raise InputError(f"--out {out}: labels cannot be written among the pictures; choose another folder")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and outputs not in path.resolve().parents
    )
    if not found:
        raise InputError(f"{root}: no pictures there (looked for {' '.join(sorted(SUFFIXES))})")
    names = [path.relative_to(root).as_posix() for path in found]
    stems = Counter(str(PurePosixPath(name).with_suffix("")) for name in names)
    return [PictureFile(path, name, _stem(name, stems)) for path, name in zip(found, names, strict=True)]


def _stem(name: str, stems: Counter[str]) -> str:
    stem = str(PurePosixPath(name).with_suffix(""))
    return stem if stems[stem] == 1 else name
