"""The second look over a picture, against plain loops."""

import math

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from labeler.gating import allowed, is_unknown, shares, supported
from labeler.naming_config import NamingConfig


def slow_shares(scores: list[float], considered: list[bool]) -> list[float]:
    weights = [math.exp(100 * score) if held else 0.0 for score, held in zip(scores, considered, strict=True)]
    return [weight / sum(weights) if sum(weights) else 0.0 for weight in weights]


@pytest.fixture(params=range(5))
def drawn(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 6 segments for 9 words, and which words are whose own; the last segment has none."""
    generator = Generator(PCG64(request.param))
    own = generator.random((6, 9)) < 0.5
    own[5] = False
    return 0.2 + 0.02 * generator.standard_normal((6, 9)), own


def test_shares_of_the_words_considered(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    scores, own = drawn
    expected = [slow_shares(*rows) for rows in zip(scores.tolist(), own.tolist(), strict=True)]
    np.testing.assert_allclose(shares(scores, own), expected, atol=1e-12)


@pytest.mark.parametrize("gate", [0.05, 0.1, 0.4, 1.0])
def test_words_that_some_segment_supports(drawn: tuple[np.ndarray, np.ndarray], gate: float) -> None:
    scores, own = drawn
    table = [slow_shares(*rows) for rows in zip(scores.tolist(), own.tolist(), strict=True)]
    good = [any(row[word] >= gate for row in table) for word in range(9)]
    expected = good if any(good) else [True] * 9
    assert supported(scores, own, gate).tolist() == expected
    assert allowed(scores, own, gate).tolist() == [expected] * 6  # every segment may take any of them


def test_no_gate_leaves_every_segment_its_own_words(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    scores, own = drawn
    np.testing.assert_array_equal(allowed(scores, own, 0.0), own)


def test_a_word_that_only_a_wavering_segment_has_is_dropped() -> None:
    own = np.array([[True] + [False] * 20, [False] + [True] * 20])
    scores = np.full((2, 21), 0.2)
    scores[1, 3] = 0.201
    assert np.flatnonzero(supported(scores, own, 0.1)).tolist() == [0]
    assert supported(scores[1:], own[1:], 0.1).all()  # alone it has nothing better to go by


def test_no_words_at_all() -> None:
    none = np.zeros((3, 0))
    assert supported(none, none.astype(bool), 0.1).shape == (0,)
    assert shares(none, none.astype(bool)).shape == (3, 0)


def test_unknown() -> None:
    scores = np.array([0.30, 0.28])
    config = NamingConfig(least_score=0.2, least_margin=0.01)
    assert not is_unknown(scores, 0.5, config)
    assert is_unknown(scores, 0.19, config)
    assert is_unknown(np.array([0.30, 0.295]), 0.5, config)
    assert not is_unknown(np.array([0.30]), 0.5, config)  # nothing to lead over
    assert is_unknown(np.array([]), 0.0, NamingConfig(least_score=0.0))
    never = NamingConfig(least_score=0.0, least_margin=0.0)
    assert not is_unknown(np.array([0.3, 0.3]), 0.0, never)
