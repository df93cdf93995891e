"""A labelled picture, and what can be made of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labeler.drawing import draw_overlay
from labeler.inputs import to_pixels
from labeler.labels import Label
from labeler.notebook import show, to_html
from labeler.regions import palette_mask, regions_of, to_annotation
from segmenter import Segments


@dataclass(frozen=True)
class LabeledImage:
    """A picture, outlined and named: segment i + 1 of the label map has `labels[i]`.

    Attributes:
        segments: the label map [H, W] and what follows from it.
        labels: one for each segment.
        picture: what was labelled, uint8 [H, W, 3] RGB, for drawing on; None where it is not at hand.

    >>> from labeler.labels import Name
    >>> from segmenter import relabel
    >>> said = [Label(Name(name, 0.9), (), ()) for name in ("sky", "sea")]
    >>> labeled = LabeledImage(relabel(np.array([[0, 0], [0, 0], [1, 1]])), tuple(said))
    >>> labeled.names, labeled.mask(1).sum()
    (('sky', 'sea'), np.int64(2))
    >>> labeled.overlay(np.zeros((3, 2, 3), np.uint8)).size
    (2, 3)
    >>> [(each["category_id"], each["area"]) for each in labeled.to_coco()["annotations"]]
    [(2, 4), (1, 2)]
    """

    segments: Segments
    labels: tuple[Label, ...]
    picture: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.labels) != self.segments.count:
            raise ValueError(f"{len(self.labels)} labels for {self.segments.count} segments")

    def __repr__(self) -> str:
        height, width = self.segments.size
        return f"LabeledImage({height} x {width} pixels: {', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The words chosen, in the order of the labels."""
        return tuple(label.name.label for label in self.labels)

    def mask(self, i: int) -> NDArray[np.bool_]:
        """The pixels of `names[i]`: bool [H, W].

        Raises:
            ValueError: there is no such name; they count from 0.
        """
        if not 0 <= i < len(self.labels):
            raise ValueError(f"there is no segment {i}; they count from 0, to {len(self.labels) - 1} here")
        return self.segments.mask(i + 1)

    def overlay(self, picture: NDArray[np.uint8] | Image.Image | Path | str | None = None) -> Image.Image:
        """Segments and names drawn over the picture, as a picture of Pillow's.

        Args:
            picture: what was labelled, where this object does not hold it: uint8 [H, W, 3] RGB, a picture of Pillow's,
                or the path of a file.

        Raises:
            ValueError: there is no picture, or it has another size than what was labelled.
        """
        if picture is None:
            picture = self.picture
        if picture is None:
            raise ValueError("these labels came without their picture; give it: overlay(picture)")
        pixels = to_pixels(picture)
        if pixels.shape[:2] != self.segments.size:
            raise ValueError(f"the picture is {list(pixels.shape[:2])}, but {list(self.segments.size)} was labelled")
        return Image.fromarray(draw_overlay(pixels, self.segments, self.names))

    def show(self, picture: NDArray[np.uint8] | Image.Image | Path | str | None = None) -> None:
        """Show the overlay: below the cell in a notebook, else in the viewer that Pillow finds.

        Args:
            picture: as for `overlay`.

        Raises:
            ValueError: as for `overlay`.
            UserError: there is no viewer on this machine.
        """
        show(self.overlay(picture))

    def to_coco(self, file_name: Path | str = "") -> dict[str, Any]:
        """The segments as a COCO data set of one picture, with masks as RLE: what JSON can hold.

        Categories are the labels, numbered from 1 in alphabetical order; an annotation's id is its segment's number.

        Args:
            file_name: where the picture is, for `images`; a path becomes a string with forward slashes.
        """
        height, width = self.segments.size
        categories = {name: number for number, name in enumerate(sorted(set(self.names)), start=1)}
        name = file_name.as_posix() if isinstance(file_name, Path) else file_name
        return {
            "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
            "annotations": [
                {"id": region["id"], "image_id": 1, **to_annotation(region, categories[region["label"]])}
                for region in regions_of(self.segments, self.labels)
            ],
            "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()],
        }

    def _repr_html_(self) -> str:
        """What notebooks show: the overlay, or the mask in the labels' colours, and a table of names."""
        picture = palette_mask(self.segments, self.names) if self.picture is None else self.overlay()
        return to_html(picture, self.segments, self.labels)
