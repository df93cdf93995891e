"""What is known about single words: HanTa's counts, LemmInflect's dictionary, and a guess at the rest.

HanTa's models come inside its wheel, and so does the dictionary of LemmInflect: nothing is downloaded.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from HanTa.HanoverTagger import HanoverTagger  # type: ignore[import-untyped]
from lemminflect import getAllLemmas  # type: ignore[import-untyped]

from build_index.concepts import german
from build_index.concepts.morphemes import MorphemeModel
from build_index.language import Language


class Part:
    """Parts of speech as single letters: a sentence is then a string, and a set of parts a string too."""

    NOUN, PLURAL, NAME = "n", "m", "p"
    ADJECTIVE, GERUND, PARTICIPLE = "a", "g", "d"
    DETERMINER, PREPOSITION, OF, POSSESSIVE, AND = "t", "i", "o", "s", "&"
    NUMBER, VERB, OTHER, MARK = "c", "v", "x", ","


_MODELS = {
    Language.ENGLISH: "morphmodel_en.pgz",
    Language.GERMAN: "morphmodel_ger.pgz",
    Language.DUTCH: "morphmodel_dutch.pgz",
}

_NOUN_TAG = {Language.ENGLISH: "NN1", Language.GERMAN: "NN", Language.DUTCH: "N(soort,ev,basis,zijd,stan)"}

_PARTS = {  # the longest prefix of a tag that is in the table decides
    Language.ENGLISH: {  # C5, the tags of the British National Corpus
        "NN": "n", "NN2": "m", "NP": "p", "UNC": "n", "AJ": "a", "VVG": "g", "VVN": "d", "AT": "t", "DPS": "t",
        "DT0": "t", "PRP": "i", "AVP": "i", "PRF": "o", "POS": "s", "CJC": "&", "CRD": "c", "ORD": "c", "ZZ": "c",
        "V": "v", "PU": ",",
    },
    Language.GERMAN: {  # STTS
        "NN": "n", "NE": "p", "ADJ(A)": "a", "ART": "t", "PPOSAT": "t", "PDAT": "t", "PIAT": "t", "APPR": "i",
        "CARD": "c", "KON": "&", "V": "v", "$": ",",
    },
    Language.DUTCH: {  # CGN
        "N(soort,ev": "n", "N(soort,mv": "m", "N(eigen": "p", "SPEC": "p", "ADJ(prenom": "a", "LID": "t", "VZ": "i",
        "VNW(bez": "t", "VNW(aanw,det": "t", "TW": "c", "VG(neven": "&", "WW": "v", "LET": ",",
    },
}  # fmt: skip

_KNOWN_MORPHEMES = -30.0  # log probability above which HanTa has built a word from morphemes that it knows
_CLEARLY = 1.9  # log odds
_RARE = -14.0  # log probability of a noun that only the dictionary has
_UNSEEN_READING = -3.0  # the same, against a word's best reading, where HanTa has seen it with other tags only

_OPEN = {"ng": "nmpag", "ed": "nmpadv", "en": "nmpadv", "te": "nmpav"}  # what an English word that ends so may be


class Lexicon:
    """The words of one language, with bounded memories of those it was asked about.

    >>> lexicon = Lexicon(Language.ENGLISH)
    >>> lexicon.is_listed("giraffe"), lexicon.is_common("giraffe"), lexicon.is_common("zzyzx")
    (True, True, False)
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self.hanta: Any = HanoverTagger(_MODELS[language])
        self._morphemes = MorphemeModel(self.hanta)
        self.parts = {tag: _part(name, _PARTS[language]) for tag, name in self.hanta.int2tag.items()}
        self.readings = lru_cache(maxsize=16_384)(self._find_readings)
        self.is_listed = lru_cache(maxsize=16_384)(self._find_is_listed)
        self.is_common = lru_cache(maxsize=16_384)(self._find_is_common)

    def lemma(self, noun: str) -> str:
        """The singular of a German noun by HanTa's morphology, in lower case; a noun of another language as it is.

        HanTa's Dutch lemmas are stems ("katt", "huiz"), and a noun in the plural is better than no word.

        >>> Lexicon(Language.GERMAN).lemma("hunden")
        'hund'
        """
        if self.language is not Language.GERMAN:
            return noun
        return german.lemma(noun, self.hanta)

    def is_adjective(self, word: str) -> bool:
        """Whether a word in lower case is far more often an adjective than a noun, by HanTa's counts."""
        seen = self.hanta.cache.get(word, ())
        readings = {
            part: max(p for tag, p in seen if self.parts[tag] == part) for part in {self.parts[tag] for tag, _ in seen}
        }
        return readings.get(Part.ADJECTIVE, -99.0) > readings.get(Part.NOUN, -99.0) + _CLEARLY

    def verb_odds(self, word: str) -> float:
        """Log odds of an English word in lower case as a verb in the third person against a noun; -99 where it is none.

        >>> lexicon = Lexicon(Language.ENGLISH)
        >>> lexicon.verb_odds("swims") > lexicon.verb_odds("lights") > lexicon.verb_odds("giraffes") == -99.0
        True
        """
        readings = self.readings(word)
        verb = readings.get(self.hanta.tag2int["VVZ"])
        if verb is None:
            return -99.0
        return verb - max((p for tag, p in readings.items() if self.parts[tag] in "nm"), default=verb)

    def _find_readings(self, word: str) -> dict[int, float]:
        """Tag to log p(word, tag), from what HanTa has seen, else from the dictionary, else from the word's form."""
        seen = {tag: float(p) for tag, p in self.hanta.cache.get(word, ())}
        listed = self._dictionary_tags(word)
        if seen:
            best = max(seen.values())
            return {**{tag: best + _UNSEEN_READING + odds for tag, odds in listed.items()}, **seen}
        if listed:
            return {tag: _RARE + odds for tag, odds in listed.items()}
        return self._guess(word)

    def _guess(self, word: str) -> dict[int, float]:
        """HanTa's guess at a word that it has not seen; a noun is among the readings of what it has no idea of."""
        guessed = self._morphemes.guess(word)
        if self.language is Language.ENGLISH:  # nobody invents prepositions
            allowed = _OPEN.get(word[-2:], "nmpa")
            guessed = {tag: p for tag, p in guessed.items() if self.parts[tag] in allowed}
        best = max(guessed.values(), default=_RARE)
        if best < _KNOWN_MORPHEMES or not guessed:
            guessed[self.hanta.tag2int[_NOUN_TAG[self.language]]] = best
        return guessed

    def _dictionary_tags(self, word: str) -> dict[int, float]:
        """Tags that LemmInflect has for an English word, each with its log odds against a noun; else nothing."""
        if self.language is not Language.ENGLISH:
            return {}
        lemmas = getAllLemmas(word)
        odds: dict[str, float] = {}
        if "VERB" in lemmas:
            odds |= dict.fromkeys(_verb_tags(word, lemmas["VERB"]), -2.5)
        if "ADV" in lemmas:
            odds["AV0"] = -2.0
        if "ADJ" in lemmas:
            odds["AJ0"] = -1.0
        if "NOUN" in lemmas:
            odds["NN1" if word in lemmas["NOUN"] else "NN2"] = 0.0
        return {self.hanta.tag2int[name]: log_odds for name, log_odds in odds.items()}

    def _find_is_listed(self, word: str) -> bool:
        """Whether a word in lower case is in the dictionary or in HanTa's own list."""
        return word in self.hanta.cache or bool(self._dictionary_tags(word))

    def _find_is_common(self, word: str) -> bool:
        """Whether a word in lower case is an ordinary one, so that a capital does not make it a name."""
        if self._dictionary_tags(word):
            return True
        seen = self.hanta.cache.get(word)
        if seen is not None:
            return self.parts[max(seen, key=lambda reading: reading[1])[0]] != Part.NAME
        tag, p = max(self.readings(word).items(), key=lambda reading: reading[1])
        return p > _KNOWN_MORPHEMES and self.parts[tag] != Part.NAME


def _part(tag: str, table: dict[str, str]) -> str:
    """The letter for a tag, by the longest prefix in the table.

    >>> _part("NN2", _PARTS[Language.ENGLISH]), _part("NN0", _PARTS[Language.ENGLISH])
    ('m', 'n')
    """
    for end in range(len(tag), 0, -1):
        if tag[:end] in table:
            return table[tag[:end]]
    return Part.OTHER


def _verb_tags(word: str, bases: Sequence[str]) -> list[str]:
    """C5 tags of a verb's form, by its ending.

    >>> _verb_tags("ruffled", ["ruffle"])
    ['VVD', 'VVN']
    """
    if word in bases:
        return ["VVB", "VVI"]
    if word.endswith("ing"):
        return ["VVG"]
    return ["VVZ"] if word.endswith("s") else ["VVD", "VVN"]
