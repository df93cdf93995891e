"""Which pictures are meant, and under which names their labels are written."""

import glob
import io
import os
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler.exports import RESERVED
from segmenter import PictureError, decode_picture, load_picture, picture_of
from shards import UserError

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"]
)
TAR = ".tar"
STDIN = "-"
MAGIC = re.compile(r"[*?\[]")


class InputError(UserError):
    """There are no pictures where the user pointed."""


@dataclass(frozen=True)
class PictureFile:
    """A picture to be labelled.

    Attributes:
        path: the file that holds it: the picture's own, or a tar's.
        name: its path below the folder that was asked for, with forward slashes; in a tar, below the tar's name.
        stem: what its outputs are called, before `.json`.
        span: where its bytes lie inside a tar, start and length; None for a file of its own.
    """

    path: Path
    name: str
    stem: str
    span: tuple[int, int] | None = None

    def read(self) -> NDArray[np.uint8]:
        """The pixels: uint8 [H, W, 3], RGB.

        Raises:
            PictureError: there is no picture that can be read.
        """
        if self.span is None:
            return load_picture(self.path)
        start, length = self.span
        try:
            with self.path.open("rb") as tar:
                tar.seek(start)
                content = tar.read(length)
        except OSError as error:
            raise PictureError(f"{self.path}: {error.strerror}; it held {self.name} when it was listed") from error
        return decode_picture(io.BytesIO(content), f"{self.path}: {self.name}")


def find_pictures(root: Path, out: Path) -> list[PictureFile]:
    """Every picture that a path means; what an earlier run wrote to `out` is no picture.

    Two pictures that differ only in their suffix keep it in the names of their outputs.

    Args:
        root: a picture, a folder of them (recursive), a glob, a webdataset tar, a `.txt` of paths, or `-` for paths on
            standard input. Folders and globs may hold tars.
        out: the folder of the labels.

    Returns:
        Sorted by name; a list of paths stays in its order.

    Raises:
        InputError: there is none, or nothing can be written to `out`.
    """
    if out.resolve() == root.resolve():
        raise InputError(f"--out {out}: labels cannot be written among the pictures; choose another folder")
    _require_writable(out)
    found = list(dict.fromkeys(_members(*_listed(root, out))))  # a path that is listed twice is one picture
    if not found:
        raise InputError(f"{root}: no pictures there (looked for {' '.join(sorted([*SUFFIXES, TAR]))})")
    stems = Counter(_stem(name) for _, name, _ in found)
    return [PictureFile(path, name, _unique(name, stems), span) for path, name, span in found]


def to_pixels(picture: NDArray[np.uint8] | Image.Image | Path | str) -> NDArray[np.uint8]:
    """A picture, whatever it comes as, as uint8 [H, W, 3], RGB.

    >>> to_pixels(Image.new("L", (3, 2), 7)).shape
    (2, 3, 3)

    Raises:
        PictureError: it cannot be read, or is an array of another shape or type.
    """
    if isinstance(picture, (str, Path)):
        return load_picture(Path(picture))
    if isinstance(picture, Image.Image):
        return picture_of(picture, "the picture")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise PictureError(
            f"an array {picture.dtype} {list(picture.shape)} is no picture; give uint8 [height, width, 3], RGB"
        )
    return picture


def _require_writable(out: Path) -> None:
    """Refuse a folder that can hold no labels before anything is loaded."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--out {out}: {there} is a file, so no folder can be made; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: nothing may be written to {there}; choose another folder, or its permissions")


def _listed(root: Path, out: Path) -> tuple[list[Path], str]:
    """Files, pictures or tars, and the folder below which they are named."""
    if str(root) == STDIN:
        return _lines(sys.stdin.read())
    if root.is_file():
        return _lines(root.read_text("utf-8")) if root.suffix.lower() == ".txt" else ([root], str(root.parent))
    outputs = out.resolve()
    if root.is_dir():
        return [path for path in sorted(root.rglob("*")) if _is_input(path, outputs)], str(root)
    if not MAGIC.search(str(root)):
        raise InputError(f"{root}: no such file, folder or glob")
    found = sorted(Path(path) for path in glob.glob(str(root), recursive=True))  # noqa: PTH207  it may be absolute
    fixed = [part for part in root.parts if not MAGIC.search(part)] if found else []
    below = Path(*root.parts[: next(n for n, part in enumerate(root.parts) if MAGIC.search(part))]) if fixed else ""
    return [path for path in found if _is_input(path, outputs)], str(below)


def _lines(text: str) -> tuple[list[Path], str]:
    """Paths, one a line; the folder is the deepest that holds them all."""
    paths = [Path(line.strip()) for line in text.splitlines() if line.strip()]
    if not paths:
        return [], ""
    return paths, os.path.commonpath([os.path.abspath(path.parent) for path in paths])  # noqa: PTH100  not resolve()


def _is_input(path: Path, outputs: Path) -> bool:
    """Whether a path is a picture or a tar; so is a link that leads nowhere, which is refused when it is read."""
    wanted = path.suffix.lower() in SUFFIXES or path.suffix.lower() == TAR
    there = path.is_file() or (path.is_symlink() and not path.exists())
    return wanted and there and outputs not in Path(os.path.realpath(path)).parents  # resolve() fails on circles


def _members(paths: Sequence[Path], below: str) -> Iterator[tuple[Path, str, tuple[int, int] | None]]:
    """File, name and place in it of every picture; tars become their pictures."""
    for path in paths:
        name = _shown(Path(os.path.relpath(path, below or os.curdir)).as_posix())
        if path.suffix.lower() != TAR:
            yield path, name, None
            continue
        for member, span in _of_tar(path):
            yield path, f"{name.removesuffix(path.suffix)}/{member}", span


def _of_tar(path: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """The pictures in a tar, by name, and where their bytes lie. Nothing is unpacked."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = PurePosixPath(_shown(member.name))
                if member.isfile() and name.suffix.lower() in SUFFIXES and ".." not in name.parts:
                    yield name.as_posix().lstrip("/"), (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: no tar that can be read ({error}); unpack it if it is compressed") from error


def _shown(name: str) -> str:
    """A name that can be written as UTF-8: bytes of a file name that cannot be become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _unique(name: str, stems: Counter[str]) -> str:
    stem = _stem(name)
    return stem if stems[stem] == 1 and f"{stem}.json" not in RESERVED else name
