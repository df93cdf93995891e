"""Names to comparable strings, and phrases to their heads."""

import re
import unicodedata
from collections.abc import Callable, Iterator

from build_index.concepts.singular import singular

_GAPS = re.compile(r"[\s_\-\u2010-\u2015]+")
_MARKS = re.compile(r"[^\w\s&'.]")
_RELATION = re.compile(r" (?:of|in|on|at|with|without|for|from|by|near|under|over|behind|beside|and|or) ")

_AMOUNTS = frozenset(
    "piece slice group pair bunch row pile heap stack set kind type sort couple lot part number crowd herd flock "
    "collection series body view blade drop patch sheet strand tuft clump bouquet layer bit amount variety".split()
)
"""What stands before "of" and says how much, not what: a slice of pizza is pizza, a cup of coffee is a cup."""

_PERSONS = {"people": "person", "folk": "person"}


def normal(name: str) -> str:
    """A name in lower case, its hyphens and underscores as single spaces, without other punctuation.

    >>> normal(" Potted_Plant "), normal("T-shirt"), normal("")
    ('potted plant', 't shirt', '')
    """
    text = unicodedata.normalize("NFC", name).casefold().replace("\u2019", "'")
    return _GAPS.sub(" ", _MARKS.sub(" ", text)).strip()


def lemma(name: str, is_word: Callable[[str], bool] = lambda word: False) -> str:
    """A normal name with its last word in the singular.

    >>> lemma("Sports Cars"), lemma("people"), lemma("mice"), lemma("grass"), lemma("scissors")
    ('sports car', 'person', 'mouse', 'grass', 'scissors')
    """
    *before, last = normal(name).split(" ")
    last = _PERSONS.get(last, last)
    plural = last.endswith("s") or not is_word(last)  # children are no word of a list of nouns; opera is one
    return " ".join([*before, singular(last, plural=plural, is_word=is_word)])


def heads(name: str) -> Iterator[str]:
    """The name itself, then its shorter and shorter heads: what an English noun phrase is a kind of.

    A phrase is cut before its first preposition, or behind "of" where what stands before is an amount; then words are
    taken off its front.

    >>> list(heads("red sports car"))
    ['red sports car', 'sports car', 'car']
    >>> list(heads("leaning tower of pisa"))
    ['leaning tower of pisa', 'leaning tower', 'tower']
    >>> list(heads("a slice of cheese pizza"))
    ['a slice of cheese pizza', 'cheese pizza', 'pizza']
    """
    phrase = normal(name)
    if not phrase:
        return
    yield phrase
    while cut := _RELATION.search(phrase):
        before, after = phrase[: cut.start()], phrase[cut.end() :]
        amount = cut.group() == " of " and lemma(before).split(" ")[-1] in _AMOUNTS
        phrase = after if amount else before
        yield phrase
    words = phrase.split(" ")
    yield from (" ".join(words[start:]) for start in range(1, len(words)))
