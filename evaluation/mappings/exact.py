"""Names to classes by equality, as vicss's hard Jaccard index has it."""

from collections.abc import Sequence

from evaluation.classes import Classes
from evaluation.mappings.mapping import NO_MATCH, Level, MappingName, Match
from evaluation.mappings.words import lemma

RULE_VERSION = 2


class HardMapping:
    """A name belongs to the class whose official name or published string it equals, both in the singular.

    Neither aliases nor heads count: "red car" is no car. vicss (arXiv 2404.10864) compares the bare strings and gives
    what matches nothing to class 0, its background; here case, hyphens and number are forgiven, and what matches
    nothing is unknown. A string of two classes goes to the one whose official name it is, else to the first.
    """

    name = MappingName.HARD.value
    version = str(RULE_VERSION)

    def __init__(self, classes: Classes) -> None:
        self._numbers: dict[str, int] = {}
        for strings in (classes.names, classes.published):
            for number, string in enumerate(strings):
                self._numbers.setdefault(lemma(string), number)

    def matches(self, names: Sequence[str]) -> tuple[Match, ...]:
        """What the mapping says of each name."""
        numbers = (self._numbers.get(lemma(name)) for name in names)
        return tuple(NO_MATCH if number is None else Match(number, Level.EXACT) for number in numbers)
