"""A page with the worst and the best pictures: what stands there, what was said, and as which class it counted."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.classes import UNKNOWN_CLASS, Classes
from evaluation.datasets import OTHER, VOID
from evaluation.scores import Score
from labeler.drawing import draw_overlay
from segmenter import Segments, relabel

WIDEST = 360
"""Pixels of a picture's longer side on the page."""

STYLE = """
body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1180px;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}figure{margin:0 0 2em;border-top:1px solid #ccc;padding-top:1em}
figure div{display:flex;flex-wrap:wrap;gap:8px}img{max-width:100%;height:auto}figcaption{margin-bottom:.4em}
.right{color:#176d2c}.wrong{color:#a31515}.free{color:#777}code{background:#f3f3f3;padding:0 .2em}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}td,th,figure{border-color:#444}
code{background:#2a2a2a}.right{color:#7fd08f}.wrong{color:#f09090}.free{color:#999}}
"""


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture of the page.

    Attributes:
        id: its name in the data set.
        iou: its mean IoU over the classes that stand there.
        picture: uint8 [H, W, 3] RGB.
        truth: int32 [H, W], classes, `OTHER` or `VOID`.
        own: the labeler's segments.
        words: for each segment the word, the class it counted as, and the class that most of it lies on.
    """

    id: str
    iou: float
    picture: NDArray[np.uint8]
    truth: NDArray[np.int32]
    own: Segments
    words: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, eq=False)
class Contents:
    """What a page shows.

    Attributes:
        title: heads the page.
        facts: lines below it: the protocol.
        scores: the rows of the table.
        classes: of the data set.
        groups: pictures to show below each heading.
        preset: the pair of networks, written across pictures if it is untrained.
    """

    title: str
    facts: Sequence[str]
    scores: Sequence[Score]
    classes: Classes
    groups: dict[str, list[Shown]]
    preset: str


def make_page(page: Contents) -> str:
    """The page as one self-contained HTML file, without scripts."""
    sections = [
        f"<h2>{html.escape(heading)}</h2>" + "".join(_figure(shown, page.classes, page.preset) for shown in pictures)
        for heading, pictures in page.groups.items()
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(page.title)}</title><style>{STYLE}</style><h1>{html.escape(page.title)}</h1>"
        + "".join(f"<p>{html.escape(fact)}</p>" for fact in page.facts)
        + _table(page.scores)
        + "".join(sections)
        + "</html>\n"
    )


def _table(scores: Sequence[Score]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", "mIoU", "pixel accuracy", "unknown", "per picture", "recall"))
    lines = []
    for score in scores:
        lines.append(
            f"<tr><td>{html.escape(score.title)}</td>"
            + "".join(f"<td>{100 * f:.1f}</td>" for f in score.figures)
            + "</tr>"
        )
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _figure(shown: Shown, classes: Classes, preset: str) -> str:
    stands = relabel(shown.truth)
    numbers = [int(shown.truth[stands.label_map == n][0]) for n in range(1, stands.count + 1)]
    truth, own = [_class_name(classes, number) for number in numbers], [word for word, _, _ in shown.words]
    pictures = [
        (shown.picture, f"{shown.id}"),
        (draw_overlay(shown.picture, stands, truth), "what stands there"),
        (draw_overlay(shown.picture, shown.own, own, preset), "what the labeler says"),
    ]
    images = "".join(f'<img src="{_encoded(pixels)}" alt="{html.escape(alt)}">' for pixels, alt in pictures)
    words = ", ".join(_word(classes, *word) for word in sorted(set(shown.words)))
    caption = f"<code>{html.escape(shown.id)}</code> {100 * shown.iou:.1f}: {words}"
    return f"<figure><figcaption>{caption}</figcaption><div>{images}</div></figure>"


def _word(classes: Classes, word: str, given: int, stands: int) -> str:
    kind = "free" if stands == UNKNOWN_CLASS else "right" if given == stands else "wrong"
    counted = "unknown" if given == UNKNOWN_CLASS else classes.names[given]
    return f'<span class="{kind}">{html.escape(word)} → {html.escape(counted)}</span>'


def _class_name(classes: Classes, number: int) -> str:
    return {VOID: "void", OTHER: "other"}.get(number) or classes.names[number]


def _encoded(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((WIDEST, WIDEST))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
