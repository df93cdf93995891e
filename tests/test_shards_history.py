"""Folders written by earlier versions of this program stay readable."""

from pathlib import Path

import numpy as np
import pytest
from conftest import letters

from build_index.faiss_index import Searcher
from shards import open_index, verify

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("folder", ["shards-v1"])
def test_a_sample_of_every_version_opens(folder: str) -> None:
    assert list(verify(DATA / folder)) == []
    index = open_index(DATA / folder)
    assert index.captions(range(5))[1:4] == ["the Leaning Tower of Pisa", "a café at night", "a red bus"]
    assert index.removed.tolist() == [4]
    by_hand = letters(a=1, r=1, e=1, d=1, b=1, u=1, s=1, rest=2)
    np.testing.assert_allclose(index.vectors([3])[0], by_hand, atol=1e-3)
    _, rows = Searcher(index).search(by_hand[None], 5)
    assert rows[0, 0] == 3
    assert 4 not in rows
    concepts = index.concepts
    words = concepts.words(range(len(concepts)))
    said = {word for word, count in zip(words, concepts.counts, strict=True) if count}
    assert {"golden retriever", "leaning tower of pisa", "café", "bus"} <= said
    assert "okapi" in words
    assert "okapi" not in said
