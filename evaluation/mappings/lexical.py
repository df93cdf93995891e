"""Names to classes by a dictionary, without a model: exact < synonym < hyponym < meronym, offline and deterministic.

The levels and their order are those of the lexical protocol for open-ended segmentation (openreview.net/forum?id=
QSmwRnw8GP); the rules in detail are defined here:

1. A name is tried whole, then by shorter and shorter heads (`words.heads`): "red sports car", "sports car", "car". The
   first one that is a string of a class or stands in the list of nouns decides; "sea lion" never gets to "lion".
2. EXACT: it equals an official name, a published string or an alias of a class, both in the singular.
3. SYNONYM: it means what one of the class's strings means. HYPONYM: it is a kind of that. MERONYM: it is a part, member
   or substance of that or of a kind of that, or a part of such a part.
4. A lower level never overrules a higher one. Within a level the more frequent meaning of the name decides, then the
   shorter path, then the smaller class number.
5. Of a name's three most frequent meanings two sorts count: the first that can be touched (the very first, if none
   can), and any that is an animal or a plant. So a chicken is food and a bird, a monkey never a naughty child, and a
   tower never a boat that tows. For a few words it is listed which meanings count (`meanings.MEANINGS`).
6. What the strings of a class mean is said in `meanings`, and so is what annotators draw as a class without its being
   one. That comes before 3. for the name itself, so that a hand is a person's where animals are a class too, and after
   3. for what the name is a kind of. The background has no meaning: only its own strings reach it.
7. What has no level is unknown.
"""

from collections.abc import Iterable, Sequence

from evaluation.classes import Classes
from evaluation.mappings.mapping import NO_MATCH, Level, MappingName, Match
from evaluation.mappings.meanings import (
    CUSTOM,
    CUSTOMS_DIGEST,
    PERSON,
    class_meanings,
    exact_strings,
    seen_meanings,
)
from evaluation.mappings.nouns import Nouns, Steps
from evaluation.mappings.words import heads

RULE_VERSION = 2

MEANINGS_OF_A_NAME = 3

# Words whose first, or only, meaning is the kind that is meant.
_TANGIBLE, _INTANGIBLE = ("physical entity",), ("location", "natural phenomenon")
_LIVING, _HUMAN = ("animal", "plant life"), (PERSON,)


class LexicalMapping:
    """See the module's text.

    Args:
        classes: with their aliases.
        nouns: the list of nouns.
    """

    name = MappingName.LEXICAL.value

    def __init__(self, classes: Classes, nouns: Nouns) -> None:
        self.version = f"{RULE_VERSION}, {Level.MERONYM.value}, nouns {nouns.digest}, customs {CUSTOMS_DIGEST}"
        self._nouns = nouns
        self._exact = exact_strings(classes, nouns)
        self._owners = class_meanings(classes, nouns)
        self._tangible, self._intangible = self._first_meanings(_TANGIBLE), self._first_meanings(_INTANGIBLE)
        self._living, self._human = self._first_meanings(_LIVING), self._first_meanings(_HUMAN)

    def matches(self, names: Sequence[str]) -> tuple[Match, ...]:
        """What the mapping says of each name: its class and its level."""
        return tuple(self._match(name) for name in names)

    def _match(self, name: str) -> Match:
        for head in heads(name):
            if (number := self._exact.get(self._nouns.lemma(head))) is not None:
                return Match(number, Level.EXACT)
            if meanings := self._nouns.senses(head):
                above = [self._nouns.above(meaning) for meaning in self._counting(head, meanings)]
                return self._by_custom([self._nouns.lemma(head)]) or self._by_meaning(above) or self._by_kinds(above)
        return NO_MATCH

    def _counting(self, name: str, meanings: Sequence[int]) -> Sequence[int]:
        """The meanings of a name that count, the more frequent first."""
        if listed := seen_meanings(name, meanings, self._nouns):
            return listed
        near = meanings[:MEANINGS_OF_A_NAME]
        first = next((meaning for meaning in near if self._is(meaning, self._tangible, self._intangible)), near[0])
        return [meaning for meaning in near if meaning == first or self._is(meaning, self._living, self._human)]

    def _is(self, meaning: int, kinds: frozenset[int], but_not: frozenset[int]) -> bool:
        above = self._nouns.above(meaning).keys()
        return not kinds.isdisjoint(above) and but_not.isdisjoint(above)

    def _first_meanings(self, words: Sequence[str]) -> frozenset[int]:
        return frozenset(meaning for word in words for meaning in self._nouns.senses(word)[:1])

    def _by_meaning(self, above: Sequence[Steps]) -> Match | None:
        meanings = [next(iter(steps)) for steps in above]
        reached: dict[Level, Iterable[Steps]] = {
            Level.SYNONYM: ({meaning: 0} for meaning in meanings),
            Level.HYPONYM: above,
            Level.MERONYM: (self._nouns.around(meaning) for meaning in meanings),
        }
        for level, ways in reached.items():
            for steps in ways:
                owned = [(far, number) for at, far in steps.items() for number in self._owners.get(at, ())]
                if owned:
                    return Match(min(owned)[1], level)
        return None

    def _by_kinds(self, above: Sequence[Steps]) -> Match:
        """By the nearest thing that it is a kind of: a sloop is a sailing vessel."""
        kinds = (
            self._nouns.words[at][0] for steps in above for at, _ in sorted(steps.items(), key=lambda step: step[1])
        )
        return self._by_custom(kinds) or NO_MATCH

    def _by_custom(self, words: Iterable[str]) -> Match | None:
        for word in words:
            string, level = CUSTOM.get(word, ("", Level.EXACT))
            if (number := self._exact.get(string)) is not None:
                return Match(number, level)
        return None
