"""The overlay: segments tinted and outlined in their label's colour, names where they have room and cover no other."""

import colorsys
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from encoders.presets import UNTRAINED
from labeler.lettering import family_for
from labeler.placing import Place, place_names
from segmenter import Segments

TINT = 0.35
"""Share of the label's colour in a segment's pixels: the picture stays readable."""

PLATE_LIGHTNESS = 0.22
"""Of the plates that names stand on: white on any of them has a contrast of 4.5 or more, as WCAG asks for."""

PIXELS_PER_LINE = 250
"""Pixels of a picture's short side for each pixel of an outline's width, which is at least one."""

PIXELS_AT_A_TIME = 1 << 16
"""Tinted together: what is computed of them stays in a processor's cache."""

TEXT_SHARE = 1 / 26
"""Height of the largest names over a picture's short side."""

SMALLEST_TEXT = 10
"""Pixels: what is smaller cannot be read."""

Colour = tuple[int, int, int]


def colour_of(label: str) -> Colour:
    """A label's colour, the same in every picture: red, green, blue, 0 to 255.

    >>> colour_of("grass") == colour_of("grass")
    True
    """
    digest = hashlib.sha256(label.encode()).digest()
    hue, lightness = digest[0] / 255, 0.45 + 0.2 * digest[1] / 255
    return _rgb(hue, lightness)


def plate_of(label: str) -> Colour:
    """The dark colour that a label's name stands on: of the same hue."""
    return _rgb(hashlib.sha256(label.encode()).digest()[0] / 255, PLATE_LIGHTNESS)


def draw_overlay(
    picture: NDArray[np.uint8], segments: Segments, names: Sequence[str], preset: str = ""
) -> NDArray[np.uint8]:
    """Draw segments and names over a picture.

    Args:
        picture: uint8 [H, W, 3] RGB.
        segments: S segments of it.
        names: of each.
        preset: written along the bottom if its networks are untrained, so that nobody takes the names for real.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    label_map = segments.label_map
    colours = np.array([(0, 0, 0), *map(colour_of, names)], np.float32)
    tinted = _tint(picture, label_map, colours)
    edges = outline(label_map, max(1, round(min(label_map.shape) / PIXELS_PER_LINE)))
    tinted[edges] = colours[label_map[edges]]
    canvas = Image.fromarray(tinted)
    _write_names(canvas, segments, names)
    if preset == UNTRAINED:
        _write_banner(canvas, "untrained networks: names mean nothing")
    return np.asarray(canvas)


def _tint(picture: NDArray[np.uint8], label_map: NDArray[np.int32], colours: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Every pixel with a share of its segment's colour: uint8 [H, W, 3].

    In bands of rows, because the sums are floats, of eight bytes for each of the picture's.
    """
    tinted, tints = np.empty_like(picture), colours * TINT
    rows = max(1, PIXELS_AT_A_TIME // label_map.shape[1])
    for top in range(0, len(label_map), rows):
        band = slice(top, top + rows)
        tinted[band] = picture[band] * (1 - TINT) + tints[label_map[band]]
    return tinted


def outline(label_map: NDArray[np.int32], width: int = 1) -> NDArray[np.bool_]:
    """Pixels with another segment to their right or below, and more on both sides for wider lines: bool [H, W].

    Args:
        label_map: int32 [H, W].
        width: of the lines, in pixels.
    """
    edges = np.zeros(label_map.shape, np.bool_)
    edges[:, :-1] |= label_map[:, :-1] != label_map[:, 1:]
    edges[:-1] |= label_map[:-1] != label_map[1:]
    for step in range(1, width):
        edges = _shifted_onto(edges, 1 if step % 2 else -1)
    return edges


def _shifted_onto(edges: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Lines a pixel wider, to the right and below if `by` is 1, to the left and above if -1."""
    wider = edges.copy()
    to, of = (slice(1, None), slice(None, -1)) if by > 0 else (slice(None, -1), slice(1, None))
    wider[:, to] |= edges[:, of]
    wider[to] |= edges[of]
    wider[to, to] |= edges[of, of]
    return wider


def _write_names(canvas: Image.Image, segments: Segments, names: Sequence[str]) -> None:
    """Names on plates of their colour: as large as they fit, or left out where they would cover too much.

    So is a name with a letter that no font at hand has.
    """
    largest = max(SMALLEST_TEXT, round(min(canvas.size) * TEXT_SHARE))
    sizes = sorted({largest, max(SMALLEST_TEXT, round(largest * 0.75)), SMALLEST_TEXT}, reverse=True)
    families = {name: family_for(name) for name in names}
    fonts = {family: [family(size) for size in sizes] for family in families.values() if family}
    choices = [[] if family is None else fonts[family] for family in map(families.get, names)]
    boxes = [[_plate_size(font, name) for font in each] for name, each in zip(names, choices, strict=True)]
    draw = ImageDraw.Draw(canvas)
    for place in place_names(segments.label_map, boxes):
        _write(draw, place, names[place.row], choices[place.row][place.choice])


def _write(draw: ImageDraw.ImageDraw, place: Place, name: str, font: ImageFont.FreeTypeFont) -> None:
    x, y, width, height = place.box
    draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), height // 5, plate_of(name))
    draw.text((x + width / 2, y + height / 2), name, "white", font, anchor="mm")


def _plate_size(font: ImageFont.FreeTypeFont, name: str) -> tuple[int, int]:
    """Width and height in pixels of a name with a margin around it."""
    margin = max(2, round(font.size / 4))
    return round(font.getlength(name)) + 2 * margin, sum(font.getmetrics()) + margin


def _rgb(hue: float, lightness: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def _write_banner(canvas: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(10, min(canvas.size) // 24))
    top = canvas.height - max(14, min(canvas.size) // 16)
    draw.rectangle((0, top, canvas.width, canvas.height), fill="black")
    draw.text((canvas.width // 2, (top + canvas.height) // 2), text, "yellow", font, anchor="mm")
