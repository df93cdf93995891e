"""A file becomes pixels: uint8 [H, W, 3], RGB, upright. Hostile and odd files become one clear line instead."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from segmenter.errors import PictureError

MAX_PIXELS = 178_956_970  # where Pillow raises by default: twice the pixels that fill a quarter of a gigabyte as RGB
MAX_RATIO = 100  # encoders keep the aspect: a strip enlarged to their short side would have no end

# Raster formats only. Pillow would also hand EPS to Ghostscript, and guesses at formats without a signature.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Whites that numbers wider than a byte commonly count to, by kind of number. Integers always count to 16 bits: a
# dark 16-bit picture is not a bright 8-bit one, and Pillow opens some 16-bit files as 32-bit integers.
_WHITES = {"u": (65535.0,), "i": (65535.0,), "f": (1.0, 255.0, 65535.0)}


def load_picture(path: Path) -> npt.NDArray[np.uint8]:
    """Read a picture file as it is meant to be seen.

    The content decides what a file is, not its name. EXIF rotation is applied; transparency is laid over white; of
    animations and multi-page files the first picture is read; CMYK becomes RGB by Pillow's plain formula (colour
    profiles are not applied). Grey values wider than a byte are scaled to 0..255, never cut off: 16-bit integers
    from 0..65535, floats from 0..1, 0..255 or 0..65535, whichever is the first to hold them all, and whatever fits
    none of these from its own smallest and largest value.

    Args:
        path: a file in one of `FORMATS`.

    Returns:
        uint8 [H, W, 3], RGB, values 0 to 255, rows from the top.

    Raises:
        PictureError: not a regular file, not a picture, damaged or cut short, without pixels, more than `MAX_PIXELS`
            pixels, or one side more than `MAX_RATIO` times the other.
    """
    path = Path(path)
    try:
        if not path.is_file():  # also keeps a named pipe from waiting for ever
            found = "a link that leads to no file" if path.is_symlink() else "not a file"
            raise PictureError(f"{path}: {found}; give the path of a picture")
        # From an open file, not by name: by name, Pillow maps uncompressed pixels. It then mixes up the sides of turned
        # grey TIFF files, and a file that shrinks meanwhile kills the process.
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise PictureError(f"{path}: empty, 0 bytes; get the file again")
            return decode_picture(file, str(path))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def decode_picture(file: IO[bytes], name: str) -> npt.NDArray[np.uint8]:
    """Read a picture from an open file, as `load_picture` does.

    Args:
        file: its bytes, seekable.
        name: what it is called in messages.
    """
    with _explained(name), _opened(file) as opened:
        return picture_of(opened, name)


def picture_of(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of Pillow's picture, upright and in colours as `load_picture` has them: uint8 [H, W, 3].

    Args:
        image: the picture; its pixels may still have to be decoded.
        name: what it is called in messages.

    Raises:
        PictureError: it was closed, is damaged or cut short, or has a size that `load_picture` refuses.
    """
    with _explained(name):
        _check_size(name, *image.size)  # before any pixel is decoded
        image.load()
        turn = _turn(image)
        picture = _to_rgb(image)
        return np.array(picture if turn is None else picture.transpose(turn))


def _opened(file: IO[bytes]) -> Image.Image:
    """What `Image.open` gives, without its warning of large pictures, which is no news: sizes have a limit here.

    A warning can be kept back only for the whole process, whose other threads read pictures, too, or are the user's.

    Raises:
        UnidentifiedImageError: it is in none of `FORMATS`.
    """
    start = file.read(16)  # enough to tell any format by
    for factory, accept in map(Image.OPEN.__getitem__, _formats()):
        with suppress(SyntaxError, IndexError, TypeError, struct.error):  # what `Image.open` takes for another format
            if accept is None or accept(start) is True:  # a text says what this Pillow lacks
                file.seek(0)
                return factory(file, "")
    raise UnidentifiedImageError


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what Pillow raises into one line."""
    try:
        yield
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name}: not a picture this program reads ({', '.join(_formats())}); convert it or leave it out"
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: {_one_line(error)} scale it down first") from error
    except Exception as error:  # decoders meet hostile bytes with errors of nearly every type
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> PictureError:
    return PictureError(f"{name}: unreadable, damaged or cut short ({_one_line(error)}); get the file again")


def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow knows: AVIF is younger than the oldest one we allow."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_size(path: str, width: int, height: int) -> None:
    """Refuse sizes that no photograph has.

    Raises:
        PictureError: no pixels, too many, or far from any usual aspect.
    """
    short, long = sorted((width, height))
    if short < 1:
        raise PictureError(f"{path}: {width} x {height} pixels, so there is nothing to see; leave it out")
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{path}: {width} x {height} pixels, the limit is {MAX_PIXELS:,} in all; scale it down first"
        )
    if long > MAX_RATIO * short:
        raise PictureError(
            f"{path}: {width} x {height} pixels, one side may be {MAX_RATIO} times the other; cut it into pieces"
        )


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """The turn that EXIF asks for, None for upright. A broken EXIF block loses its turn, not the picture."""
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF is as hostile as any other bytes
        return None


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(_deep_to_grey(picture)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return picture.convert("RGB")


def _deep_to_grey(picture: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale grey values wider than a byte to 0..255: uint8 [H, W]. Not-a-number becomes black."""
    values = np.asarray(picture)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low >= 0:
        low, high = 0.0, next((white for white in _WHITES[values.dtype.kind] if high <= white), high)
    scaled = (values.astype(np.float32) - low) * (255 / ((high - low) or 1))
    grey: npt.NDArray[np.uint8] = (np.nan_to_num(scaled, posinf=255).clip(0, 255) + 0.5).astype(np.uint8)
    key = picture.info.get("transparency")
    if isinstance(key, int):  # the one value that a grey PNG declares to be clear
        grey[values == key] = 255
    return grey
