"""Annotation files to label maps: numbers, colours, or MATLAB's matrices."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.datasets.dataset import OTHER, VOID
from evaluation.errors import DatasetError

UNEXPECTED = -1
"""In a table of numbers: the data set does not have this one."""

Decoder = Callable[[Path], NDArray[np.int32]]


def number_table(
    classes: Mapping[int, int], *, other: Sequence[int] = (), void: Sequence[int] = ()
) -> NDArray[np.int32]:
    """Which class each number of an annotation stands for.

    Args:
        classes: number in the file -> class.
        other: numbers in the file that mean none of the classes.
        void: numbers in the file that nobody is held to.

    Returns:
        int32 [256 or more]; `UNEXPECTED` for the rest.
    """
    table = np.full(max(255, *classes, *other, *void) + 1, UNEXPECTED, np.int32)
    table[list(classes)] = list(classes.values())
    table[list(other)] = OTHER
    table[list(void)] = VOID
    return table


def numbered(table: NDArray[np.int32]) -> Decoder:
    """A decoder of pictures whose pixels are numbers."""
    return lambda path: _look_up(path, _read_numbers(path), table)


def coloured(colours: Mapping[tuple[int, int, int], int], *, void: tuple[int, int, int]) -> Decoder:
    """A decoder of pictures whose pixels are colours: red, green, blue -> class."""
    packed = {_pack(*colour): number for colour, number in colours.items()} | {_pack(*void): VOID}
    known = np.array(sorted(packed))
    values = np.array([packed[colour] for colour in known.tolist()], np.int32)

    def decode(path: Path) -> NDArray[np.int32]:
        picture = np.asarray(_open(path).convert("RGB")).astype(np.int64)
        flat = picture @ np.array([1 << 16, 1 << 8, 1])
        places = np.searchsorted(known, flat).clip(max=len(known) - 1)
        foreign = known[places] != flat
        if foreign.any():
            red, green, blue = picture[foreign][0].tolist()
            raise DatasetError(f"{path}: the colour {red}, {green}, {blue} stands for no class of this data set")
        return values[places]

    return decode


def matlab(variable: str, table: NDArray[np.int32]) -> Decoder:
    """A decoder of `.mat` files that hold a matrix of numbers."""

    def decode(path: Path) -> NDArray[np.int32]:
        from scipy.io import loadmat  # slow to import, and only this layout needs it

        try:
            numbers = loadmat(path, variable_names=[variable])[variable]
        except Exception as error:  # scipy meets damaged files with errors of many types
            raise DatasetError(
                f"{path}: no matrix {variable} can be read from it ({error}); get the file again"
            ) from error
        return _look_up(path, np.asarray(numbers, np.int64), table)

    return decode


def _look_up(path: Path, numbers: NDArray[np.int64], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Replace numbers by classes.

    Raises:
        DatasetError: there are numbers that the data set does not have.
    """
    known = (numbers >= 0) & (numbers < len(table))
    label_map = table[np.where(known, numbers, 0)]
    foreign = ~known | (label_map == UNEXPECTED)
    if foreign.any():
        found = ", ".join(map(str, np.unique(numbers[foreign])[:5].tolist()))
        expected = np.flatnonzero(table != UNEXPECTED)
        raise DatasetError(
            f"{path}: holds {found}, this data set has {expected[0]} to {expected[expected < VOID][-1]} and {VOID}; "
            "is it another data set's, or a picture of the annotation?"
        )
    return label_map


def _read_numbers(path: Path) -> NDArray[np.int64]:
    """The numbers in a grey or palette picture: int64 [H, W]."""
    numbers = np.asarray(_open(path))
    if numbers.ndim != 2 or numbers.dtype.kind not in "uib":
        raise DatasetError(
            f"{path}: has channels {list(numbers.shape)} of {numbers.dtype}; expected one number a pixel"
        )
    return numbers.astype(np.int64)


def _open(path: Path) -> Image.Image:
    try:
        with path.open("rb") as file, Image.open(file) as opened:
            opened.load()
            return opened
    except Exception as error:  # decoders meet damaged bytes with errors of nearly every type
        raise DatasetError(f"{path}: cannot be read as an annotation ({error}); get the file again") from error


def _pack(red: int, green: int, blue: int) -> int:
    return red << 16 | green << 8 | blue
