"""A labelled picture on the screen: in a notebook, or in the viewer of the machine."""

import base64
import html
import io
import sys
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageShow

from labeler.drawing import colour_of
from labeler.labels import Label
from segmenter import Segments
from shards import UserError

LONGEST_SIDE = 800
"""Pixels of an overlay in a notebook: the file of the notebook holds it."""


def show(overlay: Image.Image) -> None:
    """Show a picture below the cell of a notebook, else in the viewer that Pillow finds.

    Raises:
        UserError: there is none.
    """
    shell = _notebook()
    if shell is not None:
        shell.display_pub.publish({"image/png": to_png(overlay), "text/plain": repr(overlay)})
    elif not ImageShow.show(overlay, "labels"):
        raise UserError("no viewer of pictures on this machine; save it: labeled.overlay().save('labels.png')")


def to_html(picture: Image.Image, segments: Segments, labels: Sequence[Label]) -> str:
    """A picture of segments, made smaller where it is large, and a table of their names."""
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    rows = "".join(
        f'<tr><td style="background:rgb{colour_of(label.name.label)}">&emsp;</td>'
        f"<td>{html.escape(label.name.label)}</td><td>{label.name.score:.2f}</td><td>{share:.1%}</td></tr>"
        for label, share in zip(labels, segments.areas / segments.label_map.size, strict=True)
    )
    return (
        f'<img alt="segments" style="max-width:100%" src="data:image/png;base64,{to_png(picture)}">'
        f"<table><tr><th></th><th>name</th><th>score</th><th>pixels</th></tr>{rows}</table>"
    )


def to_png(picture: Image.Image) -> str:
    """A picture as PNG in base64, as web pages and notebooks take it."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _notebook() -> Any:
    """IPython's shell if its front end shows pictures, as Jupyter's does; None outside."""
    if "IPython" not in sys.modules:
        return None
    shell = sys.modules["IPython"].get_ipython()
    return shell if hasattr(shell, "kernel") else None
