"""From a picture to the array that a network takes: whole patches, its own interpolation, its own mean and std."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from encoders.errors import EncoderError

SHORT_SIDE = 448  # pixels; what TAG and most training-free methods use
LONGEST = 4  # a grid is at most this many times as long as it is short


class Interpolation(Enum):
    """How pictures were resized when the weights were trained."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


_FILTERS = {
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
}


@dataclass(frozen=True)
class PixelSpec:
    """What belongs to the weights: values are resized by `interpolation`, then become `(value / 255 - mean) / std`.

    Attributes:
        mean: one number per channel, RGB, on the scale 0 to 1.
        std: one positive number per channel, RGB, on the scale 0 to 1.
        interpolation: the filter for resizing.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = Interpolation.BICUBIC

    @classmethod
    def parse(cls, mean: Sequence[float], std: Sequence[float], interpolation: str) -> "PixelSpec":
        """Reads the values of a model library's configuration.

        Raises:
            EncoderError: there are not three channels, a std is not positive, or the filter is not one of ours.
        """
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise EncoderError(f"mean {tuple(mean)} and std {tuple(std)}: expected three channels, std above 0")
        known = {each.value: each for each in Interpolation}
        if interpolation not in known:
            raise EncoderError(f"interpolation {interpolation!r}: expected one of {', '.join(known)}")
        return cls((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), known[interpolation])


def grid_size(height: int, width: int, short_side: int, patch: int) -> tuple[int, int]:
    """How many patches stand for a picture: (rows, cols), each at least 1.

    The short side gets `short_side / patch` patches, rounded; the long side as many as keep the aspect best. A
    picture more than four times as long as it is short is squeezed to four times, because attention costs the
    square of the number of patches and a panorama must not cost more than memory holds.

    Args:
        height: pixels, at least 1.
        width: pixels, at least 1.
        short_side: pixels that the short side should have after resizing.
        patch: pixels along the side of one patch.

    Raises:
        ValueError: an argument is below 1.

    >>> grid_size(480, 640, short_side=448, patch=14)
    (32, 43)
    >>> grid_size(500, 9000, short_side=448, patch=16)
    (28, 112)
    """
    if min(height, width, short_side, patch) < 1:
        raise ValueError(f"picture {height}x{width}, short side {short_side}, patch {patch}: all must be at least 1")
    short = max(1, _rounded(short_side, patch))
    long = min(_rounded(short * max(height, width), min(height, width)), LONGEST * short)
    return (short, long) if height <= width else (long, short)


def _rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number, halves up, in exact arithmetic: a grid never hangs on the last bit of a float."""
    return (2 * numerator + denominator) // (2 * denominator)


def to_network_input(
    picture: NDArray[np.uint8], rows: int, cols: int, patch: int, pixels: PixelSpec
) -> NDArray[np.float32]:
    """Resizes a picture to whole patches and normalises it.

    Args:
        picture: uint8 [H, W, 3], RGB, values 0 to 255.
        rows: patches from top to bottom.
        cols: patches from left to right.
        patch: pixels along the side of one patch.
        pixels: what belongs to the weights.

    Returns:
        float32 [3, rows * patch, cols * patch], contiguous; about -3 to 3.

    Raises:
        ValueError: the picture has another layout or dtype, or no pixels.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
        raise ValueError(f"picture is {picture.dtype} {list(picture.shape)}, expected uint8 [H, W, 3]")
    # PIL's filters widen when they shrink a picture, so nothing aliases; the training code of both libraries used them.
    resized = Image.fromarray(picture).resize((cols * patch, rows * patch), resample=_FILTERS[pixels.interpolation])
    unit = np.asarray(resized, dtype=np.float32) / np.float32(255)
    normalised = (unit - np.array(pixels.mean, np.float32)) / np.array(pixels.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))
