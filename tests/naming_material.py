"""Small indexes whose vectors are known, for the tests of naming."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from conftest import write_captions
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from build_index.config import BuildConfig
from build_index.pipeline import build
from labeler.retriever import Retriever
from labeler.seen import Pooled
from shards import EncoderIdentity

DIMENSION = 12


class Told:
    """A text encoder that is told where texts lie; every other text has a direction of its own, drawn by its bytes."""

    def __init__(self, where: Callable[[str], NDArray[np.float32] | None] = lambda _: None) -> None:
        self._where = where
        self.identity = EncoderIdentity(
            architecture="told",
            pretrained=None,
            checkpoint=None,
            text_digest="sha256:told",
            tokenizer="none",
            context_length=77,
            prompt="{}",
            concept_prompts=["{}"],
            dimension=DIMENSION,
            precision="fp32",
        )

    at_once = 1

    def encode(self, captions: Sequence[str], report: Any = None) -> NDArray[np.float32]:
        return np.stack([self._one(caption) for caption in captions])

    def _one(self, caption: str) -> NDArray[np.float32]:
        told = self._where(caption)
        return unit(Generator(PCG64(zlib.crc32(caption.encode()))).standard_normal(DIMENSION)) if told is None else told


def unit(vector: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors scaled to length 1."""
    return (vector / np.linalg.norm(vector, axis=-1, keepdims=True)).astype(np.float32)


def axis(number: int, shared: float = 0.6) -> NDArray[np.float32]:
    """A direction of its own and a share of the last one, as texts have."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[number], vector[-1] = np.sqrt(1 - shared**2), shared
    return vector


def retriever_of(folder: Path, corpora: Mapping[str, Sequence[str]], encoder: Told) -> Retriever:
    """Build an index of each corpus and open them together."""
    for name, captions in corpora.items():
        corpus = write_captions(folder / "captions" / f"{name}.parquet", captions)
        config = BuildConfig(corpus=(str(corpus),), name=name, out=folder / "shards", concept_prompts=("{}",))
        build(config, lambda _: encoder)
    return Retriever.open(folder / "shards")


CORPORA = {
    "beach": [
        "two dogs on the beach",
        "a dog and a ball on green grass",
        "waves on the beach at sunset",
        "a surfer with a surfboard on a wave",
        "a child builds a castle of sand",
        "grass and sand beside the sea",
        "a golden retriever in the water",
        "sea birds above the waves",
    ],
    "town": [
        "a red bus in the street",
        "a dog on the street",
        "cars and a bus beside a tower",
        "the Leaning Tower of Pisa",
        "a street with cars and bicycles",
        "grass in front of a house",
        "a house with a red door",
        "the Leaning Tower of Pisa behind a house",
        "a man with a bicycle beside a car",
    ],
}
"""Two indexes that share words: dog, grass."""


def random_picture(seed: int, segments: int = 5) -> Pooled:
    """Segments in random directions, each touching the next, and a whole."""
    generator = Generator(PCG64(seed))
    vectors = unit(generator.standard_normal((segments, DIMENSION)))
    pairs = np.array([[row, row + 1] for row in range(segments - 1)], np.int64).reshape(-1, 2)
    return Pooled(vectors, generator.integers(1, 500, segments), pairs, unit(vectors.mean(axis=0)))
