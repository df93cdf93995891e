"""Pictures in, outlined and named regions out: the only place where segments and captions meet.

    from labeler import Labeler

    labeler = Labeler.open("shards/")      # options as the command's flags: method="tag", device="cuda"
    labeled = labeler.label("street.jpg")  # or a uint8 array [H, W, 3], or a picture of Pillow's
    labeled.names                          # ('sky', 'brick wall', ...)
    labeled.mask(0)                        # bool [H, W], the pixels of names[0]
    labeled.labels[0].evidence             # the captions that spoke for it
    labeled.overlay().save("seen.png")     # outlined and named, a picture of Pillow's
    labeled.to_coco("street.jpg")          # a COCO data set of one picture

    for labeled in labeler.label_many(["street.jpg", "garden.jpg"]):
        print(labeled.names)

`labeled.show()` opens the overlay in a viewer; a notebook shows it by itself. Nothing is loaded before it is asked for,
so that a command's help comes at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labeler.config import LabelerConfig
    from labeler.labeled import LabeledImage
    from labeler.labels import Evidence, Label, Name
    from labeler.methods import Method
    from labeler.pipeline import Labeler, label_picture
    from segmenter import PictureError

__all__ = [
    "Evidence",
    "Label",
    "LabeledImage",
    "Labeler",
    "LabelerConfig",
    "Method",
    "Name",
    "PictureError",
    "label_picture",
]

_HOMES = {
    "LabeledImage": "labeler.labeled",
    "LabelerConfig": "labeler.config",
    "Labeler": "labeler.pipeline",
    "Method": "labeler.methods",
    "PictureError": "segmenter.errors",
    "label_picture": "labeler.pipeline",
}
"""The files of the names above; the others are in `labels`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "labeler.labels")), name)
