"""Captions in another language than the tagger's: seen by their function words, read for their names alone."""

from collections.abc import Callable, Iterator, Sequence

from build_index.concepts.generic_words import GENERIC
from build_index.concepts.name_words import LINKS
from build_index.concepts.names import Case, runs
from build_index.concepts.phrases import Span
from build_index.language import Language

UNKNOWN = "?"
"""The code of a language that is none of those below."""

_FUNCTION_WORDS = {
    "en": "the a and of with on at is are to from by for his her their its that this it he she they who while as "
    "next near into over has have been being some two three",
    "de": "der die das und mit auf ein eine einen einem einer eines im ins zu zum zur den dem des sich ist sind von "
    "vor am ihr ihre ihrer ihren sein seine seinem seinen nicht für bei über unter aus zwei drei wird während neben "
    "hinter durch diese dieser einige geht steht sitzt spielt trägt mehrere",
    "nl": "het een van en met op zijn naar bij aan voor uit twee drie terwijl door niet hun wordt de",
    "fr": "le la les un une et dans avec sur qui est sont au aux du des en deux trois quatre pour par son sa ses leur "
    "leurs tandis vers devant pas ce cette à côté près lors plusieurs de",
    "es": "el la los las una y con por sus del está están para como en un que dos tres sobre su al de",
    "it": "il gli una con di per sono della del nel sul delle dei alla e lo due tre",
    "pt": "o os uma com em do da dos das no na ao pela pelo para que um dois três de",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _words in _FUNCTION_WORDS.items():
    for _word in _words.split():
        _LANGUAGES_OF.setdefault(_word, []).append(_language)

_ELISIONS = ("d'", "l'", "s'", "n'", "j'", "qu'")
_GENERIC = frozenset().union(*(words for language, words in GENERIC.items() if language is not Language.ENGLISH))


def foreign_language(
    sentences: Sequence[Sequence[str]], ours: Language, is_listed: Callable[[str], bool]
) -> str | None:
    """The code of the language that a caption is in when that is clearly not ours.

    Args:
        sentences: words as `words.sentences` gives them.
        ours: the language that a caption should be in.
        is_listed: whether a lexicon of ours has a word.

    >>> foreign_language([["Ein", "Mann", "mit", "einem", "Hut"]], Language.ENGLISH, {"mit"}.__contains__)
    'de'
    >>> foreign_language([["Château", "de", "Chambord", "in", "France"]], Language.ENGLISH, {"in"}.__contains__)
    """
    words = [word for sentence in sentences for word in sentence]
    hits: dict[str, int] = {}
    for word in words:
        low = word.lower()
        for language in _LANGUAGES_OF.get(low) or (_elided(low) if "'" in low else ()):
            hits[language] = hits.get(language, 0) + 1
    home = hits.pop(ours.value, 0)
    best, most = max(hits.items(), key=lambda item: item[1], default=(UNKNOWN, 0))
    if most < 2 and home:  # nearly every caption of ours ends here
        return None
    content = [word for word in words if len(word) > 2 and word.islower() and word not in _LANGUAGES_OF]
    unlisted = sum(not is_listed(word) for word in content)
    listed = len(content) - unlisted
    if most >= 2 and most > 2 * home and most + unlisted >= listed:
        return best
    if most > home and unlisted >= max(listed, 1):
        return best
    return UNKNOWN if unlisted >= 3 and unlisted > 2 * (listed + home) else None


def _elided(word: str) -> Sequence[str]:
    """The languages of a word that begins with a function word cut short."""
    return ("fr",) if len(word) > 3 and word.startswith(_ELISIONS) else ()


def names_by_capitals(words: Sequence[str], case: Case, language: str) -> Iterator[Span]:
    """Runs of capitalised words, with links inside. The first word of a sentence counts when another follows it.

    German writes every noun with a capital: there, two in a row are asked for.

    >>> list(names_by_capitals(["Vue", "de", "la", "Tour", "Eiffel"], Case.MIXED, "fr"))
    [(3, 5)]
    """
    lowered = [word.lower() for word in words]
    marked = [
        case is not Case.LOWER and word[0].isupper() and not (low in _LANGUAGES_OF or low in LINKS or low in _GENERIC)
        for word, low in zip(words, lowered, strict=True)
    ]
    shortest = 2 if language == "de" else 1
    for start, end in runs([""] * len(words) if language == "de" else lowered, marked):
        lone_first = (start, end) == (0, 1) and case is Case.MIXED
        if end - start >= shortest and not lone_first:
            yield start, end
