"""What the labeler says about a picture."""

from dataclasses import dataclass

from segmenter import Segments


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


UNKNOWN = "unknown"


@dataclass(frozen=True)
class LabeledImage:
    """A picture, outlined and named: segment i + 1 of the label map has `labels[i]`."""

    segments: Segments
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if len(self.labels) != self.segments.count:
            raise ValueError(f"{len(self.labels)} labels for {self.segments.count} segments")
