"""Outlines that follow the picture: score maps filtered with the picture as their guide.

K. He, J. Sun and X. Tang, "Guided Image Filtering", TPAMI 35 (2013): within every small window, a score is taken to be
a linear function of colour, a . colour + b, fitted by least squares with a penalty on a. K. He and J. Sun, "Fast Guided
Filter", arXiv 1505.00996: the fits are made on a reduced picture and only a and b are brought to full size.

It measured better than the fully connected CRF on superpixels, at a tenth of its time: `benchmarks/edges.py`.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from segmenter.upsample import axis_weights, nearest_labels, upsample

Floats = npt.NDArray[np.float32]

PER_CELL = 2  # pixels of the reduced picture along a cell
RADIUS = 2  # a window reaches one cell to each side
PENALTY = 1e-4  # on a, for colours from 0 to 1
WORK_PIXELS = 448 * 672  # larger pictures are outlined at this many pixels
BAND = 32  # rows in work at a time
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
    work = _at_most(picture, WORK_PIXELS)
    small = _resize(picture, min(PER_CELL * scores.shape[0], height), min(PER_CELL * scores.shape[1], width))
    maps = upsample(scores, *small.shape[:2])  # float32 [h, w, k]
    slopes, offsets = linear_fits(_colours(small), maps, RADIUS, PENALTY)
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
    down, across = _matrix(height, rows), _matrix(width, cols).T  # U along y: [H, h], and along x, transposed: [w, W]
    winner = np.empty((height, width), dtype=np.int32)
    for top in range(0, height, BAND):
        band = slice(top, top + BAND)
        lines = down[band] @ fits  # float32 [k, 4, band, w]
        winner[band], best = _band_argmax(guide[band], lines, across, nothing=NOTHING)
        if best.min() <= 4 * NOTHING:  # where all maps are low, one that was left out may win after all
            winner[band], _ = _band_argmax(guide[band], lines, across, nothing=-1)
    return winner


def _band_argmax(guide: Floats, lines: Floats, across: Floats, nothing: float) -> tuple[npt.NDArray[np.int32], Floats]:
    """`linear_argmax` for some rows, and how great the greatest is, leaving out of each map where it is zero.

    Args:
        guide: float32 [band, W, 3].
        lines: float32 [k, 4, band, w].
        across: float32 [w, W].
        nothing: what counts as zero; most maps of regions are zero nearly everywhere.
    """
    best = np.full(guide.shape[:2], -np.inf, dtype=np.float32)
    winner = np.zeros(guide.shape[:2], dtype=np.int32)
    for number, fit in enumerate(lines):
        cells = np.flatnonzero((np.abs(fit) > nothing).any(axis=(0, 1)))
        pixels = np.flatnonzero(across[cells].any(axis=0))
        if pixels.size == 0:
            continue
        span = slice(pixels[0], pixels[-1] + 1)
        lifted = fit @ across[:, span]  # float32 [4, band, span]
        score = lifted[3]
        for channel in range(3):
            score += lifted[channel] * guide[:, span, channel]
        np.copyto(winner[:, span], number, where=score > best[:, span])
        np.maximum(best[:, span], score, out=best[:, span])
    return winner, best


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


def _at_most(picture: npt.NDArray[np.uint8], pixels: int) -> npt.NDArray[np.uint8]:
    """The picture, reduced if it has more pixels."""
    height, width = picture.shape[:2]
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return picture if scale == 1 else _resize(picture, max(1, round(height * scale)), max(1, round(width * scale)))


def _resize(picture: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


def _colours(picture: npt.NDArray[np.uint8]) -> Floats:
    """Colours from 0 to 1."""
    return picture.astype(np.float32) / np.float32(255)
