"""Pictures in, outlined and named regions out: the only place where segments and captions meet.

    from labeler import Labeler

    labeler = Labeler.open("shards/")
    labeled = labeler.label("street.jpg")  # or a uint8 array [H, W, 3], or a picture of Pillow's
    labeled.names                          # ('sky', 'brick wall', ...)
    labeled.mask(0)                        # bool [H, W], the pixels of names[0]
    labeled.labels[0].evidence             # the captions that spoke for it
    labeled.overlay("street.jpg")          # outlined and named, a picture of Pillow's
    labeled.to_coco("street.jpg")          # a COCO data set of one picture

Nothing is loaded before it is asked for, so that a command's help comes at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labeler.config import LabelerConfig
    from labeler.labeled import Evidence, Label, LabeledImage, Name
    from labeler.pipeline import Labeler, label_picture

__all__ = ["Evidence", "Label", "LabeledImage", "Labeler", "LabelerConfig", "Name", "label_picture"]

_HOMES = {"LabelerConfig": "config", "Labeler": "pipeline", "label_picture": "pipeline"}
"""The files of the names above; the others are in `labeled`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"labeler.{_HOMES.get(name, 'labeled')}"), name)
