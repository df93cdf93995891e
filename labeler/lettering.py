"""In which font a name is written: Pillow's own, or where that lacks a letter, the one in this package.

Pillow's has the letters of English alone. A name that neither can write is better left out than drawn as empty boxes.
"""

import io
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from PIL import ImageFont

NO_CHARACTER = "\uffff"
"""Unicode promises that it never becomes one, so a font draws it as it draws what it lacks."""

COMPARED = 32
"""Size in pixels at which the drawings of letters are compared."""

Family = Callable[[int], ImageFont.FreeTypeFont]


def family_for(name: str) -> Family | None:
    """The first font that has all letters of a name, for every size; None if none has.

    >>> [family_for(name) is not None for name in ("grass", "Straße", "犬")]
    [True, True, False]
    """
    return next((family for family in FAMILIES if all(_has(family, letter) for letter in set(name))), None)


def pillows(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, in pixels."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType, which writes names of any size; install Pillow's own wheel")
    return font


def packaged(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, in pixels: Latin, Greek and Cyrillic letters."""
    return ImageFont.truetype(io.BytesIO(files("labeler").joinpath("font/DejaVuSans.ttf").read_bytes()), size)


FAMILIES: tuple[Family, ...] = (pillows, packaged)


@cache
def _has(family: Family, letter: str) -> bool:
    font = family(COMPARED)
    return _drawing(font, letter) != _drawing(font, NO_CHARACTER)


def _drawing(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
