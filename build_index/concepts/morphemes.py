"""A word that nobody has counted to its parts of speech: HanTa's guess by morphemes, ten times as fast.

A word is cut into morphemes, known ones or such as have a known ending, in all ways (Wartena 2019, "A probabilistic
morphology model for German lemmatization"). HanTa asks for each cut and each tag anew what a morpheme's odds are; here
they are looked up once for each piece of the word, for the tags that the piece can have.
"""

from functools import cache
from typing import Any

import numpy as np
from HanTa.HanoverTagger import EMPTY, START  # type: ignore[import-untyped]

_LEAST = -1e6
"""HanTa's log probability of what is impossible."""

_ONE_UNKNOWN = -4.6
"""Added for an unknown morpheme that is the whole word."""

_LONGEST_ENDING = 4
_LONGEST_COUNTED = 24
_FOLLOWED = 3

State = tuple[int, int]
"""The last two tags."""

Odds = dict[int, float]
"""Of a morpheme, tag to log p(morpheme | tag), in the order of `MorphemeModel._rank`."""

_NOTHING: Odds = {}


class MorphemeModel:
    """The morphemes of a tagger of HanTa.

    Args:
        hanta: the tagger, which is only read.
    """

    def __init__(self, hanta: Any) -> None:
        self._hanta = hanta
        self._following = {state: dict(following) for state, following in hanta.LP_trans_nonfinal.items() if following}
        self._order = {tag: place for place, tag in enumerate(self._following[EMPTY, START])}
        self._endings = frozenset[str]().union(*hanta.LP_s_t.values())
        self._unknown = cache(self._find_unknown)
        self._known: dict[str, Odds] = {}
        for tag in sorted(hanta.LP_m_t, key=self._rank):
            for morpheme, p in hanta.LP_m_t[tag].items():
                self._known.setdefault(morpheme, {})[tag] = p

    def guess(self, word: str) -> dict[int, float]:
        """Tag to log p(word, tag) of a word in lower case, the likeliest first, as HanTa's `analyze_forward`.

        Two paths to one tag count together. A word that no path leads through has no tag.
        """
        reached: list[dict[State, float]] = [{(EMPTY, START): 0.0}, *({} for _ in word)]  # by morphemes up to a letter
        for start in range(len(word)):
            self._go_on(word, start, reached)
        ended: dict[State, float] = {}
        for state, score in reached[-1].items():
            for tag, transition in self._hanta.LP_trans_final.get(state, ()):
                ended[state[1], tag] = max(score + transition, ended.get((state[1], tag), _LEAST))
        found: dict[int, float] = {}
        for (_, tag), score in ended.items():  # of a whole word the tag is negative
            found[-tag] = float(np.logaddexp(found[-tag], score)) if -tag in found else score
        return dict(sorted(found.items(), key=lambda reading: reading[1], reverse=True))

    def _go_on(self, word: str, start: int, reached: list[dict[State, float]]) -> None:
        """From what was reached before a letter, by one morpheme of any length."""
        states = reached[start]
        floor = sorted(states.values(), reverse=True)[_FOLLOWED] - 1 if len(states) > _FOLLOWED else _LEAST
        followed = [state for state, score in states.items() if score >= floor and state in self._following]
        pieces = [self._odds(word, start, end) for end in range(start + 1, len(word) + 1)] if followed else []
        for state in followed:
            following, score, last = self._following[state], states[state], state[1]
            for piece, later in zip(pieces, reached[start + 1 :], strict=True):
                for tag in piece if len(piece) < len(following) else following:
                    if tag in piece and tag in following:
                        here = score + following[tag] + piece[tag]
                        if here > later.get((last, tag), _LEAST):
                            later[last, tag] = here

    def _odds(self, word: str, start: int, end: int) -> Odds:
        """What a piece of a word can be, known or not."""
        piece = word[start:end]
        known = self._known.get(piece, _NOTHING)
        if len(word) >= 4 and len(piece) <= 2:  # nobody invents such short ones
            return known
        ending = piece[1:][-_LONGEST_ENDING:]
        while ending not in self._endings:
            ending = ending[1:]
        unknown = self._unknown(ending, min(len(piece), _LONGEST_COUNTED))
        if piece == word:
            unknown = {tag: odds + _ONE_UNKNOWN for tag, odds in unknown.items()}
        if not known:
            return unknown
        both = {**unknown, **known}
        return {tag: both[tag] for tag in sorted(both, key=self._rank)}

    def _find_unknown(self, ending: str, length: int) -> Odds:
        """What an unknown morpheme of so many letters can be, by the ending of it that HanTa has counted."""
        found = {}
        for tag in sorted(self._hanta.LP_hapax_t, key=self._rank):
            rare, lengths, endings = self._hanta.LP_hapax_t[tag], self._hanta.LP_len_t[tag], self._hanta.LP_s_t[tag]
            found[tag] = self._hanta.Int_t + rare + lengths[length] + endings[ending]
        return found

    def _rank(self, tag: int) -> int:
        """HanTa's order of tags at the beginning of a word, by which paths of equal odds are met in the same order."""
        return self._order.get(tag, len(self._order))
