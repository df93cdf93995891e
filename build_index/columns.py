"""Finding the column that holds the captions, or refusing to guess."""

import re
from collections.abc import Sequence

from build_index.corpora import CAPTION_COLUMNS
from build_index.errors import CorpusError

OTHER_COLUMNS = (
    "url",
    "image_url",
    "image",
    "image_id",
    "id",
    "key",
    "filename",
    "file_name",
    "path",
    "description",
    "title",
)
"""What columns beside the captions are called; in a first row they say that it is a header."""

_URL = re.compile(r"(?:https?:)?//\S+\.\S+")

_OTHER_MARKS = ";|\t"
"""What separates columns where commas do not."""

_HEADER = re.compile(r"\w+(?:[,;|\t] ?\w+)+")


def choose_column(found: Sequence[str], wanted: Sequence[str], where: str) -> str:
    """The caption column of a table with named columns.

    Args:
        found: the table's columns.
        wanted: names to try in order; empty to try the usual ones.
        where: the file, for the message.

    Raises:
        CorpusError: none is there, or several could be meant; the message lists the columns.
    """
    if wanted:
        match = next((each for name in wanted for each in _called(name, found)), None)
        if match is not None:
            return _once(match, found, where)
        raise CorpusError(f"{where}: no column {' or '.join(wanted)}; its columns: {_listed(found)}")
    candidates = list(dict.fromkeys(each for name in CAPTION_COLUMNS for each in _called(name, found)))
    if len(candidates) == 1:
        return _once(candidates[0], found, where)
    if len(found) == 1:
        return found[0]
    trouble = f"captions could be in {' or '.join(candidates)}" if candidates else "no column is named like captions"
    raise CorpusError(f"{where}: {trouble}; choose with --caption-column; its columns: {_listed(found)}")


def choose_position(
    rows: Sequence[Sequence[str]], wanted: Sequence[str], where: str, *, chosen: bool = False
) -> tuple[int, bool]:
    """The caption column of a delimited text file, which may have no header.

    A first row with a URL in it is data. Without a header, the caption column is the one without URLs; CC3M writes
    the caption first and CC12M the URL, so the position alone tells nothing.

    Args:
        rows: the first rows of the file, at least one.
        wanted: names, or a position counted from 0.
        where: the file, for the message.
        chosen: whether one of the wanted must be there.

    Returns:
        The position, and whether the first row is a header.

    Raises:
        CorpusError: the column cannot be known.
    """
    first = [cell.strip() for cell in rows[0]]
    known = (*CAPTION_COLUMNS, *wanted)
    has_header = any(_is_known(cell, known) for cell in first) and not any(_URL.match(cell) for cell in first)
    has_header |= len(first) > 1 and any(_is_known(cell, OTHER_COLUMNS) for cell in first)
    position = next((int(name) for name in wanted if name.isdecimal()), None)
    if has_header and (position is None or set(wanted) & set(first)):
        return first.index(choose_column(first, wanted, where)), True
    parts = [part.strip() for part in re.split(f"[{_OTHER_MARKS}]", first[0])]
    named = len(parts) > 1 and any(_is_known(part, (*known, *OTHER_COLUMNS)) for part in parts)
    if len(first) == 1 and (named or (position is None and _is_marked_alike(rows))):
        raise CorpusError(
            f"{where}: one column, {_listed(first)}, which looks like several; columns are separated by commas in "
            "a .csv and by tabs in a .tsv"
        )
    if position is not None:
        if position >= len(first):
            raise CorpusError(f"{where}: no column {position}; rows have {len(first)} columns, counted from 0")
        return position, has_header
    if chosen:
        raise CorpusError(
            f"{where}: no column {' or '.join(wanted)}; its first row: {_listed(first)}; without a header, give the "
            "position of the column, counted from 0"
        )
    without_urls = [place for place in range(len(first)) if not _is_url_column(rows, place)]
    if len(first) == 1 or (len(without_urls) == 1 and len(first) == 2):
        return without_urls[0] if without_urls else 0, False
    raise CorpusError(
        f"{where}: cannot tell which column holds the captions; choose with --caption-column NAME or, without a "
        f"header, its position from 0; its first row: {_listed(first)}"
    )


def require_no_table(line: str, where: str) -> None:
    """Refuse a text file whose first line names columns: every line would be a caption with its picture's name in it.

    Raises:
        CorpusError: it is a table.
    """
    names = re.split(r"[,;|\t] ?", line)
    if _HEADER.fullmatch(line) and any(_is_known(name, CAPTION_COLUMNS) for name in names):
        raise CorpusError(
            f"{where}: its first line, {line[:60]!r}, names columns; call a table .csv where commas separate them, and "
            ".tsv where tabs do"
        )


def _is_marked_alike(rows: Sequence[Sequence[str]]) -> bool:
    """Whether every row, and there are several, has the same number of a mark that separates columns elsewhere."""
    counts = [{",".join(row).count(mark) for row in rows} for mark in _OTHER_MARKS]
    return len(rows) > 1 and any(len(each) == 1 and each != {0} for each in counts)


def _is_known(name: str, known: Sequence[str]) -> bool:
    """Whether a name is one of these, however it is capitalised."""
    return name.casefold() in {each.casefold() for each in known}


def _called(name: str, found: Sequence[str]) -> list[str]:
    """The columns of this name: as it is written, or else however they are capitalised."""
    return [each for each in found if each == name] or [each for each in found if _is_known(each, (name,))]


def _once(name: str, found: Sequence[str], where: str) -> str:
    if found.count(name) > 1:
        raise CorpusError(f"{where}: {found.count(name)} columns are called {name!r}; rename all but one")
    return name


def _is_url_column(rows: Sequence[Sequence[str]], place: int) -> bool:
    cells = [row[place].strip() for row in rows if place < len(row)]
    return bool(cells) and sum(bool(_URL.match(cell)) for cell in cells) * 2 > len(cells)


def _listed(found: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in found)
