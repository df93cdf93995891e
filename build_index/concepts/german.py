"""German nouns to their singular: HanTa's morphology, held to what it knows, and the article in front.

HanTa takes the end of a noun that it has not seen for an ending: "Rutsch" of Rutsche, "Kra" of Kran.
"""

import re
from collections.abc import Sequence
from typing import Any

_FEMININE = frozenset("ein eine einer zur jede".split())
"""A noun behind one of these is in the singular and has no ending, but for an adjective's -en: "einer Jugendlichen"."""

_NEUTER = frozenset("einen einem im am zum vom beim ins das dem".split())
"""The same but for a weak noun: "einem Jungen"."""

_NOUN, _ADJECTIVAL, _INFINITIVE = "NN", "NNA", "NNI"

_NO_WORD_ENDS_SO = re.compile(r"(?:c|[bdfgkptvwzß][lnrmdb])$")
"""Where a compound has no seam: ho-c|kern, bahngl|eisen."""

_SHORTEST = 4
"""Letters of the last part of a compound, at least, and one less of what is before it."""


def is_in_the_singular(words: Sequence[str], parts: str, at: int) -> bool:
    """Whether the article of a noun says that it is its own singular.

    Args:
        words: a sentence in lower case.
        parts: its parts of speech.
        at: the noun.

    >>> is_in_the_singular(["auf", "einer", "steilen", "rutsche"], "itan", 3)
    True
    >>> is_in_the_singular(["ein", "paar", "rampen"], "tnn", 2), is_in_the_singular(["einem", "jungen"], "tn", 1)
    (False, False)
    """
    noun = words[at]
    before = at - 1
    while before > 0 and parts[before] == "a":
        before -= 1
    article = words[before] if before >= 0 else ""
    if article in _FEMININE:
        return article == "ein" or not noun.endswith("en")
    relative = article in ("das", "dem") and words[max(before - 1, 0)] == ","
    return article in _NEUTER and not relative and not noun.endswith(("e", "en", "rn"))


def lemma(noun: str, hanta: Any) -> str:
    """The singular of a noun in lower case, by the last part of it that HanTa has seen.

    Args:
        noun: in lower case.
        hanta: the German model.
    """
    tag = _noun_tag(noun, hanta)
    if tag == _ADJECTIVAL and noun.endswith(("e", "en", "er")):
        return _analysed(noun, hanta, tag)
    found = _analysed(noun, hanta, _INFINITIVE if tag == _INFINITIVE else _NOUN)
    tail = "" if tag or found == noun else _known_tail(noun, hanta)
    if tail:
        return noun[: -len(tail)] + _analysed(tail, hanta, _noun_tag(tail, hanta))
    if not tag and found + noun[len(found) :] == noun and _is_cut_short(noun, found):
        return noun
    return found


def _is_cut_short(noun: str, found: str) -> bool:
    """Whether the ending of an unknown noun is no plural's: Kran, Cheerleader; those in -er are all known."""
    return noun.endswith("er") or (noun == found + "n" and found[-1] not in "elr")


def _known_tail(noun: str, hanta: Any) -> str:
    """The longest last part of a compound that HanTa has seen as a noun; empty where it has seen none."""
    for start in range(_SHORTEST - 1, len(noun) - _SHORTEST + 1):
        if _noun_tag(noun[start:], hanta) and not _NO_WORD_ENDS_SO.search(noun[:start]):
            return noun[start:]
    return ""


def _noun_tag(word: str, hanta: Any) -> str:
    """The tag of a word that HanTa has mostly seen as a noun; else empty."""
    seen = hanta.cache.get(word)
    if not seen:
        return ""
    names = {hanta.int2tag[tag] for tag, _ in seen}
    likeliest: str = hanta.int2tag[max(seen, key=lambda reading: reading[1])[0]]
    if likeliest not in (_NOUN, _ADJECTIVAL, _INFINITIVE):
        return ""
    return _NOUN if likeliest == _ADJECTIVAL and _NOUN in names else likeliest


def _analysed(noun: str, hanta: Any, tag: str) -> str:
    """HanTa's lemma in lower case, with the "ss" of the noun: its own of "flusses" is spelled as before 1996."""
    found: str = hanta.analyze(noun.capitalize(), pos=tag)[0].lower()
    return found[:-1] + "ss" if found.endswith("ß") and "ss" in noun else found
