"""What a data set calls its classes, and which strings a mapping may compare with them.

A class list is a text file with one class a line, in the order of its numbers:

    tvmonitor = tv monitor | television | monitor

Left of the equals sign stands the data set's official name, right of it the strings, the first of which is *the*
string of the class: what a mapping that takes one string for each class compares with, and what the oracle of the data
set's own names is given. The rest are aliases, for mappings that look words up. A line without an equals sign has its
name for its only string. A line that starts with `*` is the background: what no other class covers. A line that starts
with `-` takes a number in the annotations and is no class: void, or a class that is not scored. Empty lines and lines
that start with `#` say nothing and take no number.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shards import UserError
from shards.manifest import digest

UNKNOWN_CLASS = -1
"""The class of a name that a mapping cannot place. It counts as a miss wherever a class was to be found."""

BACKGROUND_MARK = "*"
COMMENT_MARK = "#"
IGNORED_MARK = "-"


class ClassListError(UserError):
    """A class list cannot be used; the message says which line, what was found and what to write instead."""


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, numbered from 0 in this order.

    Attributes:
        names: the data set's official names, each once.
        strings: for each class the strings that stand for it, at least one; `strings[c][0]` is the published one.
        background: the number of the class that means "none of the others", None where the list has none.

    Raises:
        ValueError: there is no class, a name is empty or occurs twice, a class has no string, or the background is no
            class.
    """

    names: tuple[str, ...]
    strings: tuple[tuple[str, ...], ...]
    background: int | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("a class list has at least one class, found none")
        if not all(self.names):
            raise ValueError("a class has a name, found one without")
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise ValueError(f"a class has one number, found {', '.join(twice)} more than once")
        if len(self.strings) != len(self.names):
            raise ValueError(f"{len(self.names)} classes have strings each, found strings for {len(self.strings)}")
        bare = [name for name, strings in zip(self.names, self.strings, strict=True) if not all(strings) or not strings]
        if bare:
            raise ValueError(f"a class has at least one string and none is empty, found {', '.join(bare)}")
        if self.background is not None and not 0 <= self.background < len(self.names):
            raise ValueError(f"the background is one of {len(self.names)} classes, not number {self.background}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def published(self) -> tuple[str, ...]:
        """The one string of each class."""
        return tuple(strings[0] for strings in self.strings)

    @property
    def digest(self) -> str:
        """What two runs must share for their figures to be about the same classes."""
        return digest(repr((self.names, self.strings, self.background)).encode())

    @classmethod
    def of(cls, names: Sequence[str]) -> "Classes":
        """Classes whose names are their only strings.

        >>> Classes.of(["cat", "dog"]).strings
        (('cat',), ('dog',))
        """
        return cls(tuple(names), tuple((name,) for name in names))


def read_classes(path: Path) -> Classes:
    """Read a class list.

    Raises:
        ClassListError: there is no such file, or it is no class list.
    """
    try:
        text = path.read_text("utf-8-sig")  # some editors begin a file with a mark of the encoding
    except (OSError, UnicodeDecodeError) as error:
        raise ClassListError(f"{path}: cannot be read as a class list ({error}); write one class a line") from error
    try:
        return parse_classes(text.splitlines())
    except ValueError as error:
        raise ClassListError(f"{path}: {error}") from error


def parse_classes(lines: Iterable[str]) -> Classes:
    """Make classes of the lines of a class list.

    >>> parse_classes(["*background", "tvmonitor = tv monitor | television"])
    Classes(names=('background', 'tvmonitor'), strings=(('background',), ('tv monitor', 'television')), background=0)

    Raises:
        ValueError: they are no class list; the message says what was found.
    """
    names: list[str] = []
    strings: list[tuple[str, ...]] = []
    background: int | None = None
    for entry in class_entries(lines):
        if entry.startswith(IGNORED_MARK):
            continue
        if entry.startswith(BACKGROUND_MARK):
            if background is not None:
                raise ValueError(f"a class list has one background at most, found a second one: {entry!r}")
            background = len(names)
        name, _, listed = entry.removeprefix(BACKGROUND_MARK).partition("=")
        names.append(name.strip())
        strings.append(tuple(string.strip() for string in listed.split("|")) if listed.strip() else (name.strip(),))
    return Classes(tuple(names), tuple(strings), background)


def class_entries(lines: Iterable[str]) -> list[str]:
    """The lines that take a number, in the order of their numbers.

    >>> class_entries(["# of two", "- void", "", "cat "])
    ['- void', 'cat']
    """
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith(COMMENT_MARK)]
