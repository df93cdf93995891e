"""A noun phrase to the concepts in it: its cuts from the left, down to the head, in canonical form."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from build_index.concepts.generic_words import ABSTRACT, MEASURES, MEDIUM, OPINION, RELATION, THINGS_OF_MEDIA, WRAPPERS
from build_index.concepts.lexicon import Part
from build_index.concepts.name_words import HEADS
from build_index.concepts.phrases import Unit

MAX_WORDS = 4
"""Longer phrases are descriptions, not names of things."""

ARTWORKS = frozenset("sketch drawing painting print engraving etching map plan".split())
"""Of these, what they show is the concept, as it is for photographs: no "sketch of durham cathedral"."""

DEPENDENT = frozenset(
    "fashioned shaped colored coloured sized haired legged sleeved faced eyed looking dressed covered filled aged made "
    "based themed style styled drawn painted like".split()
)
"""Adjectives that say nothing without the word before them: old fashioned bus, but no "fashioned bus"."""

BOUND = frozenset(
    """
    hot dog|ice cream|traffic jam|cell phone|mobile phone|high school|real estate|polka dot|sea lion|sea horse|
    prairie dog|guinea pig|high heel|cotton candy|time lapse|hot air|old fashioned|middle aged|stained glass|
    lap top|base ball|bed room
    """.replace("\n    ", "").split("|")
)
"""Pairs whose second word alone would name something else: no cut begins inside one."""

_NOT_FIRST = OPINION | DEPENDENT | MEASURES
_NOT_OF = MEDIUM | RELATION | ABSTRACT | ARTWORKS


class ConceptKind(Enum):
    """What sort of word a concept is."""

    NOUN = "noun"
    PHRASE = "phrase"
    PROPER = "proper"


class Concept(NamedTuple):
    """A word or phrase in canonical form: lower case, NFC, the last common noun in the singular."""

    text: str
    kind: ConceptKind


class Cutter:
    """Cuts English noun phrases.

    Args:
        singular: noun in lower case and its part of speech to the noun in the singular.
        is_listed: whether a lexicon has a word.

    >>> cutter = Cutter(lambda noun, part: noun.removesuffix("s"), {"dogs"}.__contains__)
    >>> phrase = [Unit(0, 1, "a"), Unit(1, 2, "a"), Unit(2, 3, "m")]
    >>> [text for text, _ in cutter.cut("big brown dogs".split(), "aam", phrase)]
    ['big brown dog', 'brown dog', 'dog']
    """

    def __init__(self, singular: Callable[[str, str], str], is_listed: Callable[[str], bool]) -> None:
        self._singular = singular
        self._is_listed = is_listed
        self._alone = lru_cache(maxsize=16_384)(self._find_alone)

    def cut(self, words: Sequence[str], parts: str, chunk: list[Unit]) -> Iterator[Concept]:
        """The concepts of one noun phrase, longest first, after the names in it.

        Args:
            words: the sentence in lower case.
            parts: its parts of speech.
            chunk: the units of the phrase.
        """
        if len(chunk) == 1 and chunk[0].part in "nm":  # two phrases of three
            return iter(self._of_noun(words, chunk[0]))
        return self._of_phrase(words, parts, chunk)

    def _of_noun(self, words: Sequence[str], noun: Unit) -> Sequence[Concept]:
        if noun.start and _is_bound(words[noun.start - 1], words[noun.start]):
            return ()
        return self._alone(words[noun.start], noun.part)

    def _of_phrase(self, words: Sequence[str], parts: str, chunk: list[Unit]) -> Iterator[Concept]:
        while chunk and (chunk[-1].part in "adg" or _is_medium(words, chunk, -1)):
            chunk = chunk[:-1]
        for unit in chunk:
            if unit.part == Part.NAME:
                yield from self._name(words, parts, unit)
        if not chunk or chunk[-1].part == Part.NAME:
            return
        head = self._singular(words[chunk[-1].start], chunk[-1].part)
        shortest = _shortest(chunk, head)
        first = next((at + 1 for at in range(len(chunk) - 2, -1, -1) if _is_medium(words, chunk, at)), 0)
        for start in range(first, len(chunk) - shortest + 1):
            if text := _text(words, chunk, start, head):
                yield Concept(text, ConceptKind.PHRASE if " " in text else ConceptKind.NOUN)
        if head in WRAPPERS:
            yield from self.cut(words, parts, [unit for unit in chunk[-2:-1] if unit.part in "nm"])

    def around_of(self, words: Sequence[str], left: list[Unit], right: list[Unit]) -> Iterator[Concept]:
        """Bare nouns around "of": coat of arms. Adjectives stay where the left noun heads names: leaning tower of pisa.

        >>> cutter = Cutter(lambda noun, part: noun.removesuffix("s"), {"coat"}.__contains__)
        >>> [text for text, _ in cutter.around_of("coats of arms".split(), [Unit(0, 1, "m")], [Unit(2, 3, "m")])]
        ['coat of arms']
        """
        noun = words[left[-1].start]
        head = "glass" if noun == "glasses" else self._singular(noun, left[-1].part)  # of wine, not for the eyes
        tail = words[right[0].start : right[-1].end]
        if left[-1].part not in "nm" or right[0].part not in "nmp" or head in _NOT_OF or not MEDIUM.isdisjoint(tail):
            return
        for unit in left:
            front = words[unit.start : left[-1].start]
            fits = len(front) + 2 + len(tail) <= MAX_WORDS
            if fits and (not front or (head in HEADS and front[0] not in _NOT_FIRST)):
                yield Concept(join([*front, head, "of", *tail]), ConceptKind.PHRASE)

    def _find_alone(self, word: str, part: str) -> tuple[Concept, ...]:
        """The concept of a phrase that is a single noun, if it is any."""
        unit = Unit(0, 1, part)
        head = self._singular(word, part)
        if _is_medium([word], [unit], 0) or _shortest([unit], head) > 1:
            return ()
        return (Concept(join([head]), ConceptKind.NOUN),)

    def _name(self, words: Sequence[str], parts: str, unit: Unit) -> Iterator[Concept]:
        """A name, and the common noun in it: Golden Gate Bridge, bridge."""
        yield proper(words, unit)
        inner = list(words[unit.start : unit.end])
        last = unit.start + (inner.index("of") if "of" in inner else len(inner)) - 1
        if len(inner) > 1 and parts[last] in "nm" and self._is_listed(words[last]):
            yield from self.cut(words, parts, [Unit(last, last + 1, parts[last])])


def proper(words: Sequence[str], unit: Unit) -> Concept:
    """A name as it is written, in lower case."""
    return Concept(join(words[unit.start : unit.end]), ConceptKind.PROPER)


def join(words: Sequence[str]) -> str:
    """Words to the text of a concept.

    >>> join(["st", "paul", "'s", "cathedral"])
    "st paul's cathedral"
    """
    text = " ".join(words).replace(" 's", "'s")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _shortest(chunk: list[Unit], head: str) -> int:
    """The fewest units that a cut of a phrase may have; more than there are where no cut will do."""
    if head in ABSTRACT:
        return len(chunk) + 1
    if head not in RELATION:
        return 1
    return 2 if len(chunk) > 1 and chunk[-2].part in "nmp" else len(chunk) + 1


def _text(words: Sequence[str], chunk: list[Unit], start: int, head: str) -> str:
    """The phrase from a unit to the head; empty where it would not be the name of anything."""
    first = chunk[start].start
    length = chunk[-1].end - first
    if length > MAX_WORDS or (length == MAX_WORDS and start > 0):
        return ""  # four words of a longer phrase are an arbitrary cut
    if length > 1 and words[first] in _NOT_FIRST:
        return ""
    if first > 0 and _is_bound(words[first - 1], words[first]):
        return ""
    return join([*words[first : chunk[-1].start], head])


def _is_bound(before: str, word: str) -> bool:
    return f"{before} {word.removesuffix('s')}" in BOUND


def _is_medium(words: Sequence[str], chunk: list[Unit], at: int) -> bool:
    unit = chunk[at]
    word = words[unit.start]
    if (word not in MEDIUM and word.removesuffix("s") not in MEDIUM) or unit.part == Part.NAME:
        return False
    following = words[unit.end] if unit != chunk[-1] else ""
    return following.removesuffix("s") not in THINGS_OF_MEDIA
