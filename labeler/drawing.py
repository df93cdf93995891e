"""The overlay: segments tinted and outlined in their label's colour, the label written where there is most room."""

import colorsys
import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from encoders.presets import UNTRAINED
from labeler.labeled import LabeledImage

TINT = 0.35
"""Share of the label's colour in a segment's pixels: the picture stays readable."""

SMALLEST_NAMED = 0.004
"""Segments below this share of the picture are outlined but not written on."""

ROOM_GRID = 64
"""Cells of the grid on which the roomiest place is looked for."""

Colour = tuple[int, int, int]


def colour_of(label: str) -> Colour:
    """A label's colour, the same in every picture: red, green, blue, 0 to 255.

    >>> colour_of("grass") == colour_of("grass")
    True
    """
    digest = hashlib.sha256(label.encode()).digest()
    hue, lightness = digest[0] / 255, 0.45 + 0.2 * digest[1] / 255
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_overlay(picture: NDArray[np.uint8], labeled: LabeledImage, preset: str) -> NDArray[np.uint8]:
    """Draw segments and names over a picture.

    Args:
        picture: uint8 [H, W, 3] RGB.
        labeled: its segments and names.
        preset: written along the bottom if its networks are untrained, so that nobody takes the names for real.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    label_map = labeled.segments.label_map
    colours = np.array([(0, 0, 0), *(colour_of(label.name.label) for label in labeled.labels)], np.float32)
    tinted = picture * (1 - TINT) + colours[label_map] * TINT
    edges = outline(label_map)
    tinted[edges] = colours[label_map[edges]]
    canvas = Image.fromarray(tinted.astype(np.uint8))
    _write_names(canvas, labeled)
    if preset == UNTRAINED:
        _write_banner(canvas, "untrained networks: names mean nothing")
    return np.asarray(canvas)


def outline(label_map: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels that have another segment to their right or below, bool [H, W]."""
    edges = np.zeros(label_map.shape, np.bool_)
    edges[:, :-1] |= label_map[:, :-1] != label_map[:, 1:]
    edges[:-1] |= label_map[:-1] != label_map[1:]
    return edges


def roomiest_place(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """The point of a mask that is farthest from its edges on a coarse grid: x, y in pixels.

    The mask is eroded until the next erosion would leave nothing; the first survivor in raster order is the place.
    """
    step = max(1, -(-max(mask.shape) // ROOM_GRID))
    cells = np.pad(mask[step // 2 :: step, step // 2 :: step], 1)
    if not cells.any():
        y, x = np.argwhere(mask)[0]
        return int(x), int(y)
    while (smaller := _eroded(cells)).any():
        cells = smaller
    y, x = np.argwhere(cells)[0] - 1
    return int(x * step + step // 2), int(y * step + step // 2)


def _eroded(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = cells.copy()
    inner[1:] &= cells[:-1]
    inner[:-1] &= cells[1:]
    inner[:, 1:] &= cells[:, :-1]
    inner[:, :-1] &= cells[:, 1:]
    return inner


def _write_names(canvas: Image.Image, labeled: LabeledImage) -> None:
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(10, min(canvas.size) // 28))
    smallest = SMALLEST_NAMED * canvas.width * canvas.height
    for number, label in enumerate(labeled.labels, start=1):
        if labeled.segments.areas[number - 1] >= smallest:
            place = roomiest_place(labeled.segments.mask(number))
            draw.text(place, label.name.label, "white", font, anchor="mm", stroke_width=2, stroke_fill="black")


def _write_banner(canvas: Image.Image, text: str) -> None:
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(max(10, min(canvas.size) // 24))
    top = canvas.height - max(14, min(canvas.size) // 16)
    draw.rectangle((0, top, canvas.width, canvas.height), fill="black")
    draw.text((canvas.width // 2, (top + canvas.height) // 2), text, "yellow", font, anchor="mm")
