"""Mappings as files: what a mapping said of a run's names, saved, and a user's own table.

A saved table is JSON, and two runs of the same program write the same bytes:

    {
      "format": "mapping table", "version": 1,
      "mapping": "lexical", "mapping_version": "2, meronym, nouns sha256:...", "classes": "sha256:...",
      "heads": false,
      "names": {"poodle": {"class": "dog", "level": "hyponym", "score": null}, "haze": {"class": null, ...}}
    }

A user's own table may also be plain JSON, {"poodle": "dog", "haze": null}, or CSV whose first line names the columns
`name` and `class`; further columns are ignored, an empty class is unknown. Classes are written as the official names or
as any of their strings. A name that is not in the table is unknown, unless the table says `"heads": true`: then the
first shorter head of it that is there decides ("red poodle", "poodle"). Names are compared without regard to case,
hyphens and spaces; a saved table's first as they stand there, since a mapping may tell apart what differs in no more.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.classes import UNKNOWN_CLASS, Classes
from evaluation.mappings.mapping import NO_MATCH, Level, Mapping, MappingError, MappingName, Match
from evaluation.mappings.words import heads, normal
from shards.files import write_bytes
from shards.manifest import digest

FORMAT = "mapping table"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Table:
    """A table of names.

    Attributes:
        entries: what is said of each name, by the name as `words.normal` writes it, and in a saved table as it stands.
        heads: whether a name that is not in the table is looked up by its head.
        source: which mapping said it, or that a user did.
    """

    entries: dict[str, Match]
    heads: bool
    source: str


class TableMapping:
    """Looks names up; see the module's text.

    Args:
        table: what it looks them up in.
        digest: of the file, so that another table is another version.
    """

    name = MappingName.TABLE.value

    def __init__(self, table: Table, digest: str) -> None:
        self.version = f"{FORMAT_VERSION}, {table.source}, {digest}"
        self._table = table

    def matches(self, names: Sequence[str]) -> tuple[Match, ...]:
        """What the table says of each name."""
        return tuple(self._match(name) for name in names)

    def _match(self, name: str) -> Match:
        tried = (name, *(heads(name) if self._table.heads else (normal(name),)))
        return next((self._table.entries[head] for head in tried if head in self._table.entries), NO_MATCH)


def save_table(path: Path, mapping: Mapping, classes: Classes, names: Iterable[str]) -> None:
    """Write what a mapping says of names, each once and in alphabetical order."""
    listed = sorted(set(names))
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "mapping": mapping.name,
        "mapping_version": mapping.version,
        "classes": classes.digest,
        "heads": False,
        "names": {name: _entry(match, classes) for name, match in zip(listed, mapping.matches(listed), strict=True)},
    }
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def _entry(match: Match, classes: Classes) -> dict[str, Any]:
    return {
        "class": None if match.class_number == UNKNOWN_CLASS else classes.names[match.class_number],
        "level": None if match.level is None else match.level.value,
        "score": match.score,
    }


def load_table(path: Path, classes: Classes) -> TableMapping:
    """Read a saved table or a user's own.

    Raises:
        MappingError: there is no such file, it is no table, a class is not among the classes, or two lines disagree.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
        table = _from_csv(text, classes) if path.suffix.lower() == ".csv" else _from_json(json.loads(text), classes)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error, RecursionError) as error:
        raise MappingError(f"{path}: cannot be read as a mapping table ({error}); write JSON or CSV") from error
    except ValueError as error:
        raise MappingError(f"{path}: {error}") from error
    return TableMapping(table, digest(data))


def _from_csv(text: str, classes: Classes) -> Table:
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in ("name", "class") if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"the first line names the columns name and class, found {reader.fieldnames}")
    rows = ((_name_of(row, reader.line_num), {"class": row["class"]}) for row in reader)
    return Table(_entries(rows, classes), heads=False, source="user's")


def _name_of(row: dict[str, str | None], line: int) -> str:
    name = row["name"]
    if name is None:  # the line ends before that column
        raise ValueError(f"line {line} has no name; every line has a name and a class")
    return name


def _from_json(content: Any, classes: Classes) -> Table:
    if not isinstance(content, dict):
        raise ValueError(f"a table is an object of names, found {type(content).__name__}")
    if content.get("format") != FORMAT:
        rows = ((name, {"class": said}) for name, said in content.items())
        return Table(_entries(rows, classes), heads=False, source="user's")
    if content.get("version") != FORMAT_VERSION:
        raise ValueError(f"a table of version {content.get('version')}; this program reads version {FORMAT_VERSION}")
    source = f"{content.get('mapping')} {content.get('mapping_version')}"
    heads_count, names = content.get("heads", False), content.get("names")
    if not isinstance(heads_count, bool) or not isinstance(names, dict):
        raise ValueError("a saved table has names, an object, and heads, true or false")
    return Table(_saved_entries(names, classes), heads_count, source)


def _saved_entries(names: dict[str, Any], classes: Classes) -> dict[str, Match]:
    """Every name as it stands; for others that are written alike the first of them."""
    known = _known(classes)
    exact = {name: _match_of(name, said, known) for name, said in names.items()}
    first = {normal(name): match for name, match in reversed(exact.items())}
    return first | exact


def _entries(rows: Iterable[tuple[str, Any]], classes: Classes) -> dict[str, Match]:
    known = _known(classes)
    found: dict[str, Match] = {}
    for name, said in rows:
        match = _match_of(name, said, known)
        if found.setdefault(normal(name), match) != match:
            raise ValueError(f"{name!r} is there twice, with different classes; keep one")
    return found


def _known(classes: Classes) -> dict[str, int]:
    return {normal(string): number for string, number in _strings(classes)}


def _strings(classes: Classes) -> Iterator[tuple[str, int]]:
    """Every string of every class, those that win where two classes share one last."""
    for round_of_strings in (classes.strings, tuple((name,) for name in classes.names)):
        for number in reversed(range(len(classes))):
            yield from ((string, number) for string in round_of_strings[number])


def _match_of(name: str, said: Any, known: dict[str, int]) -> Match:
    if not isinstance(said, dict) or not isinstance(said.get("class") or "", str):
        raise ValueError(f"{name!r} has {said!r}; expected the name of a class, or nothing for unknown")
    wanted = said.get("class") or ""
    number = known.get(normal(wanted), UNKNOWN_CLASS)
    if wanted and number == UNKNOWN_CLASS:
        raise ValueError(
            f"{name!r} is given the class {wanted!r}, which is not one of {', '.join(sorted(known)[:8])}, …"
        )
    level, score = said.get("level"), said.get("score")
    if not isinstance(score, int | float | None):
        raise ValueError(f"{name!r} has the score {score!r}; expected a number or nothing")
    return Match(number, None if level is None else Level(level), None if score is None else float(score))
