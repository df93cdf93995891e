"""A JSON document on its way to the parser, which crashes at some that are well formed, and refuses some of Python's.

ijson's parser in C ends the process at a number of over 4,300 digits, and needs memory as the square of the depth.
Captions need neither, so a document that holds them is refused as damaged where it does. What Python writes for a
number that is none, NaN and Infinity, is no JSON; it becomes a number, which is no caption either.
"""

import re
from typing import IO

MOST_DIGITS, DEEPEST = 4_000, 1_000

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_DIGITS = re.compile(rb"[0-9]{%d}" % MOST_DIGITS)
_NO_NUMBER = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|NaN|Infinity', re.DOTALL)  # or a string, to step over it
_NUMBERS = {b"NaN": b"0.0", b"Infinity": b"1.000000"}  # as long as what they stand for
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class GuardedJson:
    """The bytes of a document, looked at before they are given.

    Attributes:
        depth: how many lists and objects are open.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        """Takes the document, from its beginning on."""
        self._stream = stream
        self.depth = 0
        self._left = b""  # from the last string on that has not ended, or digits that may go on

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as many as asked for at most, and a few more where they would end inside a word.

        Raises:
            ValueError: a number has more than `MOST_DIGITS` digits, or lists and objects are deeper than `DEEPEST`.
        """
        given = self._stream.read(size)
        for _ in b"Infinity":
            given += self._stream.read(1) if given[-1:].isalpha() else b""
        given = self._with_numbers(given)
        self._look(given)
        return given

    def _with_numbers(self, given: bytes) -> bytes:
        if not any(word in given for word in _NUMBERS):
            return given
        whole = _NO_NUMBER.sub(lambda found: _NUMBERS.get(found[0], found[0]), self._left + given)
        return whole[len(self._left) :]

    def _look(self, given: bytes) -> None:
        bare = _STRING.sub(b"", self._left + given)
        start = bare.find(b'"')
        bare, self._left = (bare[:start], bare[start:]) if start >= 0 else (bare, b"")
        if _DIGITS.search(bare):
            raise ValueError(f"a number of over {MOST_DIGITS:,} digits")
        if not self._left:
            kept = len(bare) - len(bare.rstrip(b"0123456789"))
            self._left = bare[len(bare) - kept :]
        self.depth += _net_depth(bare, DEEPEST - self.depth)


def _net_depth(bare: bytes, most: int) -> int:
    """How much deeper a document is at the end of some bytes without strings.

    Raises:
        ValueError: somewhere it is deeper than at the beginning by more than `most`.
    """
    brackets = bare.translate(None, _NO_BRACKETS)
    for _ in range(DEEPEST):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    opening = brackets.count(b"[") + brackets.count(b"{")
    if opening > most:
        raise ValueError(f"lists and objects are more than {DEEPEST:,} deep")
    return 2 * opening - len(brackets)
