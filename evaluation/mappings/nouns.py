"""The frozen list of nouns: which meanings a word has, what each is a kind of, and what it is a part of.

`nouns.txt` is an extract of Open English WordNet (CC BY 4.0, see NOTICE.md), made by `make_nouns.py`. It is part of
the protocol, since the score of a lexical mapping grows with the list: a new extract is a new version of the mapping.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evaluation.mappings.words import lemma, normal
from shards.manifest import digest

NOUNS_FILE = Path(__file__).with_name("nouns.txt")

Steps = dict[int, int]
"""A meaning to the number of steps to it."""


@dataclass(frozen=True)
class Nouns:
    """Meanings, numbered from 0.

    Attributes:
        words: for each meaning its words, as `normal` writes them.
        kinds: for each meaning those that it is a kind of: a sports car is a car.
        wholes: for each meaning those that it is a part, member or substance of: a bonnet of a car.
        meanings: for each word its meanings, the most frequent first.
        digest: of the text that they were read from.
    """

    words: tuple[tuple[str, ...], ...]
    kinds: tuple[tuple[int, ...], ...]
    wholes: tuple[tuple[int, ...], ...]
    meanings: dict[str, tuple[int, ...]]
    digest: str

    def senses(self, name: str) -> tuple[int, ...]:
        """The meanings of a name in the singular, else as it stands; none where the list does not know it."""
        return self.meanings.get(self.lemma(name)) or self.meanings.get(normal(name)) or ()

    def lemma(self, name: str) -> str:
        """A name as `words.lemma` writes it, with this list for its dictionary."""
        return lemma(name, self.meanings.__contains__)

    def above(self, meaning: int) -> Steps:
        """The meaning and everything that it is a kind of, with the least number of steps."""
        return _reach(meaning, lambda at: self.kinds[at])

    def around(self, meaning: int) -> Steps:
        """What a meaning is a part of, directly or as a part of a part, with everything that such a whole is a kind of.

        The meaning itself and what it is a kind of are not in it, unless they are such wholes as well.
        """
        steps: Steps = {}
        for whole, parted in _reach(meaning, lambda at: self.wholes[at]).items():
            if parted == 0:
                continue
            for kind, risen in self.above(whole).items():
                steps[kind] = min(parted + risen, steps.get(kind, parted + risen))
        return steps


def _reach(start: int, following: Callable[[int], Iterable[int]]) -> Steps:
    steps = {start: 0}
    queue = deque([start])
    while queue:
        at = queue.popleft()
        for after in following(at):
            if after not in steps:
                steps[after] = steps[at] + 1
                queue.append(after)
    return steps


@cache
def load_nouns() -> Nouns:
    """The list that comes with the program."""
    return parse_nouns(NOUNS_FILE.read_text("utf-8"))


def parse_nouns(text: str) -> Nouns:
    r"""Read a list of nouns: a line a meaning, words, kinds and wholes apart by tabs, `word#2` for a second meaning.

    The list ranks the meanings of a word in lower case and with capitals apart. Here they are one word, whose meanings
    in lower case come first: ice is frozen water before it is an engine (ICE).

    >>> nouns = parse_nouns("vehicle\t\t\ncar|automobile\t0\t\ngondola|car#2\t\t\nwheel\t\t1\n")
    >>> nouns.senses("Cars"), nouns.above(1), nouns.around(3)
    ((1, 2), {1: 0, 0: 1}, {1: 1, 0: 2})
    """
    rows = [line.split("\t") for line in text.split("\n") if line and not line.startswith("#")]
    ranked: dict[str, dict[tuple[bool, int, int], None]] = {}
    words: list[tuple[str, ...]] = []
    for meaning, (listed, _, _) in enumerate(rows):
        entries = [entry.partition("#") for entry in listed.split("|")]
        words.append(tuple(dict.fromkeys(normal(word) for word, _, _ in entries)))
        for word, _, rank in entries:
            ranked.setdefault(normal(word), {})[(word != word.lower(), int(rank or 1), meaning)] = None
    return Nouns(
        words=tuple(words),
        kinds=tuple(_numbers(kinds) for _, kinds, _ in rows),
        wholes=tuple(_numbers(wholes) for _, _, wholes in rows),
        meanings={
            word: tuple(dict.fromkeys(meaning for *_, meaning in sorted(found))) for word, found in ranked.items()
        },
        digest=digest(text.encode()),
    )


def _numbers(field: str) -> tuple[int, ...]:
    return tuple(int(number) for number in field.split(",")) if field else ()
