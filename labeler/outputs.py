"""One JSON, one palette PNG and one overlay JPEG per picture; the JSON comes last and says that all is there."""

import errno
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from labeler.drawing import draw_overlay
from labeler.exports import OF_A_PICTURE, SCHEMA_VERSION, Picture, read_record
from labeler.inputs import PictureFile
from labeler.labeled import LabeledImage
from labeler.own_files import MARK
from labeler.pipeline import Labeler
from labeler.regions import palette_mask, regions_of
from labeler.turns import turn
from segmenter import PictureError
from shards import UserError
from shards.files import write_bytes
from shards.manifest import PROGRAM

OVERLAY_QUALITY = 90
OF_A_NAME = frozenset([errno.ENAMETOOLONG, errno.EILSEQ, errno.EISDIR])
"""Errors that one picture's name alone brings about: too long, not to be written, or a folder has it already."""


def describe_run(labeler: Labeler) -> dict[str, Any]:
    """What the labels of a run depend on besides the pictures, for the JSON's `made_by`."""
    config = labeler.config
    return {
        "program": PROGRAM,
        "preset": labeler.models.preset,
        **labeler.models.description,
        "indexes": {index.name: index.manifest.digest for index in labeler.retriever.indexes},
        "settings": {**config.settings, "short_side": labeler.models.short_side},
    }


def is_finished(out: Path, file: PictureFile, made_by: dict[str, Any]) -> bool:
    """Whether an earlier run wrote this picture's labels under the same conditions, and all of them are still there.

    A picture is the same if its path and its bytes are. Records without a digest tell pictures by path and size.
    """
    record = None if file.trouble else read_record(_path(out, file, ".json"))
    if record is None or record.made_by != made_by or record.picture.path != file.name:
        return False
    if not all(_path(out, file, suffix).is_file() for suffix in OF_A_PICTURE):
        return False
    return record.picture.sha256 == file.digest() if record.picture.sha256 else _has_size(file, record.picture)


def _has_size(file: PictureFile, recorded: Picture) -> bool:
    try:
        height, width, _ = file.read().shape
    except PictureError:
        return False
    return (width, height) == (recorded.width, recorded.height)


def is_outdated(out: Path, file: PictureFile) -> bool:
    """Whether the labels that are there are of other bytes than the picture has now, as far as both are known."""
    record = None if file.trouble else read_record(_path(out, file, ".json"))
    if record is None or record.picture.path != file.name or not record.picture.sha256:
        return False
    return file.digest() not in ("", record.picture.sha256)


def remove_outputs(out: Path, file: PictureFile) -> None:
    """Take away the three files of a picture, as far as they are there, the JSON first."""
    for suffix in OF_A_PICTURE:
        with suppress(OSError):
            _path(out, file, suffix).unlink()


def write_outputs(
    out: Path,
    file: PictureFile,
    picture: NDArray[np.uint8],
    labeled: LabeledImage,
    made_by: dict[str, Any],
    sha256: str = "",
) -> None:
    """Write the three files of a picture, each whole or not at all.

    Args:
        out: the folder of all labels.
        file: the picture's place and name.
        picture: uint8 [H, W, 3] RGB.
        labeled: its segments and their names.
        made_by: from `describe_run`.
        sha256: digest of the picture's bytes, in hexadecimal digits; empty where it is not known.

    Raises:
        PictureError: files cannot be called as the picture is.
        UserError: there can be no folder for them.
    """
    with _under_its_name(out, file):
        segments, names = labeled.segments, labeled.names
        mask = palette_mask(segments, names)
        overlay = Image.fromarray(draw_overlay(picture, segments, names, made_by["preset"]))
        info = PngImagePlugin.PngInfo()
        info.add_text(MARK, made_by["preset"])
        content = json.dumps(to_json(file.name, labeled, made_by, sha256), indent=1, ensure_ascii=False) + "\n"
        json_path = _path(out, file, ".json")
        with turn(out):
            json_path.unlink(missing_ok=True)  # never an old JSON beside new pictures
            write_bytes(_path(out, file, ".png"), file_bytes(mask, "PNG", pnginfo=info))
            write_bytes(_path(out, file, ".overlay.jpg"), file_bytes(overlay, "JPEG", quality=OVERLAY_QUALITY))
            write_bytes(json_path, content.encode())


@contextmanager
def _under_its_name(out: Path, file: PictureFile) -> Iterator[None]:
    """With a folder for a picture's files; those that are there go if it cannot have them under its name."""
    try:
        _make_folder(_path(out, file, ".json").parent)
        yield
    except OSError as error:
        if error.errno not in OF_A_NAME:
            raise
        remove_outputs(out, file)
        reason = f"no labels can be called {file.stem} ({error.strerror}); rename the picture"
        raise PictureError(f"{file.path}: {reason}") from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in OF_A_NAME:
            raise
        raise UserError(f"{folder}: no folder can be made ({error.strerror}); choose another --out") from error


def to_json(name: str, labeled: LabeledImage, made_by: dict[str, Any], sha256: str = "") -> dict[str, Any]:
    """The labels of a picture as `schema.json` describes them."""
    height, width = labeled.segments.size
    digest = {"sha256": sha256} if sha256 else {}
    return {
        "version": SCHEMA_VERSION,
        "picture": {"path": name, "width": width, "height": height, **digest},
        "made_by": made_by,
        "segments": regions_of(labeled.segments, labeled.labels),
    }


def file_bytes(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as the bytes of its file, from memory: in a file, Pillow cuts JPEG short where the disk is full."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _path(out: Path, file: PictureFile, suffix: str) -> Path:
    return out / f"{file.stem}{suffix}"
