"""What a build needs of a text encoder, and how captions are put to it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shards import EncoderIdentity

CAPTIONS_PER_CALL = 32_768
"""Captions that are sorted together. Of CC3M's 12.64 tokens a caption, 10.65 have to be computed if 2,048 are sorted
together, 10.24 of 8,192, 10.01 of this many."""

Report = Callable[[int], object]


class TextEncoder(Protocol):
    """Texts to vectors.

    Attributes:
        identity: who makes the vectors.
        at_once: calls of `encode` that may run at the same time, each in a thread of its own.
    """

    identity: EncoderIdentity
    at_once: int

    def encode(self, captions: Sequence[str], report: Report = ...) -> NDArray[np.float32]:
        """Embed n texts, telling now and then how many more are done: float32 [n, d], unit rows."""
        ...


class Stopped(Exception):
    """What a thread that encodes meets where its result is no longer wanted."""


class Embedder:
    """Embeds the captions of several parts at once, in threads; a context manager.

    Attributes:
        ahead: parts that are worth beginning before the first of them is needed.
    """

    def __init__(self, encoder: TextEncoder, report: Report) -> None:
        self.ahead = encoder.at_once - 1
        self._encoder, self._report = encoder, report
        self._threads = ThreadPoolExecutor(encoder.at_once)
        self._stop = threading.Event()

    def __enter__(self) -> "Embedder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._threads.shutdown(cancel_futures=True)

    def begin(self, texts: Sequence[str]) -> Future[NDArray[np.float32]]:
        """Start to embed the captions of a part: float32 [n, d], unit rows."""
        return self._threads.submit(self._embed, texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        calls = (texts[start : start + CAPTIONS_PER_CALL] for start in range(0, len(texts), CAPTIONS_PER_CALL))
        vectors = [self._encoder.encode(some, self._count) for some in calls]
        return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)

    def _count(self, more: int) -> None:
        if self._stop.is_set():
            raise Stopped
        self._report(more)
