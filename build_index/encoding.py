"""What a build needs of a text encoder, and how captions are put to it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shards import EncoderIdentity

CAPTIONS_PER_CALL = 2_048
"""Captions that are sorted by length together: enough for batches of nearly equal length."""


class TextEncoder(Protocol):
    """Texts to vectors."""

    identity: EncoderIdentity

    def encode(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts: float32 [n, d], unit rows."""
        ...


class Bar(Protocol):
    """The part of a progress bar that the build needs."""

    def update(self, n: int) -> object:
        """Say that n more are done."""
        ...


def embed(encoder: TextEncoder, texts: Sequence[str], bar: Bar) -> NDArray[np.float32]:
    """Embed the captions of a part, showing progress: float32 [n, d], unit rows."""
    vectors = []
    for start in range(0, len(texts), CAPTIONS_PER_CALL):
        vectors.append(encoder.encode(texts[start : start + CAPTIONS_PER_CALL]))
        bar.update(len(vectors[-1]))
    return np.concatenate(vectors)
