"""Captions in another language than the tagger's: seen by their function words, read for their names alone."""

from collections.abc import Sequence

from build_index.names import LINKS, Case, Span
from build_index.tagging import Language

_FUNCTION_WORDS = {  # without those that are words of another of these languages, or names
    "en": "the a and of with on at is are to from by for his her their its that this it he she they who while an as "
    "next near into over has have been being some two three its",
    "de": "der das und mit auf ein eine einen einem einer im zu den dem des sich ist sind von vor am ihr ihre sein "
    "seine nicht für bei über unter aus zwei drei wird während neben hinter",
    "nl": "het een van en met op zijn naar bij aan voor uit twee drie terwijl door niet hun wordt",
    "fr": "le les un une et dans avec sur qui est sont au aux du des en deux trois pour par son sa ses leur leurs "
    "tandis vers devant pas ce cette",
    "es": "el los una y con por sus las del está están para como en un que dos tres sobre su al",
    "it": "il gli una con che di per sono della del nel sul delle dei alla e lo due tre",
    "pt": "o os uma com em do da dos das no na ao pela pelo para que um dois três",
}
_SETS = {language: frozenset(words.split()) for language, words in _FUNCTION_WORDS.items()}


def foreign_language(sentences: Sequence[Sequence[str]], ours: Language) -> str | None:
    """The code of the language that a caption is in, when that is clearly not ours.

    >>> foreign_language([["Ein", "Mann", "mit", "einem", "Hut"]], Language.ENGLISH)
    'de'
    >>> foreign_language([["Château", "de", "Chambord", "in", "France"]], Language.ENGLISH) is None
    True
    """
    words = [word.lower() for sentence in sentences for word in sentence]
    hits = {language: sum(word in known for word in words) for language, known in _SETS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] >= 2 and hits[best] > 2 * hits.get(ours.value, 0) else None


def names_by_capitals(words: Sequence[str], case: Case, *, shortest: int = 1) -> list[Span]:
    """Runs of capitalised words, with links inside; the first word of a sentence counts when another follows it.

    >>> names_by_capitals(["Vue", "de", "la", "Tour", "Eiffel"], Case.MIXED)
    [(3, 5)]
    """
    if case is Case.LOWER:
        return []
    spans = []
    start = 0
    while start < len(words):
        end = start
        while end < len(words) and words[end][0].isupper() and words[end].lower() not in LINKS:
            end += 1
        lone_first = start == 0 and end == 1 and case is Case.MIXED
        if end - start >= shortest and not lone_first:
            spans.append((start, end))
        start = max(end, start + 1)
    return spans
