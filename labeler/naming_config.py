"""How pictures are named: the method, and the weight of everything that speaks for a word."""

from dataclasses import dataclass, field, fields
from enum import Enum

from segmenter.config import LARGEST


class Naming(Enum):
    """Ways of naming segments; each is a row of `naming.METHODS`."""

    DEFAULT = "default"
    TAG = "tag"
    ZERO_GUIDANCE = "zero-guidance"


CAPTIONS_OF = {Naming.DEFAULT: 50, Naming.TAG: 10, Naming.ZERO_GUIDANCE: 10}
"""Captions retrieved for a segment. TAG's is 10; what Zero-guidance generates, one text, is replaced by as many."""


@dataclass(frozen=True, kw_only=True)
class NamingNumbers:
    """What the ways of naming can be told. A weight of 0 takes its term out of the score.

    The weights of the score were set by the spread of the terms between words in the vectors of a published
    contrastive model (LiT, 55 pictures and 267 texts): 0.02 for picture to text, 0.06 for text to text. A word that was
    1 nearer to the mean text there was 0.15 nearer to the mean picture; that, and as much again for the captions' part,
    is `hub_weight`. `captions_weight` would be 0.15 by this reckoning; with the pocket pair, names were better without,
    and better without words found directly (`direct`).

    Raises:
        ValueError: a number has no meaning; the message says which.
    """

    neighbours: int | None = field(
        default=None, metadata={"help": "captions retrieved for a segment (default: 50; 10 for tag and zero-guidance)"}
    )
    direct: int = field(default=0, metadata={"help": "words found for a segment beside those of its captions; 20, say"})
    captions_weight: float = field(
        default=0.0, metadata={"help": "of the nearness to the retrieved captions; 0.15 is CaSED's 0.3 to 0.7"}
    )
    support_weight: float = field(
        default=0.01,
        metadata={"help": "of the logarithm of the captions' share that holds the word; CLIP's temperature"},
    )
    shared_support: float = field(
        default=0.5,
        metadata={"help": "part of that support that is the picture's, the mean over its segments by area, 0 to 1"},
    )
    hub_weight: float = field(
        default=0.3, metadata={"help": "taken off for the nearness to the mean caption: words that are near everything"}
    )
    picture_weight: float = field(
        default=0.25, metadata={"help": "of the nearness to the whole picture; FreeDA's 0.2 to 0.8"}
    )
    gate: float = field(
        default=0.3, metadata={"help": "share that some segment must give to a word for it to be said; 0 says any word"}
    )
    least_score: float = field(
        default=0.02, metadata={"help": "score below which a segment is unknown: no more than one word in fifty gets"}
    )
    least_margin: float = field(
        default=0.0, metadata={"help": "cosine by which the best word must lead, else the segment is unknown"}
    )
    home_weight: float = field(
        default=0.05,
        metadata={"help": "words: cosine by which a cell's own region leads when cells are dealt out anew"},
    )
    keep_equal: bool = field(default=False, metadata={"help": "leave touching segments of one name apart"})
    merge_from: float = field(
        default=0.8, metadata={"help": "likeness from which zero-guidance merges segments, the paper's value"}
    )

    def __post_init__(self) -> None:
        if self.neighbours is not None and self.neighbours < 1:
            raise ValueError(f"--neighbours {self.neighbours}: must be at least 1")
        if self.direct < 0:
            raise ValueError(f"--direct {self.direct}: must be 0 or more")
        for each in fields(NamingNumbers):
            value = getattr(self, each.name)
            if isinstance(value, float) and not -LARGEST <= value <= LARGEST:  # not-a-number is nowhere between
                raise ValueError(f"--{each.name.replace('_', '-')} {value}: must be -{LARGEST:,} to {LARGEST:,}")
        for name in ("gate", "least_score", "shared_support"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be 0 to 1")


@dataclass(frozen=True, kw_only=True)
class NamingConfig(NamingNumbers):
    """How segments are named.

    Attributes:
        naming: the way.

    Raises:
        TypeError: the way is something else, its name, say.
        ValueError: a number has no meaning; the message says which.
    """

    naming: Naming = Naming.DEFAULT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.naming, Naming):
            raise TypeError(f"naming is {self.naming!r}, expected one of {', '.join(map(str, Naming))}")

    @property
    def merges_equal(self) -> bool:
        """Whether touching segments of one name become one; TAG merges nothing, Zero-guidance by likeness."""
        return self.naming is Naming.DEFAULT and not self.keep_equal

    @property
    def captions(self) -> int:
        """k, the captions retrieved for a segment."""
        return CAPTIONS_OF[self.naming] if self.neighbours is None else self.neighbours
