"""Which pictures are meant, and under which names their labels are written."""

import glob
import hashlib
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler.exports import OF_A_PICTURE, OF_A_RUN, PANOPTIC_FOLDER
from labeler.own_files import is_output
from labeler.stems import stems_of
from labeler.tars import contents_of
from segmenter import PictureError, decode_picture, load_picture, picture_of
from shards import UserError
from shards.files import file_info
from shards.layout import MANIFEST

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .pnm .jp2 .j2k .jpx .avif "
    ".heic .heif .jxl".split()
)
"""Of pictures in folders, globs and tars. The last three are refused by name when they are read, not passed over."""

TAR = ".tar"
LIST = ".txt"
STDIN = "-"
MAGIC = re.compile(r"[*?\[]")
LINE_END = re.compile(r"\r\n|\r|\n")
"""Unlike `splitlines`, which also cuts at characters that names may have."""


class InputError(UserError):
    """There are no pictures where the user pointed, or their labels cannot be written where they should."""


@dataclass(frozen=True)
class PictureFile:
    """A picture to be labelled.

    Attributes:
        path: the file that holds it: the picture's own, or a tar's.
        name: its path below the folder that was asked for, with forward slashes; in a tar, below the tar's name.
        stem: what its outputs are called, before `.json`.
        span: where its bytes lie inside a tar, start and length; None for a file of its own.
        trouble: why it cannot be read, where that is known beforehand; empty where it is not.
    """

    path: Path
    name: str
    stem: str
    span: tuple[int, int] | None = None
    trouble: str = ""

    def read(self) -> NDArray[np.uint8]:
        """The pixels: uint8 [H, W, 3], RGB.

        Raises:
            PictureError: there is no picture that can be read.
        """
        if self.trouble:
            raise PictureError(self.trouble)
        if self.span is None:
            return load_picture(self.path)
        return decode_picture(io.BytesIO(self._bytes(self.span)), f"{self.path}: {self.name}")

    def digest(self) -> str:
        """SHA-256 of its bytes, in hexadecimal digits; empty where they cannot be read."""
        if self.trouble:
            return ""
        try:
            if self.span is not None:
                return hashlib.sha256(self._bytes(self.span)).hexdigest()
            return file_info(self.path).sha256 if self.path.is_file() else ""  # a named pipe would wait for ever
        except (PictureError, OSError):
            return ""

    def _bytes(self, span: tuple[int, int]) -> bytes:
        start, length = span
        try:
            with self.path.open("rb") as tar:
                tar.seek(start)
                return tar.read(length)
        except OSError as error:
            raise PictureError(f"{self.path}: {error.strerror}; it held {self.name} when it was listed") from error


@dataclass(frozen=True)
class Listed:
    """What a path means, before tars become their pictures.

    Attributes:
        paths: files, pictures or tars.
        below: the folder below which they are named.
        left_out: pictures that lie below the folder of labels or were drawn by a run, and so are none.
    """

    paths: list[Path]
    below: str
    left_out: int = 0


def find_pictures(root: Path, out: Path, *more: Path) -> list[PictureFile]:
    """Every picture that paths mean; what lies in `out` is none, and in folders and globs what any run wrote.

    Two pictures that differ only in their suffix keep it in the names of their outputs. A file that is met twice is one
    picture. Different pictures of one name, a tar that cannot be read and one that is cut short are among the answers,
    each with its `trouble`.

    Args:
        root: a picture, a folder of them (recursive), a glob, a webdataset tar, a `.txt` of paths, or `-` for paths on
            standard input. Folders and globs may hold tars.
        out: the folder of the labels.
        more: files and folders besides, if `root` is one, as a shell makes of a glob.

    Returns:
        Sorted by path; a list of paths stays in its order.

    Raises:
        InputError: there is none, nothing can be written to `out`, or labels would be written over a picture.
    """
    if not more and out.resolve() == root.resolve():
        raise InputError(f"--out {out}: labels cannot be written among the pictures; choose another folder")
    _require_writable(out)
    listed = _listed_together([root, *more], out) if more else _listed(root, out)
    found = _each_once(_members(listed))
    if not found and listed.left_out:
        raise InputError(
            f"{root}: all {listed.left_out:,} pictures there lie below --out {out}, where labels are written, or were "
            "drawn by a run; give the pictures themselves, or choose another --out"
        )
    if not found:
        looked_for = " ".join(sorted([*SUFFIXES, TAR]))
        raise InputError(f"{root}: no pictures there (looked for {looked_for}){_what_is_there(root)}")
    if [file.path for file in found] == [root, *more] and found[0].trouble:
        raise InputError(found[0].trouble)
    files = _with_stems(found)
    _require_apart(files, out)
    _require_no_run_file(files, out)
    return files


def to_pixels(picture: NDArray[np.uint8] | Image.Image | Path | str) -> NDArray[np.uint8]:
    """A picture, whatever it comes as, as uint8 [H, W, 3], RGB.

    >>> to_pixels(Image.new("L", (3, 2), 7)).shape
    (2, 3, 3)

    Raises:
        PictureError: it cannot be read, or is an array of another shape or type.
        TypeError: it is nothing of all these.
    """
    if isinstance(picture, (str, Path)):
        return load_picture(Path(picture))
    if isinstance(picture, Image.Image):
        return picture_of(picture, "the picture")
    if not isinstance(picture, np.ndarray):
        raise TypeError(
            f"{type(picture).__name__} is no picture; give the path of a file, a picture of Pillow's, or an array "
            "uint8 [height, width, 3], RGB"
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise PictureError(
            f"an array {picture.dtype} {list(picture.shape)} is no picture; give uint8 [height, width, 3], RGB"
        )
    return picture


def shown(name: str) -> str:
    """A name that can be written as UTF-8: bytes of a file name that cannot be become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _require_writable(out: Path) -> None:
    """Refuse a folder that can hold no labels before anything is loaded."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--out {out}: {there} is a file, so no folder can be made; choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--out {out}: nothing may be written to {there}; choose another folder, or its permissions")


def _require_apart(files: list[PictureFile], out: Path) -> None:
    """Refuse to write labels over pictures before anything is written.

    A picture that is a link counts for itself, for the link is what would be replaced.
    """
    real = cache(os.path.realpath)  # of folders; resolve() fails on circles
    pictures = {(real(file.path.parent), file.path.name) for file in files}
    for file in files:
        folder, _, name = file.stem.rpartition("/")
        outputs = [(f"{out}/{folder}", f"{name}{suffix}") for suffix in OF_A_PICTURE]
        for parent, output in (*outputs, (f"{out}/{PANOPTIC_FOLDER}/{folder}", f"{name}.png")):
            if not file.trouble and (real(parent), output) in pictures:
                raise InputError(
                    f"--out {out}: labels of {file.path} would be written over the picture {Path(parent, output)}; "
                    "choose another folder"
                )


def _require_no_run_file(files: list[PictureFile], out: Path) -> None:
    """Refuse a folder of pictures that is called as a file of the whole run."""
    for file in files:
        folder, _, below = file.stem.partition("/")
        if below and folder in OF_A_RUN and folder != PANOPTIC_FOLDER:
            raise InputError(f"{file.path}: its labels would lie where {out / folder} is written; rename {folder}")


def _what_is_there(folder: Path) -> str:
    """What a folder without pictures has that may have been meant, and what to do then; empty for nothing such."""
    if _is_of_indexes(folder):
        return f"; it holds an index, which is given as --index {folder}"
    links = sorted(path for path in folder.rglob("*") if path.is_symlink() and path.is_dir()) if folder.is_dir() else []
    return f"; links to folders are not followed, name what is behind {links[0]} itself" if links else ""


def _is_of_indexes(folder: Path) -> bool:
    """Whether a folder is an index, or one of indexes."""
    return any(any(folder.glob(where + MANIFEST)) for where in ("", "*/"))


def _listed(root: Path, out: Path) -> Listed:
    if str(root) == STDIN:
        return _lines(sys.stdin.buffer.read(), "standard input")
    if root.is_file():
        is_list = root.suffix.lower() == LIST
        return _lines(root.read_bytes(), str(root)) if is_list else Listed([root], str(root.parent))
    if root.is_dir():
        return _outside(sorted(root.rglob("*")), str(root), out)
    if not MAGIC.search(str(root)):
        raise InputError(f"{root}: no such file, folder or glob")
    found = sorted(Path(path) for path in glob.glob(str(root), recursive=True))  # noqa: PTH207  it may be absolute
    first = next((place for place, part in enumerate(root.parts) if MAGIC.search(part)), 0)
    if ".." in root.parts[first:]:  # what is found may lie beside the fixed folder, and labels would beside --out
        return _outside(found, _deepest(found), out)
    return _outside(found, str(Path(*root.parts[:first])) if first else "", out)


def _listed_together(roots: list[Path], out: Path) -> Listed:
    """What lies in folders, and files; those that are no pictures are passed over, as they are in folders and globs."""
    for root in roots:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder; of several paths each has to be one")
    inside = {root: sorted(root.rglob("*")) if root.is_dir() else [root] for root in roots}
    for root, paths in inside.items():
        if not any(map(_is_input, paths)) and _is_of_indexes(root):
            raise InputError(f"{root}: an index and no pictures; it is given as --index {root}")
    below = _deepest([root / "any" if root.is_dir() else root for root in roots])
    return _outside([path for paths in inside.values() for path in paths], below, out)


def _outside(paths: list[Path], below: str, out: Path) -> Listed:
    """Pictures and tars among paths, without those that lie below the folder of labels or were drawn by a run."""
    outputs = out.resolve()
    inputs = [path for path in paths if _is_input(path)]
    apart = [
        path for path in inputs if outputs not in Path(os.path.realpath(path)).parents
    ]  # resolve() fails on circles
    kept = [path for path in apart if not is_output(path)]
    return Listed(kept, below, len(inputs) - len(kept))


def _lines(content: bytes, where: str) -> Listed:
    """Paths, one a line; they are named below the deepest folder that holds them all.

    Bytes that are no UTF-8 are taken as they stand, because names of files may be such.
    """
    text = content.decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise InputError(f"{where}: no list of paths, it holds zero bytes (UTF-16?); save it as UTF-8, a path a line")
    paths = [Path(line.strip()) for line in LINE_END.split(text) if line.strip()]
    return Listed(paths, _deepest(paths))


def _deepest(paths: Sequence[Path]) -> str:
    """The deepest folder that holds all paths, their `..` taken out."""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}  # noqa: PTH100, PTH120  not resolve()
    return os.path.commonpath(folders) if folders else ""


def _is_input(path: Path) -> bool:
    """Whether a path is a picture or a tar; so is a link that leads nowhere, which is refused when it is read."""
    wanted = path.suffix.lower() in SUFFIXES or path.suffix.lower() == TAR
    return wanted and (path.is_file() or (path.is_symlink() and not path.exists()))


def _members(listed: Listed) -> Iterator[PictureFile]:
    """Every picture, without its stem; tars become their pictures, and what is wrong with them."""
    names = [shown(Path(os.path.relpath(path, listed.below or os.curdir)).as_posix()) for path in listed.paths]
    own = {name for path, name in zip(listed.paths, names, strict=True) if path.suffix.lower() != TAR}
    for path, name in zip(listed.paths, names, strict=True):
        if path.suffix.lower() == TAR:
            yield from _of_tar(path, name, own)
        else:
            yield PictureFile(path, name, "")


def _of_tar(path: Path, name: str, own: set[str]) -> Iterator[PictureFile]:
    """The pictures in a tar below its name, which keeps `.tar` where a folder of pictures beside it has that name."""
    contents = contents_of(path)
    named = [(PurePosixPath(shown(member)), span) for member, span in contents.files]
    members = [
        (member.as_posix().lstrip("/"), span)
        for member, span in named
        if member.suffix.lower() in SUFFIXES and ".." not in member.parts
    ]
    folder = name.removesuffix(path.suffix)
    if any(f"{folder}/{member}" in own for member, _ in members):
        folder = name
    for member, span in members:
        yield PictureFile(path, f"{folder}/{member}", "", span)
    if contents.trouble:
        yield PictureFile(path, name, "", trouble=contents.trouble)


def _each_once(files: Iterable[PictureFile]) -> list[PictureFile]:
    """Pictures that are met twice only once; where two have one name, the later is in trouble."""
    found: list[PictureFile] = []
    by_name: dict[str, PictureFile] = {}
    for file in files:
        first = file if file.trouble else by_name.setdefault(file.name, file)
        if first is file:
            found.append(file)
        elif first.span != file.span or not _is_same(first.path, file.path):
            found.append(
                replace(file, trouble=f"{file.path}: another picture is called {file.name}; rename one of them")
            )
    return found


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # neither is there, or one is not
        return os.path.abspath(one) == os.path.abspath(other)  # noqa: PTH100  not resolve()


def _with_stems(files: list[PictureFile]) -> list[PictureFile]:
    sound = [file.name for file in files if not file.trouble]
    stems = dict(zip(sound, stems_of(sound), strict=True))
    return [file if file.trouble else replace(file, stem=stems[file.name]) for file in files]
