"""What a build lets go of: compiled products, tokens in the library's own form, mapped pages, the encoder."""

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import LetterCounter, write_captions
from numpy.typing import NDArray
from search_material import NONE, clustered

from build_index import pipeline
from build_index.config import BuildConfig
from build_index.pipeline import build
from build_index.search_index.stored import StoredVectors
from encoders import causal_text, fast_tokenizer
from encoders.clip_text import ClipText, load_clip_text
from encoders.fused_linear import FusedLinear
from encoders.presets import Precision
from encoders.tree_tiles import TILE

WORDS = ("a dog", "two cats", "a red bus", "the old town", "rain", "snow on the hills")
TEXTS = [f"{one} and {other} {number}" for number in range(9) for one in WORDS for other in WORDS]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> ClipText:
    """With the products that oneDNN compiles; a processor's own tiles need no compiling for each number of rows."""
    monkeypatch.setattr(causal_text, "packing_of", lambda *_: None)
    return load_clip_text("untrained", None, "cpu", Precision.FP32)


def test_products_are_of_a_few_sizes_and_mean_the_same(encoder: ClipText, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = set()
    multiply = FusedLinear.__call__
    monkeypatch.setattr(FusedLinear, "__call__", lambda self, x: (rows.add(len(x)), multiply(self, x))[1])
    padded = encoder.encode(TEXTS[:101])
    assert all(count == causal_text.rows_for(count) for count in rows)
    monkeypatch.setattr(causal_text, "rows_for", lambda count: count)
    literal = encoder.encode(TEXTS[:101])
    assert any(count % TILE for count in rows)  # so that the first assertion says something
    np.testing.assert_allclose(padded, literal, atol=1e-6)


def test_captions_are_tokenised_a_few_at_a_time_to_the_same_tokens(
    encoder: ClipText, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*TEXTS[:20], "", "café", *TEXTS[20:30]]
    whole = encoder._tokenizer(texts)
    monkeypatch.setattr(fast_tokenizer, "TEXTS_AT_ONCE", 3)
    assert (encoder._tokenizer(texts) == whole).all()


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux says which pages of a file are held")
def test_a_mapped_part_that_was_read_through_holds_no_pages(tmp_path: Path) -> None:
    rows = np.concatenate(clustered(3_000).parts)
    np.save(tmp_path / "vectors.npy", rows)
    part = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert part.sum() != 0
    assert sum(_resident(tmp_path / "vectors.npy")) > 0
    blocks: list[NDArray[np.float32]] = [block for _, block in StoredVectors([part], NONE).blocks()]
    assert (np.concatenate(blocks) == rows).all()
    assert sum(_resident(tmp_path / "vectors.npy")) == 0
    assert (part == rows).all()  # they come back when they are looked at


def test_the_encoder_is_gone_when_the_search_index_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[LetterCounter]] = []
    alive = []

    def load(_: BuildConfig) -> LetterCounter:
        encoder = LetterCounter()
        loaded.append(weakref.ref(encoder))
        return encoder

    finish = pipeline.finish
    monkeypatch.setattr(pipeline, "finish", lambda *all_: (alive.append(loaded[0]() is not None), finish(*all_))[1])
    captions = write_captions(tmp_path / "captions.parquet", TEXTS)
    build(BuildConfig(corpus=(str(captions),), out=tmp_path / "shards", workers=1), load)
    assert alive == [False]


def _resident(path: Path) -> Iterator[int]:
    """Kilobytes of each mapping of a file that are in this process's memory."""
    ours = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            yield int(line.split()[1])
