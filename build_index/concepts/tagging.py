"""Words to parts of speech: the search for the most likely tags of a sentence under HanTa's trigram model.

HanTa's own search tries every tag of the language at every word; this one tries the tags that a word can have, which
gives the same answer in half the time.
"""

from collections.abc import Sequence
from functools import lru_cache

from HanTa.HanoverTagger import EMPTY, END, START  # type: ignore[import-untyped]

from build_index.concepts.lexicon import Lexicon

_BEAM = 8.0  # nats: a reading or a path this much worse than the best one is not followed

Candidates = tuple[tuple[int, float], ...]  # tags of a word, each with log p(word | tag)


class Tagger:
    """Tags sentences with the model of a lexicon's language.

    >>> from build_index.language import Language
    >>> Tagger(Lexicon(Language.ENGLISH)).parts(["A", "dog", "chases", "two", "red", "balls"], cased=True)
    'tnvcam'
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._candidates = lru_cache(maxsize=49_152)(self._find_candidates)

    def parts(self, words: Sequence[str], *, cased: bool) -> str:
        """The part of speech of every word of a sentence, one letter of `Part` each.

        Args:
            words: at least one, as `words.sentences` gives them.
            cased: whether capitals mean anything in this text.
        """
        candidates = [
            self._candidates(word.lower(), (True if cased and at else None) if word[0].isupper() else False)
            for at, word in enumerate(words)
        ]
        return "".join([self.lexicon.parts[tag] for tag in self._search(candidates)])

    def _search(self, candidates: list[Candidates]) -> list[int]:
        """The most likely tags under HanTa's trigram model (Viterbi; a state is the last two tags)."""
        transitions = self.lexicon.hanta.LP_trans_word
        scores = {(EMPTY, START): 0.0}
        pointers: list[dict[tuple[int, int], tuple[int, int]]] = []
        for word in candidates:
            best: dict[tuple[int, int], float] = {}
            origin: dict[tuple[int, int], tuple[int, int]] = {}
            floor = max(scores.values()) - _BEAM
            for state, score in scores.items():
                if score < floor:
                    continue
                following = transitions[state]
                for tag, emission in word:
                    reached = score + following[tag] + emission
                    new = (state[1], tag)
                    if reached > best.get(new, -1e9):
                        best[new] = reached
                        origin[new] = state
            scores = best
            pointers.append(origin)
        state = max(scores, key=lambda last: scores[last] + transitions[last].get(END, -1e9))
        tags = []
        for origin in reversed(pointers):
            tags.append(state[1])
            state = origin[state]
        return tags[::-1]

    def _find_candidates(self, word: str, upper: bool | None) -> Candidates:  # noqa: FBT001 - three states, not a switch
        joint = self.lexicon.readings(word)
        floor = max(joint.values()) - _BEAM
        prior, case = self.lexicon.hanta.LP_wtag, self.lexicon.hanta.LP_case_t
        return tuple(
            (tag, p - prior[tag] + (0.0 if upper is None else case[tag][upper]))
            for tag, p in joint.items()
            if p >= floor
        )
