"""Finding the column that holds the captions, or refusing to guess."""

import re
from collections.abc import Sequence

from build_index.corpora import CAPTION_COLUMNS
from build_index.errors import CorpusError

_URL = re.compile(r"(?:https?:)?//\S+\.\S+")


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
        match = next((name for name in wanted if name in found), None)
        if match is not None:
            return match
        raise CorpusError(f"{where}: no column {' or '.join(wanted)}; its columns: {_listed(found)}")
    candidates = [name for name in CAPTION_COLUMNS if name in found]
    if len(candidates) == 1:
        return candidates[0]
    if len(found) == 1:
        return found[0]
    trouble = f"captions could be in {' or '.join(candidates)}" if candidates else "no column is named like captions"
    raise CorpusError(f"{where}: {trouble}; choose with --caption-column; its columns: {_listed(found)}")


def choose_position(rows: Sequence[Sequence[str]], wanted: Sequence[str], where: str) -> tuple[int, bool]:
    """The caption column of a delimited text file, which may have no header.

    A first row with a URL in it is data. Without a header, the caption column is the one without URLs; CC3M writes
    the caption first and CC12M the URL, so the position alone tells nothing.

    Args:
        rows: the first rows of the file, at least one.
        wanted: names, or a position counted from 0.
        where: the file, for the message.

    Returns:
        The position, and whether the first row is a header.

    Raises:
        CorpusError: the column cannot be known.
    """
    first = [cell.strip() for cell in rows[0]]
    has_header = bool({*CAPTION_COLUMNS, *wanted} & set(first)) and not any(_URL.match(cell) for cell in first)
    position = next((int(name) for name in wanted if name.isdecimal()), None)
    if has_header and (position is None or set(wanted) & set(first)):
        return first.index(choose_column(first, wanted, where)), True
    if position is not None:
        if position >= len(first):
            raise CorpusError(f"{where}: no column {position}; rows have {len(first)} columns, counted from 0")
        return position, has_header
    without_urls = [place for place in range(len(first)) if not _is_url_column(rows, place)]
    if len(first) == 1 or (len(without_urls) == 1 and len(first) == 2):
        return without_urls[0] if without_urls else 0, False
    raise CorpusError(
        f"{where}: cannot tell which column holds the captions; choose with --caption-column NAME or, without a "
        f"header, its position from 0; its first row: {_listed(first)}"
    )


def _is_url_column(rows: Sequence[Sequence[str]], place: int) -> bool:
    cells = [row[place].strip() for row in rows if place < len(row)]
    return bool(cells) and sum(bool(_URL.match(cell)) for cell in cells) * 2 > len(cells)


def _listed(found: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in found)
