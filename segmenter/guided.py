"""Outlines that follow the picture: score maps filtered with the picture as their guide.

K. He, J. Sun and X. Tang, "Guided Image Filtering", TPAMI 35 (2013): within every small window, a score is taken to be
a linear function of colour, a . colour + b, fitted by least squares with a penalty on a. K. He and J. Sun, "Fast Guided
Filter", arXiv 1505.00996: the fits are made on a reduced picture and only a and b are brought to full size.

It measured better than the fully connected CRF on superpixels, at a tenth of its time: `benchmarks/edges.py`.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from segmenter.upsample import axis_weights, nearest_labels, upsample

Floats = npt.NDArray[np.float32]

PER_CELL = 2  # pixels of the reduced picture along a cell
RADIUS = 2  # a window reaches one cell to each side
PENALTY = 1e-4  # on a, for colours from 0 to 1
LEAST_PIXELS, MOST_PIXELS = 40_000, 448 * 672  # pictures are halved, or reduced further, to so many to be outlined
TILE = (64, 128)  # rows and columns in work at a time: few maps reach into one, and a processor's cache holds it
NOTHING = 1e-6  # a and b below this are what rounding leaves of zero


def guided_argmax(picture: npt.NDArray[np.uint8], scores: Floats) -> npt.NDArray[np.int32]:
    """Filter k score maps with the picture as the guide, and say which one wins at each pixel.

    Args:
        picture: uint8 [H, W, 3], RGB.
        scores: float32 [rows, cols, k], finite.

    Returns:
        int32 [H, W], values 0 to k - 1, the first of those that tie.
    """
    height, width = picture.shape[:2]
    work = _reduced(picture)
    small = _resize(work, min(PER_CELL * scores.shape[0], height), min(PER_CELL * scores.shape[1], width))
    maps = upsample(scores, *small.shape[:2])  # float32 [h, w, k]
    slopes, offsets = linear_fits(np.ascontiguousarray(_colours(small)), maps, RADIUS, PENALTY)
    return nearest_labels(linear_argmax(_colours(work), slopes, offsets), height, width)


def linear_fits(guide: Floats, maps: Floats, radius: int, penalty: float) -> tuple[Floats, Floats]:
    """How each map depends on colour, averaged over the windows that hold a pixel.

    In the window around each pixel, a = (covariance of colours + penalty)^-1 covariance of colours and map, and
    b = mean of the map - a . mean colour. Beyond its rim a picture continues mirrored.

    Args:
        guide: float32 [h, w, 3], 0 to 1.
        maps: float32 [h, w, k].
        radius: a window is a square of 2 * radius + 1 pixels.
        penalty: more than 0; the larger, the less maps follow colours.

    Returns:
        a, float32 [h, w, 3, k], and b, float32 [h, w, k]; the filtered map is a . colour + b.
    """
    colour, level = _box(guide, radius), _box(maps, radius)  # means over windows
    spread = _box(guide[..., :, None] * guide[..., None, :], radius) - colour[..., :, None] * colour[..., None, :]
    common = _box(guide[..., :, None] * maps[..., None, :], radius) - colour[..., :, None] * level[..., None, :]
    spread += np.float32(penalty) * np.eye(3, dtype=np.float32)
    inverse = np.linalg.inv(spread).astype(np.float32, copy=False)
    slopes = inverse @ common  # float32 [h, w, 3, k]
    offsets = level - (colour[..., None, :] @ slopes)[..., 0, :]
    return _box(slopes, radius), _box(offsets, radius)


def linear_argmax(guide: Floats, slopes: Floats, offsets: Floats) -> npt.NDArray[np.int32]:
    """Which of k maps, a . colour + b with a and b upsampled, is greatest at each pixel.

    Args:
        guide: float32 [H, W, 3], 0 to 1.
        slopes: a, float32 [h, w, 3, k].
        offsets: b, float32 [h, w, k].

    Returns:
        int32 [H, W], values 0 to k - 1, the first of those that tie.
    """
    height, width, _ = guide.shape
    rows, cols, _ = offsets.shape
    fits = np.concatenate([slopes, offsets[:, :, None]], axis=2).transpose(3, 2, 0, 1)  # float32 [k, 4, h, w]
    fits = np.ascontiguousarray(fits)
    planes = np.ascontiguousarray(guide.transpose(2, 0, 1))  # float32 [3, H, W]; a view of what `_colours` gives
    down, across = _matrix(height, rows), _matrix(width, cols).T  # U along y: [H, h], and along x, transposed: [w, W]
    there = (np.abs(fits) > NOTHING).any(axis=1)  # bool [k, h, w]; most maps of regions are zero nearly everywhere
    winner = np.empty((height, width), dtype=np.int32)
    for band in _slices(height, TILE[0]):
        lines = down[band] @ fits  # float32 [k, 4, band, w]
        near = there[:, _span(down[band].any(axis=0))].any(axis=1)  # bool [k, w]
        for tile in _slices(width, TILE[1]):
            cells = _span(across[:, tile].any(axis=1))
            part = planes[:, band, tile], lines[..., cells], across[cells, tile]
            winner[band, tile], best = _tile_argmax(*part, np.flatnonzero(near[:, cells].any(axis=1)))
            if best.min() <= 4 * NOTHING:  # where all maps are low, one that was left out may win after all
                winner[band, tile], _ = _tile_argmax(*part, np.arange(len(fits)))
    return winner


def _tile_argmax(
    planes: Floats, lines: Floats, across: Floats, maps: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int32], Floats]:
    """`linear_argmax` for a part of the picture and some of the maps, and how great the greatest is.

    Args:
        planes: float32 [3, T, L], the guide.
        lines: float32 [k, 4, T, c], the fits at the tile's rows and the cells that reach into its columns.
        across: float32 [c, L].
        maps: numbers of the maps, ascending.
    """
    best = np.full(planes.shape[1:], -np.inf, dtype=np.float32)
    winner = np.zeros(planes.shape[1:], dtype=np.int32)
    for number in maps:
        lifted = lines[number] @ across  # float32 [4, T, L]
        lifted[:3] *= planes
        score = lifted.sum(axis=0)
        np.copyto(winner, number, where=score > best)
        np.maximum(best, score, out=best)
    return winner, best


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, length, step)]


def _span(flags: Any) -> slice:
    """From the first flag that is set to the last; at least one is: bool [n]."""
    return slice(int(flags.argmax()), len(flags) - int(flags[::-1].argmax()))


def _matrix(pixels: int, cells: int) -> Floats:
    """U along one axis: float32 [pixels, cells]."""
    lower, upper, fraction = axis_weights(pixels, cells)
    matrix = np.zeros((pixels, cells), dtype=np.float32)
    place = np.arange(pixels)
    matrix[place, lower] = 1 - fraction
    matrix[place, upper] += fraction
    return matrix


def _box(values: Floats, radius: int) -> Floats:
    """The mean over a square window around each pixel: float32 [h, w, ...]."""
    from scipy.ndimage import uniform_filter  # not loaded for --help

    mean: Floats = uniform_filter(values, 2 * radius + 1, axes=(0, 1))
    return mean


def _reduced(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The picture, its sides divided by a whole number: 2 or more where that leaves enough pixels, 1 elsewhere.

    Half the resolution measured no worse than all of it: by `benchmarks/edges.py`, 50 pictures of VOC have a boundary F
    of 0.746 instead of 0.743, and an IoU of 0.940 instead of 0.941.
    """
    pixels = picture.shape[0] * picture.shape[1]
    factor = max(1 + (pixels >= 4 * LEAST_PIXELS), math.ceil((pixels / MOST_PIXELS) ** 0.5))
    return picture if factor == 1 else np.asarray(Image.fromarray(picture).reduce(factor))


def _resize(picture: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def _colours(picture: npt.NDArray[np.uint8]) -> Floats:
    """Colours from 0 to 1: float32 [h, w, 3], plane by plane in memory, which is how they are needed."""
    planes = np.empty((3, *picture.shape[:2]), dtype=np.float32)
    np.divide(picture.transpose(2, 0, 1), np.float32(255), out=planes)
    return planes.transpose(1, 2, 0)
