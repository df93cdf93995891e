"""From files to parts: every row that is read is kept, counted as a duplicate, or refused with a reason."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from build_index.books import Counts, Refusals
from build_index.cleaning import Refusal, clean, clean_word
from build_index.corpora import Source
from build_index.dedup import SeenCaptions
from build_index.readers import read_source
from build_index.streams import Chunk, Problem
from shards import Index
from shards.manifest import Tally
from shards.parts import PartRows, text_hash, word_hash


@dataclass
class _Part:
    """A part that is filling up."""

    texts: list[str] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    def take(self, count: int) -> PartRows:
        """Cut off the first `count` rows."""
        rows = PartRows(self.texts[:count], self.hashes[:count], np.array(self.sources[:count], np.int32))
        del self.texts[:count], self.hashes[:count], self.sources[:count]
        return rows


@dataclass(frozen=True)
class Reading:
    """A source to be read.

    Attributes:
        source: the file.
        number: its place in the manifest's list of sources.
        start: rows that an earlier build, stopped by its limit, has read already.
    """

    source: Source
    number: int
    start: int = 0


class Intake:
    """Reads sources and keeps the books.

    `tally` and `counts` cover everything since the first build of the index; `refusals`, `rows_read`, `begun`,
    `finished` and `damaged` this run.
    """

    def __init__(self, earlier: Index | None, limit: int | None = None) -> None:
        """Take up where an index stands.

        Args:
            earlier: the index to add to, if there is one.
            limit: rows to read in this run at most.
        """
        self.seen = SeenCaptions()
        self.counts = Counts(np.zeros(0, np.uint32))
        self.refusals = Refusals()
        self.rows_read: Counter[int] = Counter()  # by source number
        self.begun: set[int] = set()  # numbers of the sources that were opened, also where not one row came of them
        self.finished: set[int] = set()  # of those read to their end
        self.damaged: set[int] = set()  # and of those of which something could not be read
        self._index = earlier
        self._earlier = Tally(read=0, kept=0, duplicates=0, refused={})
        self._limit = limit
        self._kept = self._duplicates = 0
        if earlier is not None:
            self._earlier = earlier.manifest.tally
            self.counts = Counts(earlier.counts())
            for part in range(len(earlier.manifest.parts)):
                self.seen.adopt(earlier.part_hashes(part))

    def parts(self, readings: Sequence[Reading], rows_per_part: int) -> Iterator[PartRows]:
        """Stream the unseen captions of sources in parts of equal size, the last one smaller."""
        filling = _Part()
        for reading in readings:
            if self._limit is not None and self.rows_read.total() >= self._limit:
                break
            for texts in self._texts(reading):
                self._sort_in(texts, reading, filling)
                while len(filling.texts) >= rows_per_part:
                    yield filling.take(rows_per_part)
        if filling.texts:
            yield filling.take(rows_per_part)

    def tally(self) -> Tally:
        """Where every row went, earlier builds included."""
        return Tally(
            read=self._earlier.read + self.rows_read.total(),
            kept=self._earlier.kept + self._kept,
            duplicates=self._earlier.duplicates + self._duplicates,
            refused=dict(sorted((Counter(self._earlier.refused) + self.refusals.rows).items())),
        )

    def removed(self) -> NDArray[np.int64]:
        """Rows that stay removed, int64 [n], ascending; one whose caption was met again in this run does not."""
        if self._index is None:
            return np.zeros(0, np.int64)
        rows = self._index.removed
        return rows[self.counts.array()[rows] == self._index.counts()[rows]]

    def _texts(self, reading: Reading) -> Iterator[list[str]]:
        """Normalised captions of one source, chunk by chunk; what is refused is counted here."""
        self.begun.add(reading.number)
        position = 0
        broken_off = False
        for item in read_source(reading.source):
            if isinstance(item, Problem):
                if self._limit is not None and self.rows_read.total() >= self._limit:
                    return  # it lies behind the limit
                broken_off = item.reason is Refusal.DAMAGED and item.rows == 0 and "://" in reading.source.uri
                if position >= reading.start or broken_off:
                    if item.reason is Refusal.DAMAGED and not broken_off:
                        self.damaged.add(reading.number)
                    self.rows_read[reading.number] += item.rows
                    self.refusals.add_problem(item)
                position += item.rows
                continue
            chunk = self._wanted(item, reading)
            position = item.first_row + len(item.values)
            self.rows_read[reading.number] += len(chunk.values)
            yield self._cleaned(chunk, reading.source)
            if chunk.first_row + len(chunk.values) < position:
                return  # the limit is reached
        if not broken_off:  # a connection: the next run takes the source up again where it broke
            self.finished.add(reading.number)

    def _wanted(self, chunk: Chunk, reading: Reading) -> Chunk:
        """The rows of a chunk that are neither read already nor beyond the limit."""
        skipped = min(max(reading.start - chunk.first_row, 0), len(chunk.values))
        values = chunk.values[skipped:]
        if self._limit is not None:
            values = values[: max(self._limit - self.rows_read.total(), 0)]
        return Chunk(chunk.first_row + skipped, values)

    def _cleaned(self, chunk: Chunk, source: Source) -> list[str]:
        texts = []
        normalise = clean_word if source.listed else clean
        for row, raw in enumerate(chunk.values, start=chunk.first_row):
            text = normalise(raw)
            if isinstance(text, Refusal):
                self.refusals.add(text, f"{source.uri} row {row}")
            else:
                texts.append(text)
        return texts

    def _sort_in(self, texts: list[str], reading: Reading, filling: _Part) -> None:
        hash_of = word_hash if reading.source.listed else text_hash
        hashes = [hash_of(text) for text in texts]
        rows, new = self.seen.assign(hashes)
        self.counts.add(rows)
        for text, digest, is_new in zip(texts, hashes, new, strict=True):
            if is_new:
                filling.texts.append(text)
                filling.hashes.append(digest)
                filling.sources.append(reading.number)
        self._kept += sum(new)
        self._duplicates += len(new) - sum(new)
