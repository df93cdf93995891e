"""What every data set gives: pictures, and for each one what stands where."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.classes import Classes
from evaluation.errors import DatasetError

VOID = 255
"""A pixel that nobody can be held to: ambiguous, on a border, or not annotated."""

OTHER = 254
"""A pixel that was annotated as none of the classes, where that is no class itself. Ignored by everything that is
counted over the whole data set; the measures of single pictures say what they do with it."""

MAX_CLASSES = OTHER
"""A label map numbers classes from 0 and keeps the two numbers above for itself."""

SAFE_ID = re.compile(r"[\w\-. ()+]+(/[\w\-. ()+]+)*")
"""Ids name files that are written, and some are read from text files."""


@dataclass(frozen=True)
class Item:
    """One annotated picture.

    Attributes:
        id: its name in the data set; what is written about it is called so, too.
        picture: the photograph.
        truth: its annotation.
    """

    id: str
    picture: Path
    truth: Path

    def __post_init__(self) -> None:
        if not SAFE_ID.fullmatch(self.id) or ".." in self.id.split("/"):
            raise DatasetError(f"{self.picture}: {self.id!r} is no name for a picture; letters, digits, - _ . ( ) +")


@dataclass(frozen=True)
class Dataset:
    """Annotated pictures of one list of classes.

    Attributes:
        name: what was asked for.
        layout: which arrangement of folders was found, for the outputs.
        classes: C classes.
        items: sorted as the data set's own list has them, or by id.
        decode: annotation file -> int32 [H, W], values 0 to C - 1, `OTHER` or `VOID`.
        excuses_other: whether the measures of single pictures forgive a class that is absent where it lies on `OTHER`,
            as Zero-guidance's do on VOC.
    """

    name: str
    layout: str
    classes: Classes
    items: tuple[Item, ...]
    decode: Callable[[Path], NDArray[np.int32]]
    excuses_other: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) > MAX_CLASSES:
            raise DatasetError(f"{self.name}: {len(self.classes)} classes, a label map numbers {MAX_CLASSES} at most")

    def truth(self, item: Item) -> NDArray[np.int32]:
        """What stands where: int32 [H, W], values 0 to C - 1, `OTHER` or `VOID`.

        Raises:
            DatasetError: the annotation cannot be read, or holds what this data set does not have.
        """
        return self.decode(item.truth)
