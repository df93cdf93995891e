"""Which sources an index has read already, which are new, changed or gone, and how many rows are to come."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import fsspec
import pyarrow.parquet as pq

from build_index.corpora import Source, is_dataset
from build_index.dataset_reader import dataset_version
from build_index.errors import CorpusError, one_line
from build_index.intake import Intake, Reading
from build_index.streams import raw
from shards.files import file_info
from shards.manifest import SourceInfo

Marked = tuple[Source, str]
"""A source and its fingerprint."""


def fingerprint(sources: Sequence[Source]) -> list[Marked]:
    """Give each source a mark that changes with its content: SHA-256 of a local file, the server's word for others.

    Behind it stands what is read of the file, if that is a column that a user named, or lines that are words: a file
    that was read for its captions may be read for another of these as well.

    Raises:
        CorpusError: a source cannot be opened.
    """
    return [(source, _mark(source.uri) + _what_is_read(source)) for source in sources]


def _what_is_read(source: Source) -> str:
    words = f"{_READ}words" if source.listed else ""
    column = f"{_READ}column={source.columns[0]}" if source.chosen and source.has_columns else ""
    return words + column


_READ = "#"
"""Before what is read of a file in its mark, which has none otherwise."""


def _mark(uri: str) -> str:
    try:
        if is_dataset(uri):
            return f"dataset:{hashlib.sha256(uri.encode()).hexdigest()}:{dataset_version(uri)}"
        if "://" not in uri:
            return f"sha256:{file_info(Path(uri)).sha256}"
        filesystem, path = fsspec.core.url_to_fs(uri)
        stable = {key: str(value) for key, value in filesystem.info(path).items() if key.lower() in _STABLE}
        return f"remote:{hashlib.sha256(repr(sorted(stable.items())).encode()).hexdigest()}"
    except Exception as error:  # every filesystem of fsspec raises its own kinds
        advice = "; check the address and the network" if ":" in uri else ""
        raise CorpusError(f"{uri}: cannot be opened ({one_line(error)}){advice}") from error


_STABLE = frozenset(
    "name size etag mtime last_modified lastmodified last-modified content-md5 digest sha256 blob_id generation".split()
)
"""What remote filesystems tell about a file that changes when its content does."""


def choose_readings(
    sources: Sequence[Marked], known: Sequence[SourceInfo], allowed: int | None
) -> tuple[list[Reading], tuple[str, ...]]:
    """Decide what is left to read, and what to tell the user about the rest.

    Args:
        sources: what the user asked for now.
        known: what the index has read before.
        allowed: rows that may still be read; None for all.

    Returns:
        Readings in order, and notes on sources that changed or vanished since they were read, or are others' copies.
    """
    furthest = sorted(enumerate(known), key=lambda each: (each[1].complete, each[1].rows))  # of those that were merged
    numbers = {info.fingerprint: number for number, info in furthest}
    bare = {(info.uri, info.fingerprint.partition(_READ)[0]) for info in known}
    uris = {info.uri for info in known}
    readings, notes = [], []
    taken_up = set()
    next_number = len(known)
    for source, mark in sources:
        number = numbers.get(mark)
        if number is None:
            if source.uri in uris and (source.uri, mark.partition(_READ)[0]) not in bare:
                notes.append(f"{source.uri} changed since it was read; captions it no longer has are kept")
            readings.append(Reading(source, next_number))
            numbers[mark] = next_number
            next_number += 1
        elif number < len(known) and not known[number].complete and number not in taken_up:
            readings.append(Reading(source, number, known[number].rows))
            taken_up.add(number)
        elif number >= len(known) or source.uri not in uris:
            met = [reading.source.uri for reading in readings if reading.number == number]
            twin = known[number].uri if number < len(known) else met[0]
            notes.append(f"{source.uri} is {twin} byte for byte, which is read once")
    each_once = dict.fromkeys(info.uri for info in known)
    notes += [f"{uri} is gone; its captions are kept" for uri in each_once if _is_gone(uri)]
    if allowed == 0 and readings:
        notes.append(f"--limit is reached, so nothing is read of {len(readings):,} more sources; raise it to go on")
    return ([] if allowed == 0 else readings), tuple(notes)


def damaged_before(sources: Sequence[Marked], known: Sequence[SourceInfo]) -> list[str]:
    """What the user asked for again though it was damaged when it was read to its end, and has not changed since."""
    marks = {info.fingerprint for info in known if info.damaged and info.complete}
    return [
        f"{source.uri}: damaged as before, and read as far as that goes; put a sound file in its place, and the rest "
        "is added"
        for source, mark in sources
        if mark in marks
    ]


def _is_gone(uri: str) -> bool:
    return "://" not in uri and not is_dataset(uri) and not Path(uri).exists()


def describe(
    sources: Sequence[Marked], known: Sequence[SourceInfo], readings: Sequence[Reading], intake: Intake
) -> list[SourceInfo]:
    """The manifest's list of sources after a build."""
    marks = dict(sources)
    described = dict(enumerate(known))
    for reading in readings:
        if reading.number in intake.begun or reading.number < len(known):
            described[reading.number] = SourceInfo(
                uri=reading.source.uri,
                fingerprint=marks[reading.source],
                rows=reading.start + intake.rows_read[reading.number],
                complete=reading.number in intake.finished,
                damaged=reading.number in intake.damaged or (reading.start > 0 and known[reading.number].damaged),
            )
    return [described[number] for number in sorted(described)]


def rows_to_read(readings: Sequence[Reading], allowed: int | None) -> int | None:
    """How many rows are to come, for the progress bar; None where that would take reading the files."""
    counts = [_rows(reading.source) for reading in readings]
    if any(count is None for count in counts):
        return allowed
    total = sum(count or 0 for count in counts) - sum(reading.start for reading in readings)
    return total if allowed is None else min(total, allowed)


def _rows(source: Source) -> int | None:
    if source.kind != "parquet":
        return None
    try:
        with raw(source.uri) as stream:
            return int(pq.ParquetFile(stream).metadata.num_rows)
    except Exception:  # every remote filesystem raises its own kinds; reading it will say what is wrong
        return None
