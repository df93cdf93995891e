"""JSON files of captions: lines of objects, one list, or COCO's object with a list of annotations."""

import codecs
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import ijson

from build_index.cleaning import Refusal
from build_index.columns import choose_column
from build_index.corpora import Source
from build_index.json_guard import GuardedJson
from build_index.streams import BROKEN, Chunk, Problem, Stream, chunks, lines, opened

PEEKED_BYTES = 1 << 16
"""Bytes of a JSON file that decide whether it is one document or lines: no single caption's line is longer."""

PEEKED_LINES = 50
"""The same, where it looks like a document that breaks off before its first caption."""


def read_json_lines(source: Source) -> Stream:
    """A JSON value a line; one that cannot be parsed is a refused row, and the rest go on."""
    with opened(source) as stream:
        objects = (_parsed(line) for line in lines(stream) if line.strip())
        yield from chunks(_values_of(objects, source))


def read_json(source: Source) -> Stream:
    """One JSON document: a list, or COCO's and RedCaps' object with a list of annotations; or lines of JSON."""
    beginning = _beginning(source)
    text = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    opening = _parsed(text.split(b"\n")[0].decode("utf-8", "surrogateescape"))
    if text[:1] not in (b"[", b"{") or (isinstance(opening, dict) and "annotations" not in opening):
        yield from read_json_lines(source)
        return
    captions = 0
    try:
        for item in _read_document(
            source, len(beginning) - len(text), "item" if text[:1] == b"[" else "annotations.item"
        ):
            captions += len(item.values) if isinstance(item, Chunk) else 0
            yield item
    except BROKEN:
        if captions or not _holds_lines(source):
            raise
        yield from read_json_lines(source)  # of which the first is damaged
        return
    if not captions and text.startswith(b"{"):
        yield Problem(
            source.uri, 0, Refusal.NO_ROWS, "no annotations in it; it may also be a list, or an object a line"
        )


def _read_document(source: Source, start: int, path: str) -> Stream:
    with opened(source) as stream:
        stream.read(start)  # a byte order mark, which ijson takes for damage
        yield from chunks(_values_of(ijson.items(GuardedJson(stream), path), source))


def _holds_lines(source: Source) -> bool:
    """Whether a line near the beginning is an object by itself."""
    with opened(source) as stream, suppress(*BROKEN):
        return any(isinstance(_parsed(line), dict) for line in islice(lines(stream), PEEKED_LINES))
    return False


def _beginning(source: Source) -> bytes:
    """A file up to the end of its first line, or less where that is long or the file breaks off."""
    beginning = b""
    with opened(source) as stream, suppress(*BROKEN):  # whoever reads on meets the break again
        while len(beginning) < PEEKED_BYTES and b"\n" not in beginning.lstrip() and (more := stream.read(512)):
            beginning += more
    return beginning


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Refusal.DAMAGED


def _values_of(objects: Iterable[Any], source: Source) -> Iterator[Any]:
    """Captions of JSON values: strings as they are, objects by their caption key, lists taken apart."""
    key: str | None = None
    for value in objects:
        if isinstance(value, dict):
            key = key or choose_column(list(value), source.columns, source.uri)
            value = value.get(key)  # the caption stands for its object
        if isinstance(value, list):
            yield from value or [None]
        else:
            yield value
