"""Parts of speech to noun phrases: a grammar of chunks."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from build_index.concepts.generic_words import COLOURS
from build_index.concepts.lexicon import Part

Span = tuple[int, int]

INNER_PLURALS = frozenset("sports arts crafts clothes savings sales news glass ladies".split())
"""Plurals that stand inside a compound; any other plural ends its phrase: "boys | casual clothing"."""

COMPOUND_ING = frozenset(
    "living dining swimming fishing parking bowling shopping sewing sleeping vending steering rocking waiting ironing "
    "boxing wading magnifying hiking walking running".split()
)
"""Doings that name a kind of the noun behind them: dining table."""

CONCRETE_ING = frozenset(
    """
    building painting clothing wedding ring earring ceiling evening king string spring wing swing lightning dressing
    railing awning frosting icing pudding stocking lining landing crossing drawing covering wiring herring viking
    sibling duckling gosling darling thing being offering serving filling topping seating lighting paving decking
    roofing flooring engraving carving etching coating sling bedding scaffolding housing parking siding tubing rigging
    packaging writing meeting bearing casing lettering paneling molding moulding plumbing furnishing stuffing wrapping
    """.split()
)
"""Nouns in -ing that are things: "oil painting", but "boy | fishing"."""

VERBAL_ING = frozenset(
    "doing making having wearing holding eating consisting containing featuring including using taking getting giving "
    "putting selling enjoying".split()
)
"""Doings that never name a kind of the noun behind them: "people | eating | pizza"."""

_RUN = re.compile("[adgmnp]*[mnp]")
"""Words that may be in one phrase: what stands in between others ends it."""

_SINGULAR = frozenset("a an another each every one this".split())

_LIKELY = -4.5
"""Log odds of a verb against a noun from which a word in -s is the verb where the phrase before it is complete."""

_BEFORE_NOUN = ("t", "a", "d", "s", "c", "n", "p")
"""What makes a noun even of "dark": the dark."""


class Unit(NamedTuple):
    """A word of a chunk, or a whole name."""

    start: int
    end: int
    part: str


def mend(
    words: Sequence[str], parts: str, is_adjective: Callable[[str], bool], verb_odds: Callable[[str], float]
) -> str:
    """Correct what a tagger of prose gets wrong about captions.

    Args:
        words: a sentence in lower case.
        parts: its parts of speech.
        is_adjective: whether a word is mostly an adjective.
        verb_odds: log odds of a verb in the third person against a noun.

    >>> mend(["blue", "bowling", "ball", ",", "dark"], "ngn,n", {"dark"}.__contains__, {}.get)
    'ann,a'
    >>> mend(["a", "black", "dog", "swims", "in", "water"], "tanmin", set().__contains__, {"swims": -2.5}.get)
    'tanvin'
    """
    mended = list(parts)
    for at, part in enumerate(parts):
        if part not in "mgna":
            continue
        word, following = words[at], parts[at + 1 : at + 2] or Part.MARK
        if part == Part.PLURAL:
            mended[at] = Part.VERB if _is_predicate(words, parts, at, verb_odds) else part
        elif word in VERBAL_ING and words[at + 1 : at + 2] != ["area"]:
            mended[at] = Part.VERB
        elif part == Part.GERUND and word in COMPOUND_ING and following in "nm":
            mended[at] = Part.NOUN
        elif part == Part.NOUN and word in COLOURS and following in "nmg":
            mended[at] = Part.ADJECTIVE
        elif part == Part.NOUN and following not in "nmp" and parts[at - 1 : at] not in _BEFORE_NOUN:
            mended[at] = Part.ADJECTIVE if is_adjective(word) else part
    return "".join(mended)


def _is_predicate(words: Sequence[str], parts: str, at: int, verb_odds: Callable[[str], float]) -> bool:
    """Whether a plural is a verb after all, since "a" wants a singular before it: "a black dog | swims | in water"."""
    following = parts[at + 1 : at + 2]
    if at < 2 or parts[at - 1] not in "np" or not following or following in "nmpo&,":
        return False
    start = at - 1
    while start > 0 and parts[start - 1] in "nap":
        start -= 1
    if start == 0 or words[start - 1] not in _SINGULAR:
        return False
    return verb_odds(words[at]) > (-99.0 if following == Part.DETERMINER else _LIKELY)


def chunks(words: Sequence[str], parts: str, names: Sequence[Span]) -> Iterator[list[Unit]]:
    """Noun phrases of a sentence without their determiners: adjectives, nouns and names, ending in a noun or name.

    Args:
        words: a sentence in lower case.
        parts: its parts of speech.
        names: spans of words that are one name each, in order.

    >>> [[unit.start for unit in chunk] for chunk in chunks("a man riding a brown horse".split(), "tngtan", [])]
    [[1], [4, 5]]
    """
    shape = parts
    for start, end in names:
        shape = shape[:start] + Part.NAME * (end - start) + shape[end:]
    for run in _RUN.finditer(shape):
        start, end = run.span()
        if end == start + 1 and not names:  # most of them
            yield [Unit(start, end, parts[start])]
        else:
            inside = [span for span in names if start <= span[0] < end]
            yield from _chunks_of_run(words, parts, units(parts[:end], inside, start))


def _chunks_of_run(words: Sequence[str], parts: str, run: Iterator[Unit]) -> Iterator[list[Unit]]:
    chunk: list[Unit] = []
    for unit in run:
        if chunk and not _continues(words, parts, chunk[-1], unit):
            if closed := _closed(chunk):
                yield closed
            chunk = []
        if chunk or _opens(parts, unit):
            chunk.append(unit)
    if closed := _closed(chunk):
        yield closed


def units(parts: str, names: Sequence[Span], start: int = 0) -> Iterator[Unit]:
    """The words of a sentence from one on, with every name as one unit.

    >>> [unit.part for unit in units("itppn", [(2, 4)])]
    ['i', 't', 'p', 'n']
    """
    place = start
    for name, end in [*names, (len(parts), len(parts))]:
        for at in range(place, name):
            yield Unit(at, at + 1, parts[at])
        if end > name:
            yield Unit(name, end, Part.NAME)
        place = end


def _opens(parts: str, unit: Unit) -> bool:
    """Whether a phrase may begin here. A participle needs a sign that it is not the verb."""
    if unit.part in "nmp":
        return True
    before = parts[unit.start - 1] if unit.start else "^"
    if unit.part == Part.GERUND:
        return before in "tas"
    if unit.part == Part.PARTICIPLE:
        return before in "tasi^"
    return parts[max(unit.start - 2, 0) : unit.start] != "a&"  # a "green and red shirt" is not a red shirt


def _continues(words: Sequence[str], parts: str, last: Unit, unit: Unit) -> bool:
    """Whether a unit belongs to the phrase that `last` is in."""
    if unit.part in "adg":
        return last.part in "adg" and (unit.part != Part.GERUND or last.part == Part.ADJECTIVE)
    if unit.part in "nm":
        if last.part in "nmp" and _is_doing(words[unit.start], parts[unit.end : unit.end + 1]):
            return False
        return last.part != Part.PLURAL or words[last.start] in INNER_PLURALS
    return unit.part == Part.NAME and last.part in "adg"


def _is_doing(word: str, following: str) -> bool:
    """Whether a noun at the end of its phrase is what somebody does: "a boy | fishing"."""
    return following not in ("n", "m", "p") and len(word) > 5 and word.endswith("ing") and word not in CONCRETE_ING


def _closed(chunk: list[Unit]) -> list[Unit]:
    """A phrase up to its last noun or name; nothing where it has none."""
    while chunk and chunk[-1].part not in "nmp":
        chunk = chunk[:-1]
    return chunk
