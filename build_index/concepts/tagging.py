"""Words to parts of speech: the most likely tags of sentences under HanTa's trigram model.

HanTa's own search tries every tag of the language at every word; this one tries the tags that a word can have, for many
sentences at once, in compiled code (`viterbi`).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise

import numpy as np
from HanTa.HanoverTagger import EMPTY, END, START  # type: ignore[import-untyped]
from numpy.typing import NDArray

from build_index.concepts.lexicon import Lexicon

BEAM = 8.0
"""A reading or a path this much worse than the best one, in nats, is not followed."""

Word = tuple[str, bool | None]
"""In lower case, and whether it has a capital; None where that says nothing."""

Candidates = tuple[tuple[int, ...], tuple[float, ...]]
"""Tags of a word, as the tagger numbers them, and log p(word | tag) of each."""


class Tagger:
    """Tags sentences with the model of a lexicon's language.

    >>> from build_index.language import Language
    >>> Tagger(Lexicon(Language.ENGLISH)).parts([("A dog chases two red balls".split(), True)])
    ['tnvcam']
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._candidates = lru_cache(maxsize=49_152)(self._find_candidates)
        tags = sorted(lexicon.hanta.LP_wtag)
        self._letters = np.frombuffer("".join(lexicon.parts[tag] for tag in tags).encode(), np.uint8)
        self._numbers = {tag: number for number, tag in enumerate([*tags, START, EMPTY])}
        self._following = self._transitions([*tags, END])

    def parts(self, sentences: Sequence[tuple[Sequence[str], bool]]) -> list[str]:
        """The part of speech of every word of n sentences, one letter of `Part` each.

        Args:
            sentences: each of at least one word, as `words.sentences` gives them, and whether capitals mean anything.
        """
        rows: dict[Word, int] = {}
        words = [rows.setdefault(word, len(rows)) for words, cased in sentences for word in spelled(words, cased=cased)]
        bounds = list(accumulate((len(words) for words, _ in sentences), initial=0))
        letters = self._letters[self._search(bounds, words, list(rows))].tobytes().decode()
        return [letters[start:end] for start, end in pairwise(bounds)]

    def _search(self, bounds: list[int], words: list[int], rows: list[Word]) -> NDArray[np.int64]:
        from build_index.concepts.viterbi import Readings, search

        found = [self._candidates(*word) for word in rows]
        readings = Readings(
            np.array(list(accumulate((len(tags) for tags, _ in found), initial=0)), np.int64),
            np.array(list(chain.from_iterable(tags for tags, _ in found)), np.int64),
            np.array(list(chain.from_iterable(emissions for _, emissions in found)), np.float64),
        )
        return search(np.array(bounds, np.int64), np.array(words, np.int64), readings, self._following, BEAM)

    def _transitions(self, third: list[int]) -> NDArray[np.float64]:
        """HanTa's log p(tag | the two before it) as `viterbi.search` takes them."""
        table = np.full((len(third) + 1, len(third), len(third)), -np.inf)
        for (before, last), row in self.lexicon.hanta.LP_trans_word.items():
            if END not in (before, last):
                table[self._numbers[before], self._numbers[last]] = [row[tag] for tag in third]
        return table

    def _find_candidates(self, word: str, upper: bool | None) -> Candidates:  # noqa: FBT001 - three states, not a switch
        joint = self.lexicon.readings(word)
        floor = max(joint.values()) - BEAM
        prior, case = self.lexicon.hanta.LP_wtag, self.lexicon.hanta.LP_case_t
        found = {
            self._numbers[tag]: p - prior[tag] + (0.0 if upper is None else case[tag][upper])
            for tag, p in joint.items()
            if p >= floor
        }
        return tuple(found), tuple(found.values())


def spelled(words: Sequence[str], *, cased: bool) -> list[Word]:
    """The words of a sentence as the tagger looks them up. A capital says nothing at its beginning.

    >>> spelled(["The", "Thames"], cased=True)
    [('the', None), ('thames', True)]
    """
    return [
        (word.lower(), (True if cased and at else None) if word[0].isupper() else False)
        for at, word in enumerate(words)
    ]
