"""The tagger against HanTa's own, and its compiled search against a search through dictionaries."""

import math
import random

import numpy as np
import pytest
from HanTa.HanoverTagger import UNKNOWN
from hypothesis import given, settings
from hypothesis import strategies as st

from build_index.concepts import ConceptExtractor, Language
from build_index.concepts.lexicon import Lexicon
from build_index.concepts.morphemes import MorphemeModel
from build_index.concepts.tagging import BEAM, Tagger, spelled
from build_index.concepts.viterbi import Readings, search

LEXICON = Lexicon(Language.ENGLISH)
TAGGER = Tagger(LEXICON)

SENTENCES = [
    "The old man sat on a wooden bench near the river .",
    "Two women are walking along the street with their children .",
    "A young girl in London wearing a red coat , holding her hand",
    "He said that the house of the bishop was built in the last century",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_search_agrees_with_hantas_own(sentence: str) -> None:
    tags = LEXICON.hanta.tag_sent(sentence.split(), taglevel=0)
    expected = "".join(LEXICON.parts[LEXICON.hanta.tag2int[tag]] for tag in tags)
    assert TAGGER.parts([(sentence.split(), True)]) == [expected]


def test_sentences_do_not_change_each_other() -> None:
    several = [(sentence.split(), cased) for sentence in SENTENCES for cased in (True, False)]
    assert TAGGER.parts(several) == [TAGGER.parts([each])[0] for each in several]
    assert TAGGER.parts([]) == []


def test_a_capital_counts_where_it_says_something() -> None:
    assert spelled(["Rose", "in", "Rose"], cased=True) == [("rose", None), ("in", False), ("rose", True)]
    assert spelled(["Rose", "in", "Rose"], cased=False) == [("rose", None), ("in", False), ("rose", None)]


def slow_search(sentence: list[dict[int, float]], following: np.ndarray, beam: float) -> list[int]:
    """The most likely tags, by a dictionary from the last two tags to the best score and the tags so far."""
    start = following.shape[2] - 1
    paths: dict[tuple[int, int], tuple[float, list[int]]] = {(start + 1, start): (0.0, [])}
    for readings in sentence:
        floor = max(score for score, _ in paths.values()) - beam
        longer: dict[tuple[int, int], tuple[float, list[int]]] = {}
        for (before, last), (score, tags) in paths.items():
            for tag, emission in readings.items() if score >= floor else ():
                reached = score + following[before, last, tag] + emission
                if (last, tag) not in longer or reached > longer[last, tag][0]:
                    longer[last, tag] = reached, [*tags, tag]
        paths = longer
    return max(paths.items(), key=lambda path: path[1][0] + following[(*path[0], start)])[1][1]


TAGS = 4
scores = st.integers(-3, 0).map(float)  # few, so that many paths are equal
made_up = st.lists(st.dictionaries(st.integers(0, TAGS - 1), scores, min_size=1), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(made_up, max_size=4), st.integers(0, 1_000), st.sampled_from([0.5, 2.0, 99.0]))
def test_compiled_search_is_the_slow_one(several: list[list[dict[int, float]]], seed: int, beam: float) -> None:
    following = -np.random.default_rng(seed).integers(0, 4, (TAGS + 2, TAGS + 1, TAGS + 1)).astype(np.float64)
    words = [readings for sentence in several for readings in sentence]
    readings = Readings(
        np.cumsum([0, *map(len, words)]),
        np.array([tag for readings in words for tag in readings], np.int64),
        np.array([p for readings in words for p in readings.values()], np.float64),
    )
    chosen = search(np.cumsum([0, *map(len, several)]), np.arange(len(words)), readings, following, beam)
    assert chosen.tolist() == [tag for sentence in several for tag in slow_search(sentence, following, beam)]


def test_real_sentences_are_searched_as_slowly() -> None:
    for sentence in SENTENCES:
        words = spelled(sentence.split(), cased=True)
        readings = [dict(zip(*TAGGER._candidates(*word), strict=True)) for word in words]
        letters = [chr(TAGGER._letters[tag]) for tag in slow_search(readings, TAGGER._following, BEAM)]
        assert TAGGER.parts([(sentence.split(), True)]) == ["".join(letters)]


@pytest.mark.parametrize("language", [Language.ENGLISH, Language.GERMAN])
def test_guesses_are_hantas(language: Language) -> None:
    hanta = Lexicon(language).hanta
    model, chance = MorphemeModel(hanta), random.Random(0)
    known = sorted(hanta.cache)
    made = [
        first[: chance.randint(1, 6)] + second[-4:] for first, second in zip(known[::97], known[50::97], strict=False)
    ]
    for word in [*made[:300], "", "a", "ß", "éa", "zyzx", "q" * 36, "it's", "t-shirts", *known[::500][:50]]:
        expected = {tag: p for tag, p in hanta.analyze_forward(word) if tag != UNKNOWN}
        guessed = model.guess(word)
        assert list(guessed) == list(expected)
        assert all(math.isclose(guessed[tag], p, rel_tol=1e-12) for tag, p in expected.items())


def test_memories_are_bounded() -> None:
    extractor = ConceptExtractor(tagger=TAGGER)
    for memory in (LEXICON.readings, TAGGER._candidates, LEXICON.is_listed, LEXICON.is_common, extractor._singular):
        assert memory.cache_parameters()["maxsize"] is not None
