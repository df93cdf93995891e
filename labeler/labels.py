"""What is said of one segment: its name, the runners-up, and the captions that spoke for it."""

from dataclasses import dataclass

UNKNOWN = "unknown"
"""The name of a segment that nothing speaks for."""


@dataclass(frozen=True)
class Evidence:
    """A caption that spoke for a label.

    Attributes:
        index: name of the index that holds it.
        row: its global row there.
        score: cosine between the segment and the caption, -1 to 1.
        caption: its text.
    """

    index: str
    row: int
    score: float
    caption: str


@dataclass(frozen=True)
class Name:
    """A word for a segment and how much speaks for it, 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True)
class Label:
    """The name of one segment.

    Attributes:
        name: the word chosen, `UNKNOWN` where nothing speaks for any.
        alternatives: the runners-up, best first.
        evidence: the captions retrieved, nearest first.
    """

    name: Name
    alternatives: tuple[Name, ...]
    evidence: tuple[Evidence, ...]
