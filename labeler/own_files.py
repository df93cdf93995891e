"""Which files are ours: nothing else in a folder of labels is replaced or taken away, and none of them is a picture."""

from pathlib import Path

from PIL import Image

from labeler.exports import OF_A_PICTURE, OF_A_RUN, PANOPTIC_FILE, PANOPTIC_FOLDER, RESERVED, read_record
from segmenter import PictureError
from shards import UserError

MARK = "preset"
"""A text in the palette masks that we write."""


def is_output(path: Path) -> bool:
    """Whether a picture was drawn by a run: a mask, an overlay or a panoptic PNG that lies with its record."""
    if path.name.endswith(".png") and _is_own_mask(path):
        return read_record(path.with_suffix(".json")) is not None
    if path.name.endswith(".overlay.jpg"):
        return is_output(_with_end(path, ".overlay.jpg", ".png"))
    return path.name.endswith(".png") and any(_is_panoptic(path, above) for above in path.parents)


def _is_panoptic(path: Path, folder: Path) -> bool:
    """Whether a PNG below a folder is one of a run's panoptic ones, which are called as the masks are."""
    if folder.name != PANOPTIC_FOLDER or not (folder.parent / PANOPTIC_FILE).is_file():
        return False
    while path.name.endswith(".ids.png"):  # unless one of these would replace a mask
        path = _with_end(path, ".ids.png", ".png")
    return is_output(folder.parent / path.relative_to(folder))


def _with_end(path: Path, old: str, new: str) -> Path:
    return path.with_name(path.name.removesuffix(old) + new)


def require_own_outputs(out: Path, stem: str, picture: Path) -> None:
    """See that what bears the names of a picture's outputs was written for a picture: it will be replaced.

    Args:
        out: the folder of labels.
        stem: what the outputs are called.
        picture: what they are of.

    Raises:
        PictureError: a file is somebody else's, such as annotations by hand beside the pictures.
    """
    there = [path for suffix in OF_A_PICTURE if _is_there(path := out / f"{stem}{suffix}")]
    if there and not _is_own(out, stem):
        raise PictureError(
            f"{picture}: its labels would replace {there[0]}, which is none of ours; choose another --out"
        )


def require_own_exports(out: Path) -> None:
    """See that what bears the names of a whole run's files stands beside labels of ours: it will be replaced.

    Raises:
        UserError: it does not.
    """
    there = [out / name for name in OF_A_RUN if (out / name).exists()]
    records = (file for file in out.rglob("*.json") if file.name not in RESERVED)
    if there and not any(_is_own(out, str(file.relative_to(out)).removesuffix(".json")) for file in records):
        raise UserError(f"{there[0]}: no label beside it is ours, and it would be replaced; choose another --out")


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # what cannot be called so is not there; writing it says why
        return False


def _is_own(out: Path, stem: str) -> bool:
    """Whether labels of a picture are ours: by their record, or by their mask, which is written first."""
    return read_record(out / f"{stem}.json") is not None or _is_own_mask(out / f"{stem}.png")


def _is_own_mask(path: Path) -> bool:
    try:
        with Image.open(path) as mask:
            return MARK in mask.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
