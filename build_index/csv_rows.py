"""Rows of CSV, of which a quotation mark out of place costs one and not all that follow.

A field in quotes may hold line breaks, so to a parser a mark that nobody closed opens a field that ends at the next
mark, thousands of rows later, or at the end of the file. Here such a row is read again by itself, and the lines behind
it as if it had not been there.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator

from build_index.cleaning import Refusal

csv.field_size_limit(1 << 24)

Row = list[str] | Refusal


def csv_rows(lines: Iterable[str]) -> Iterator[Row]:
    r"""Rows of lines that keep their line ends; `Refusal.DAMAGED` for a line whose quotes cannot be right.

    >>> list(csv_rows(['a,"b\n', 'c"\n', '"d,e\n', 'f,g\n']))
    [['a', 'b\nc'], <Refusal.DAMAGED: 'damaged'>, ['f', 'g']]
    """
    later, waiting = iter(lines), deque[str]()
    while True:
        held: list[str] = []  # lines of the row at hand
        reader = csv.reader(_taken(waiting, later, held), strict=True)
        try:
            for row in reader:
                yield row
                held.clear()
        except csv.Error:
            yield _by_itself(held[0])
            waiting.extendleft(reversed(held[1:]))
        else:
            return


def _taken(waiting: deque[str], later: Iterator[str], held: list[str]) -> Iterator[str]:
    """Lines that wait, then those that come, each of them held."""
    while waiting:
        held.append(waiting.popleft())
        yield held[-1]
    for line in later:
        held.append(line)
        yield line


def _by_itself(line: str) -> Row:
    """One line as a row: with text behind a closing mark, as lenient parsers have it, but with no open mark."""
    both = iter([line, '"\n'])
    try:
        row = next(csv.reader(both))
    except csv.Error:  # a field that is too long
        return Refusal.DAMAGED
    is_open = not list(both)  # the parser looked for the end in the next line
    return Refusal.DAMAGED if is_open else row
