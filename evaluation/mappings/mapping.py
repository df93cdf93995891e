"""What a mapping is: names in, classes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from evaluation.classes import UNKNOWN_CLASS
from shards import UserError


class MappingError(UserError):
    """A mapping cannot be had; the message says what is missing or wrong and what to do."""


class MappingName(Enum):
    """The rules by which a name that the labeler chose freely becomes a class of a data set."""

    SBERT_FORCED = "sbert_forced"
    SBERT_THR = "sbert_thr"
    LEXICAL = "lexical"
    HARD = "hard"
    SOFT = "soft"
    TABLE = "table"


class Level(Enum):
    """Why a name belongs to a class, from the closest reason to the loosest; who allows one allows all before it."""

    EXACT = "exact"
    SYNONYM = "synonym"
    HYPONYM = "hyponym"
    MERONYM = "meronym"


@dataclass(frozen=True)
class Match:
    """What a mapping says of one name.

    Attributes:
        class_number: from 0, or -1 where the mapping places the name nowhere, which counts as a miss.
        level: by which reason, None where the mapping knows no reasons or places the name nowhere.
        score: the cosine by which the class was chosen, -1 to 1; None where no cosine was taken.
    """

    class_number: int
    level: Level | None = None
    score: float | None = None


NO_MATCH = Match(UNKNOWN_CLASS)


class Mapping(Protocol):
    """A pure function from names to classes: a name's class does not depend on the other names.

    Attributes:
        name: of the rule, one of `MappingName`.
        version: changes whenever the same name could get another class: of the rule, and of the list or model it uses.
    """

    name: str
    version: str

    def matches(self, names: Sequence[str]) -> tuple[Match, ...]:
        """What the mapping says of each name, in their order."""
        ...
