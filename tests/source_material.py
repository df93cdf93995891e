"""Files of captions for tests, and everything that is read of one."""

import csv
import io
from pathlib import Path
from typing import Any

from build_index.corpora import Source
from build_index.readers import read_source
from build_index.streams import ROWS_PER_CHUNK, Chunk, Problem

ROWS = ["a dog", "two cats, one of them black", 'a "big" horse', "ein Café", "日本の庭", "", "a dog"]
"""A comma, quotation marks, accents, another script, an empty caption, and a duplicate."""

URLS = [f"https://example.com/{number}.jpg" for number in range(len(ROWS))]


def read(path: Path | str, *columns: str) -> tuple[list[Any], list[Problem]]:
    """Everything that a file gives: its values in order, and its problems."""
    values: list[Any] = []
    problems: list[Problem] = []
    row = 0
    for item in read_source(Source(str(path), columns)):
        if isinstance(item, Chunk):
            assert len(item.values) <= ROWS_PER_CHUNK
            assert item.first_row == row
            values += item.values
            row += len(item.values)
        else:
            problems.append(item)
            row += item.rows
    return values, problems


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def as_csv(rows: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([("url", "caption"), *zip(URLS, rows, strict=False)])
    return text.getvalue()


def hash_like(number: int) -> str:
    """Something that does not compress well."""
    return f"{number * 2_654_435_761 % 2**64 * 11_400_714_819_323_198_485 % 2**64:x}"
