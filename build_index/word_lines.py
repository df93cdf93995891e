"""A line of a word list to the name in it, without the numbers, ids and paths that published lists have around it."""

import re

_COMMENT = re.compile(r"\s*#[\s#]")
_QUOTED = re.compile(r"""[\s{\[]*(?:["']?\d+["']?\s*:\s*)?(["'])(.+)\1[\s,\]}]*""")  # {0: 'tench, Tinca tinca',
_BULLET = re.compile(r"^[-*\u2022]\s+")
_FIELD_OF_NO_NAME = re.compile(r"\s*(?:[\d.,%+-]*|n\d{8}|\d{8}-[nvasr]|/[mg]/\w+|Q\d+)\s*")
_ID = re.compile(r"(?:n\d{8}|\d{8}-[nvasr]|/[mg]/\w+)(?:[\s,:;]+|$)")
_NUMBER_BEHIND_ID = re.compile(r"\d+\s+(?=[^\W\d])")  # of the ImageNet kit: n02119789 1 kit_fox
_NUMBER = re.compile(r"\d+(?:\s*[:),]\s*|\.\s+|\s{2,})(?=[^\W\d])")  # a single space would take the 7 from "7 up"
_FOLDER = re.compile(r"/(?:[^\W\d]/)?")  # Places365: /a/airfield 0
_LAST_NUMBER = re.compile(r"\s+\d+$")
_SYNSET = re.compile(r"(?<=\w)(?:\.[nvasr]\.\d+|#[nvasr]\b|%\d:\d\d:\d\d:).*")  # dog.n.01, dog#n#1, dog%1:05:00::


def name_in_line(line: str) -> str:
    """The name that a line of a word list gives, with its synonyms; empty where it gives none.

    Of columns between tabs the first counts that is no number and no id.

    >>> [name_in_line(line) for line in ("n02084071 dog, domestic dog", "1: person", "/a/airfield 0", "hot_dog.n.01")]
    ['dog, domestic dog', 'person', 'airfield', 'hot_dog']
    >>> [name_in_line(line) for line in ("7 up", "3d printer", "n02084071", "# dogs")]
    ['7 up', '3d printer', '', '']
    """
    if _COMMENT.match(line):
        return ""
    quoted = _QUOTED.fullmatch(line)
    text = quoted[2] if quoted else line
    if "\t" in text:
        text = next((field for field in text.split("\t") if not _FIELD_OF_NO_NAME.fullmatch(field)), "")
    text = _without_numbers(_BULLET.sub("", text.strip()))
    text = _SYNSET.sub("", text)
    return text if any(map(str.isalpha, text)) else ""


def _without_numbers(text: str) -> str:
    """A bare number behind a name is part of it, as in "boeing 747", unless an id or a path is in front."""
    for front in (_ID, _FOLDER):
        if found := front.match(text):
            return _LAST_NUMBER.sub("", _NUMBER_BEHIND_ID.sub("", text[found.end() :], count=1))
    return _NUMBER.sub("", text, count=1) if _NUMBER.match(text) else text
