"""Captions to concepts, in worker processes where there are enough of them."""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any

from build_index.language import Language
from shards.concepts import WORD
from shards.parts import ConceptPair

CAPTIONS_PER_TASK = 1_024
WORTH_A_PROCESS = 32_768
"""Captions below which starting workers takes longer than doing their work: on two cores, 3.5 s of a core for two of
them, and 0.2 to 0.35 ms of one for a caption, both taken from the encoder."""

SECONDS_BETWEEN_LOOKS = 2.0


class Tagger:
    """Finds the concepts of captions; a context manager that holds worker processes once they are needed."""

    def __init__(self, language: Language, workers: int) -> None:
        self._language = language
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Tagger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, captions: Sequence[str], listed: Sequence[bool]) -> "Pending":
        """Start finding the concepts of captions.

        Args:
            captions: n normalised captions.
            listed: n times whether the caption is a line of a word list, and so a concept itself.
        """
        tasks = [
            (self._language, captions[start : start + CAPTIONS_PER_TASK], listed[start : start + CAPTIONS_PER_TASK])
            for start in range(0, len(captions), CAPTIONS_PER_TASK)
        ]
        if self._workers < 2 or len(captions) < WORTH_A_PROCESS:
            return Pending(tasks, [])
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _die_with_parent, (os.getpid(),)
            )
        try:
            return Pending(tasks, [self._pool.submit(find_concepts, *task) for task in tasks])
        except BrokenExecutor:  # since the part before
            return Pending(tasks, [])


Task = tuple[Language, Sequence[str], Sequence[bool]]
Found = list[tuple[ConceptPair, ...]]


class Pending:
    """Concepts that are being found: by workers meanwhile, or by this process when asked for."""

    def __init__(self, tasks: list[Task], futures: list[Future[Found]]) -> None:
        self._tasks, self._futures = tasks, futures

    @property
    def is_elsewhere(self) -> bool:
        """Whether workers look for them; this process does when it is asked for the result."""
        return bool(self._futures)

    def result(self) -> Found:
        """The concepts of each caption, in order.

        Workers cannot start under a script without the usual `if __name__ == "__main__"`, and may be killed for their
        memory; this process then does their work.
        """
        try:
            done = [future.result() for future in self._futures]
        except BrokenExecutor:
            done = []
        done = done or [find_concepts(*task) for task in self._tasks]
        return [pairs for found in done for pairs in found]


_EXTRACTORS: dict[Language, Any] = {}  # of ConceptExtractor, which is imported when it is needed


def find_concepts(language: Language, captions: Sequence[str], listed: Sequence[bool]) -> Found:
    """The concepts of each caption as (text, kind), each once, in order of appearance."""
    if language not in _EXTRACTORS:
        from build_index.concepts import ConceptExtractor  # the tagger's model takes a second to load

        _EXTRACTORS[language] = ConceptExtractor(language)
    spoken = [caption for caption, is_listed in zip(captions, listed, strict=True) if not is_listed]
    found = iter(_EXTRACTORS[language].extract_all(spoken))
    return [
        _listed_word(caption) if is_listed else tuple((text, kind.value) for text, kind in next(found))
        for caption, is_listed in zip(captions, listed, strict=True)
    ]


def _listed_word(line: str) -> tuple[ConceptPair, ...]:
    from build_index.concepts import word_list_concept

    concept = word_list_concept(line)
    return () if concept is None else ((concept.text, WORD),)


def _die_with_parent(parent: int) -> None:
    """A worker whose parent was killed would wait for work for ever; this thread ends it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
