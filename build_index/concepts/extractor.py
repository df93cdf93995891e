"""Captions to concepts: the words that a labeler may say."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from build_index.concepts.cuts import Concept, ConceptKind, Cutter, join, proper
from build_index.concepts.foreign import UNKNOWN, foreign_language, names_by_capitals
from build_index.concepts.generic_words import GENERIC, MEDIUM
from build_index.concepts.german import is_in_the_singular
from build_index.concepts.lexicon import Lexicon, Part
from build_index.concepts.name_words import LINKS
from build_index.concepts.names import Case, NameFinder, case_of, runs
from build_index.concepts.phrases import Span, Unit, chunks, mend, units
from build_index.concepts.singular import singular
from build_index.concepts.tagging import Tagger
from build_index.concepts.words import sentences
from build_index.language import Language

__all__ = ["MAX_CHARACTERS", "Concept", "ConceptExtractor", "ConceptKind", "Language", "word_list_concept"]

MAX_CHARACTERS = 60
"""No name of a thing is longer; what is longer is damage."""


class Sentence(NamedTuple):
    """A sentence of a caption.

    Attributes:
        words: as they are written.
        lowered: in lower case.
        case: what capitals say in this caption.
    """

    words: list[str]
    lowered: list[str]
    case: Case


class ConceptExtractor:
    """Finds the concepts of captions in one language; it holds the language's lexicon and tagger.

    English captions give noun phrases of up to four words, their heads, and names. German and Dutch give nouns and
    names, since their adjectives inflect and their compounds are one word; Dutch plurals stay plurals. A caption that
    is clearly in another language than the extractor's gives the names that its capitals show.

    Args:
        language: what the captions are written in.
        tagger: another tagger than the language's own.

    >>> [concept.text for concept in ConceptExtractor().extract("Two women with golden retrievers in New York")]
    ['woman', 'golden retriever', 'retriever', 'new york']
    """

    def __init__(self, language: Language = Language.ENGLISH, tagger: Tagger | None = None) -> None:
        self._language = language
        self._generic = GENERIC[language]
        if language is not Language.OTHER:
            self._tagger = tagger or Tagger(Lexicon(language))
            self._lexicon = self._tagger.lexicon
            self._names = NameFinder(self._lexicon.is_common, self._lexicon.is_listed)
            self._singular = lru_cache(maxsize=16_384)(self._find_singular)
            self._cutter = Cutter(self._singular, self._lexicon.is_listed)

    def extract(self, caption: str) -> tuple[Concept, ...]:
        """The concepts of a caption, each once, in order of appearance.

        >>> [(text, kind.value) for text, kind in ConceptExtractor().extract("Stock photo: the Leaning Tower of Pisa")]
        [('leaning tower of pisa', 'proper'), ('tower', 'noun')]
        """
        return self.extract_all([caption])[0]

    def extract_all(self, captions: Sequence[str]) -> list[tuple[Concept, ...]]:
        """As `extract`, of n captions, in half the time: each step goes through all of them before the next begins."""
        spoken = [sentences(caption) for caption in captions]
        cases = [case_of(each) for each in spoken]
        languages = [self._language_of(each) for each in spoken]
        ours = [language == self._language.value for language in languages]
        own = [
            Sentence(words, [word.lower() for word in words], case)
            for each, case, is_ours in zip(spoken, cases, ours, strict=True)
            for words in (each if is_ours else ())
        ]
        tagged = self._phrases if self._language is Language.ENGLISH else self._nouns
        read = iter(tagged(own) if own else [])
        return [
            self._distinct(
                chain.from_iterable(next(read) for _ in each)
                if is_ours
                else chain.from_iterable(_foreign_names(words, case, language) for words in each)
            )
            for each, case, language, is_ours in zip(spoken, cases, languages, ours, strict=True)
        ]

    def _distinct(self, concepts: Iterable[Concept]) -> tuple[Concept, ...]:
        found: dict[str, Concept] = {}
        for concept in concepts:
            if 1 < len(concept.text) <= MAX_CHARACTERS and concept.text not in self._generic:
                found.setdefault(concept.text, concept)
        return tuple(found.values())

    def _language_of(self, spoken: list[list[str]]) -> str:
        if self._language is Language.OTHER:
            return foreign_language(spoken, self._language, frozenset().__contains__) or UNKNOWN
        return foreign_language(spoken, self._language, self._lexicon.is_listed) or self._language.value

    def _phrases(self, own: list[Sentence]) -> list[Iterator[Concept]]:
        """English: cuts of noun phrases, and phrases around "of"."""
        lexicon = self._lexicon
        parts = self._tagger.parts([(words, case is not Case.TITLE) for words, _, case in own])
        parts = [
            mend(lowered, each, lexicon.is_adjective, lexicon.verb_odds)
            for (_, lowered, _), each in zip(own, parts, strict=True)
        ]
        names = [self._names.find(words, each, case) for (words, _, case), each in zip(own, parts, strict=True)]
        parts = [_without_lone_names(each, found) for each, found in zip(parts, names, strict=True)]
        return [
            self._cuts(lowered, each, found) for (_, lowered, _), each, found in zip(own, parts, names, strict=True)
        ]

    def _cuts(self, lowered: list[str], parts: str, names: list[Span]) -> Iterator[Concept]:
        before: list[Unit] = []
        for chunk in chunks(lowered, parts, names):
            if before and parts[before[-1].end : chunk[0].start] == Part.OF:
                yield from self._cutter.around_of(lowered, before, chunk)
            yield from self._cutter.cut(lowered, parts, chunk)
            before = chunk

    def _nouns(self, own: list[Sentence]) -> list[Iterator[Concept]]:
        """The other languages that have a tagger: single nouns and runs of names."""
        parts = self._tagger.parts([(words, True) for words, _, _ in own])
        return [self._nouns_of(words, lowered, each) for (words, lowered, _), each in zip(own, parts, strict=True)]

    def _nouns_of(self, words: list[str], lowered: list[str], parts: str) -> Iterator[Concept]:
        named = [
            part == Part.NAME and word[0].isupper() and not self._lexicon.is_common(low)
            for word, low, part in zip(words, lowered, parts, strict=True)
        ]
        for unit in units(parts, list(runs(lowered, named))):
            if unit.part == Part.NAME and named[unit.start]:
                yield proper(lowered, unit)
            elif unit.part in "nmp":
                noun = lowered[unit.start]
                is_singular = self._language is Language.GERMAN and is_in_the_singular(lowered, parts, unit.start)
                yield Concept(join([noun if is_singular else self._singular(noun, unit.part)]), ConceptKind.NOUN)

    def _find_singular(self, noun: str, part: str) -> str:
        if self._language is Language.ENGLISH:
            return singular(noun, plural=part == Part.PLURAL, is_word=self._lexicon.is_listed)
        return self._lexicon.lemma(noun)


def _foreign_names(words: list[str], case: Case, language: str) -> Iterator[Concept]:
    lowered = [word.lower() for word in words]
    return (proper(lowered, Unit(*span, Part.NAME)) for span in names_by_capitals(words, case, language))


def _without_lone_names(parts: str, names: list[Span]) -> str:
    """Proper nouns outside every name become common ones."""
    if Part.NAME not in parts:
        return parts
    letters = list(parts.replace(Part.NAME, Part.NOUN))
    for start, end in names:
        letters[start:end] = parts[start:end]
    return "".join(letters)


def _is_a_letter(text: str) -> bool:
    """Whether a text is one letter of an alphabet; one sign of Chinese may be a word."""
    return len(text) == 1 and text < "\u2e80"


_SENSE = re.compile(r"_?\([^()]*\)")  # LVIS: "bat_(animal)"
_NEXT_NAME = re.compile(  # "dog, domestic dog", but "24/7 shop"; "dog: a mammal", but "Star Wars: A New Hope"
    r"[;|\t]|(?<!\d)[,/]|[,/](?!\d)|:\s+(?=[a-z])|\s[-\u2013\u2014]\s(?=(?:an?|the|any|one)\s)"
)


def word_list_concept(line: str) -> Concept | None:
    """A line of a word list as a concept: a lemma of WordNet, a name of V3Det, a "name_(sense)" of LVIS.

    Of several names on a line the first counts. The number of a noun stays as the list has it. Several words that all
    begin with a capital are a name; None where there is no word, or one that is never a concept.

    >>> word_list_concept("golden_retriever")
    Concept(text='golden retriever', kind=<ConceptKind.PHRASE: 'phrase'>)
    >>> word_list_concept("bat_(animal)")
    Concept(text='bat', kind=<ConceptKind.NOUN: 'noun'>)
    >>> word_list_concept("Eiffel_Tower").kind, word_list_concept("photo")
    (<ConceptKind.PROPER: 'proper'>, None)
    """
    first = _NEXT_NAME.split(_SENSE.sub("", line[: 4 * MAX_CHARACTERS]).strip())[0]
    words = first.replace("_", " ").split()
    text = unicodedata.normalize("NFC", " ".join(words).lower())
    if len(text) > MAX_CHARACTERS or text in MEDIUM or not any(map(str.isalpha, text)) or _is_a_letter(text):
        return None
    if len(words) == 1:
        return Concept(text, ConceptKind.NOUN)
    named = all(word[0].isupper() for word in words if word.lower() not in LINKS)
    return Concept(text, ConceptKind.PROPER if named else ConceptKind.PHRASE)
