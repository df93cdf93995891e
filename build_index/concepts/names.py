"""Which words of a sentence are names: by capitals where they mean something, by the lexicon where they do not."""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from build_index.concepts.generic_words import DATES, MEDIUM, OPINION
from build_index.concepts.lexicon import Part
from build_index.concepts.name_words import FOREIGN_LINKS, HEADS, LINKS, STARTERS
from build_index.concepts.phrases import Span

MAX_WORDS = 6
"""A longer run of capitals is a headline."""

_MINOR = frozenset("a an the of in on at to by for and or with from is are as over into near".split())
"""Words that titles leave in lower case."""


class Case(Enum):
    """What the capitals of a caption say."""

    MIXED = "mixed"  # as in a sentence: a capital inside marks a name
    TITLE = "title"  # Every Word Has One, OR ALL LETTERS
    LOWER = "lower"  # no capital at all


def case_of(sentences: Sequence[Sequence[str]]) -> Case:
    """Read off what capitals mean in a caption.

    >>> case_of([["Special", "Lace", "Blouse", "for", "Girls"]]), case_of([["A", "dog", "in", "Paris"]])
    (<Case.TITLE: 'title'>, <Case.MIXED: 'mixed'>)
    """
    if all("".join(words).islower() for words in sentences):  # most captions of some corpora
        return Case.LOWER
    words = [word for sentence in sentences for word in sentence if word[0].isalpha()]
    long = [word for word in words if word.lower() not in _MINOR] or words
    if words and sum(word[0].isupper() for word in long) > 0.65 * len(long):
        return Case.TITLE
    return Case.MIXED if any(word[0].isupper() for word in words) else Case.LOWER


class NameFinder:
    """Finds the names in English sentences.

    Args:
        is_common: whether a word in lower case is an ordinary one, by a lexicon or by its form.
        is_listed: whether a lexicon has it.

    >>> finder = NameFinder({"leaning", "tower"}.__contains__, {"leaning", "tower"}.__contains__)
    >>> finder.find(["near", "the", "Leaning", "Tower", "of", "Pisa"], "itanop", Case.MIXED)
    [(2, 6)]
    """

    def __init__(self, is_common: Callable[[str], bool], is_listed: Callable[[str], bool]) -> None:
        self._is_common = is_common
        self._is_listed = is_listed

    def find(self, words: Sequence[str], parts: str, case: Case) -> list[Span]:
        """Spans of words that are names, with inner "of", "de la" and "'s".

        Args:
            words: one sentence as it is written.
            parts: its parts of speech, one letter per word.
            case: what capitals say.
        """
        if case is Case.LOWER and Part.NAME not in parts:
            return []
        lowered = [word.lower() for word in words]
        if case is Case.MIXED:
            marked = _marks_by_capitals(words, lowered, parts)
            spans = [self._trim(lowered, parts, span) for span in runs(lowered, marked)]
        else:
            marked = self._marks_by_lexicon(lowered, parts, case)
            spans = list(self._extended(words, lowered, parts, marked))
        return [
            (start, end)
            for start, end in spans
            if 0 < end - start <= MAX_WORDS and not (end - start == 1 and lowered[start] in STARTERS)
        ]

    def _marks_by_lexicon(self, lowered: Sequence[str], parts: str, case: Case) -> list[bool]:
        """Words that no lexicon knows as common, where capitals are no help."""
        return [
            low not in LINKS
            and low not in DATES
            and (part == Part.NAME or (case is Case.TITLE and part in "nma" and not self._is_ordinary(low, part)))
            for part, low in zip(parts, lowered, strict=True)
        ]

    def _is_ordinary(self, word: str, part: str) -> bool:
        """Whether a word in a title is a common noun. An unlisted one in -s (Cowes, Gutenfels) is taken for a name.

        A compound of common words is one: "V-Neck", "T-Shirts", "Lace-Up".
        """
        *front, last = word.split("-")
        if front and (len(last) > 1 or len(word) > 3):
            return all(len(each) < 2 or self._is_listed(each) for each in front) and self._is_ordinary(last, part)
        if part == Part.PLURAL:
            return self._is_listed(word) or self._is_listed(word.removesuffix("s"))
        return self._is_common(word)

    def _extended(
        self, words: Sequence[str], lowered: Sequence[str], parts: str, marked: Sequence[bool]
    ) -> Iterator[Span]:
        limit = 0
        for start, end in runs(lowered, marked):
            if start < limit:
                continue
            end = self._extend_right(words, lowered, parts, end)
            yield _extend_left(words, lowered, parts, (start, end), limit), end
            limit = end

    def _extend_right(self, words: Sequence[str], lowered: Sequence[str], parts: str, end: int) -> int:
        """Take in "Goodfellow", "Jazz Festival", "'s Cathedral" and "Festival of Speed" behind a name."""
        while end < len(words) and parts[end] in "nmv" and not self._is_listed(lowered[end]):
            end += 1
        begin = end + (lowered[end : end + 1] == ["'s"])
        for last in range(begin, min(begin + 3, len(words))):
            if parts[last] not in "nmv":
                break
            if lowered[last] in HEADS:
                of_more = parts[last + 1 : last + 3] in ("on", "op", "ov") and words[last + 2][0].isupper()
                return last + 3 if of_more else last + 1
        return end

    def _trim(self, lowered: Sequence[str], parts: str, span: Span) -> Span:
        """Drop what only looks like a name in a sentence: its first word, and common words with capitals."""
        start, end = span
        while start < end - 1 and parts[start] in "vgd" and self._is_listed(lowered[start]):
            start += 1
        first = lowered[start]
        before_name = start == 0 and end > 1 and parts[1] == Part.NAME  # "Actor Tom Hanks", but "Sir" stays
        if before_name and self._is_common(first) and first not in STARTERS | HEADS:
            start += 1
        inside = lowered[start:end]
        linked = not LINKS.isdisjoint(inside) or (inside[-1] in HEADS and len(inside) > 1)
        if linked or Part.NAME in parts[start:end] or not all(map(self._is_common, inside)):
            return start, end
        return start, start  # "Lamb Kebabs"


def runs(lowered: Sequence[str], marked: Sequence[bool]) -> Iterator[Span]:
    """Runs of marked words, with links inside: Rio de Janeiro; "'s" links only before what a name ends in.

    >>> list(runs("rio de janeiro and tom 's dog".split(), [True, False, True, False, True, False, True]))
    [(0, 3), (4, 5), (6, 7)]
    """
    start = 0
    while start < len(marked):
        end = start + 1
        if marked[start]:
            while (more := _linked(lowered, marked, end)) > end:
                end = more
            yield start, end
        start = end


def _linked(lowered: Sequence[str], marked: Sequence[bool], end: int) -> int:
    """One marked word further, over up to three links; `end` where the run is over."""
    beyond = end
    while beyond < len(marked) and not marked[beyond] and lowered[beyond] in LINKS and beyond - end < 3:
        beyond += 1
    if beyond == len(marked) or not marked[beyond]:
        return end
    if lowered[end] == "'s" and HEADS.isdisjoint(lowered[beyond : beyond + 2]):
        return end
    return beyond + 1


def _marks_by_capitals(words: Sequence[str], lowered: Sequence[str], parts: str) -> list[bool]:
    marked = [
        (word[0].isupper() or part == Part.NAME) and part not in "tiosc&,x" and low not in MEDIUM and low not in DATES
        for word, low, part in zip(words, lowered, parts, strict=True)
    ]
    second = lowered[1] if len(lowered) > 1 else ""
    linked = (second == "of" and lowered[0] in HEADS) or second in FOREIGN_LINKS
    goes_on = marked[1:2] == [True] or (linked and True in marked[2:4])
    marked[0] = marked[0] and (goes_on or parts[0] == Part.NAME)  # a sentence begins with a capital anyway
    return marked


def _extend_left(words: Sequence[str], lowered: Sequence[str], parts: str, span: Span, limit: int) -> int:
    """Take in "Sir", "Lake", "Pont du" and "Leaning Tower of" before a name."""
    start, end = span
    while start > limit and lowered[start - 1] in STARTERS:
        start -= 1
    if start - 1 > limit and lowered[start - 1] in FOREIGN_LINKS and words[start - 2][0].isupper():
        return start - 2
    if start - 1 > limit and parts[start - 1] == Part.OF and lowered[start - 2] in HEADS:
        start -= 2
        while start > limit and end - start < 4 and parts[start - 1] in "ang" and lowered[start - 1] not in OPINION:
            start -= 1
    return start
