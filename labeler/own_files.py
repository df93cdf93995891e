"""Which files in the folder of labels are ours: nothing else there is replaced or taken away."""

from pathlib import Path

from PIL import Image

from labeler.exports import (
    COCO_FILE,
    OF_A_PICTURE,
    PANOPTIC_FILE,
    PANOPTIC_FOLDER,
    REPORT_FILE,
    RESERVED,
    TASKS_FILE,
    TASKS_INTERFACE,
    read_record,
)
from labeler.inputs import PictureFile
from segmenter import PictureError
from shards import UserError

MARK = "preset"
"""A text in the palette masks that we write."""

OF_A_RUN = (COCO_FILE, PANOPTIC_FILE, PANOPTIC_FOLDER, REPORT_FILE, TASKS_FILE, TASKS_INTERFACE)


def require_own_outputs(out: Path, file: PictureFile) -> None:
    """See that what bears the names of a picture's outputs was written for a picture: it will be replaced.

    Raises:
        PictureError: a file is somebody else's, such as annotations by hand beside the pictures.
    """
    there = [path for suffix in OF_A_PICTURE if _is_there(path := out / f"{file.stem}{suffix}")]
    if there and not _is_own(out, file.stem):
        raise PictureError(
            f"{file.path}: its labels would replace {there[0]}, which is none of ours; choose another --out"
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
