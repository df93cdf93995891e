"""Append, dedup, remove and compact against a plain model of the folder kept in memory."""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from build_index.compact import compact
from build_index.config import BuildConfig
from build_index.faiss_index import Searcher
from build_index.pipeline import build
from shards import EncoderIdentity, open_index, verify
from shards.removal import remove

THINGS = ["dog", "cat", "boat", "tower", "okapi"]
PLACES = ["lake", "street", "garden"]
CAPTIONS = st.builds(lambda thing, place: f"a {thing} in the {place}", st.sampled_from(THINGS), st.sampled_from(PLACES))


class WordCounter:
    """Texts as counts of THINGS and PLACES and their length, and how many texts it was given."""

    identity = EncoderIdentity(
        architecture="words",
        pretrained=None,
        checkpoint=None,
        text_digest="sha256:words",
        tokenizer="none",
        context_length=77,
        prompt="{}",
        concept_prompts=[],
        dimension=9,
        precision="fp32",
    )

    at_once = 2

    def __init__(self) -> None:
        self.given: list[str] = []

    def encode(self, captions: Sequence[str], report: Any = None) -> NDArray[np.float32]:
        self.given += captions
        counts = [[1 + len(text) / 50, *(text.count(word) for word in THINGS + PLACES)] for text in captions]
        vectors = np.array(counts, np.float32).reshape(len(captions), 9)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Folder(RuleBasedStateMachine):
    """One index folder and what must be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.index = self.place / "shards/model"
        self.texts: list[str] = []  # by row
        self.counts: list[int] = []
        self.removed: set[int] = set()
        self.read = self.files = 0

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    @initialize(captions=st.lists(CAPTIONS, min_size=1, max_size=12))
    def first_build(self, captions: list[str]) -> None:
        self.build(captions)

    @rule(captions=st.lists(CAPTIONS, max_size=12))
    def append(self, captions: list[str]) -> None:
        finished = {path.name: path.read_bytes() for path in self.index.glob("*-0*")}
        self.build(captions)
        for name, content in finished.items():
            assert (self.index / name).read_bytes() == content

    def build(self, captions: list[str]) -> None:
        """Build from one more file, and do the same to the model."""
        file = self.place / f"captions-{self.files}.txt"
        file.write_text("".join(f"{caption}\n" for caption in captions) + f"file number {self.files}\n")
        self.files += 1
        encoder = WordCounter()
        config = BuildConfig(
            corpus=(str(file),),
            name="model",
            out=self.place / "shards",
            rows_per_part=5,
            workers=1,
            concept_prompts=("{}",),
        )
        report = build(config, lambda _: encoder)
        unseen, before = 0, len(self.removed)
        for caption in [*captions, f"file number {self.files - 1}"]:
            self.read += 1
            if caption in self.texts:
                row = self.texts.index(caption)
                self.counts[row] += 1
                self.removed.discard(row)
            else:
                self.texts.append(caption)
                self.counts.append(1)
                unseen += 1
        assert report.embedded == unseen
        assert report.back == before - len(self.removed)
        assert encoder.given[:unseen] == self.texts[len(self.texts) - unseen :]
        assert report.manifest.tally.read == self.read

    @rule(word=st.sampled_from(THINGS + PLACES))
    def remove_matching(self, word: str) -> None:
        _, removed = remove(self.index, None, rf"\b{word}\b")
        found = {row for row, text in enumerate(self.texts) if re.search(rf"\b{word}\b", text)} - self.removed
        assert removed == len(found)
        self.removed |= found

    @rule(number=st.integers(0, 3))
    def remove_a_source(self, number: int) -> None:
        sources = [info.uri for info in open_index(self.index).manifest.sources]
        uri = sources[number % len(sources)]
        place = sources.index(uri)
        index = open_index(self.index)
        owners = np.concatenate(
            [index.part_table(n, ["source"])["source"].to_numpy() for n in range(len(index.manifest.parts))]
        )
        found = {row for row, owner in enumerate(owners) if owner == place} - self.removed
        assert remove(self.index, uri, None)[1] == len(found)
        self.removed |= found

    @precondition(lambda self: len(self.removed) < len(self.texts))
    @rule()
    def compact(self) -> None:
        left = [row for row in range(len(self.texts)) if row not in self.removed]
        assert compact(self.index) == (len(self.texts), len(left))
        self.texts = [self.texts[row] for row in left]
        self.counts = [self.counts[row] for row in left]
        self.removed = set()

    @invariant()
    def index_equals_model(self) -> None:
        if not self.files:
            return
        assert list(verify(self.index)) == []
        index = open_index(self.index)
        assert index.captions(range(index.manifest.rows)) == self.texts
        assert index.counts().tolist() == self.counts
        assert set(index.removed.tolist()) == self.removed
        np.testing.assert_allclose(index.vectors(range(len(self.texts))), WordCounter().encode(self.texts), atol=1e-3)

    @invariant()
    def only_words_that_are_left_may_be_said(self) -> None:
        if not self.files:
            return
        concepts = open_index(self.index).concepts
        left = [text for row, text in enumerate(self.texts) if row not in self.removed]
        words = concepts.words(range(len(concepts)))
        counts = dict(zip(words, concepts.counts.tolist(), strict=True))
        for word in THINGS + PLACES:
            assert counts.get(word, 0) == sum(word in text.split() for text in left)

    @invariant()
    def removed_rows_are_never_found(self) -> None:
        if not self.files or len(self.removed) == len(self.texts):
            return
        _, rows = Searcher(open_index(self.index)).search(WordCounter().encode(["a dog in the lake"]), 100)
        assert set(rows[0].tolist()) == set(range(len(self.texts))) - self.removed


Folder.TestCase.settings = settings(
    max_examples=15, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
)
test_folder_behaves_as_its_model = Folder.TestCase
