"""Raw text to normalised captions: what is mended, and what is refused for which reason."""

import html
import re
import unicodedata
from enum import Enum

from build_index.word_lines import name_in_line

MAX_CHARACTERS = 2_000
"""Longer texts are articles, not captions: CLIP would read their first two sentences."""


class Refusal(Enum):
    """Why a row gets no place in the index."""

    NULL = "null"
    NOT_UTF8 = "not UTF-8"
    NOT_TEXT = "not text"
    EMPTY = "empty"
    NO_NAME = "no name"
    NO_LABEL = "never a label"
    TOO_LONG = f"longer than {MAX_CHARACTERS} characters"
    DAMAGED = "damaged"
    MORE_COLUMNS = "more columns than the first row"
    NO_ROWS = "no rows"


_PLAIN = re.compile(r"[!-;=?-~]+(?: [!-;=?-~]+)*")  # printable ASCII without <, > and double spaces
_SUSPECT = re.compile(r"&#?\w+;|https?:|www\.", re.IGNORECASE)
_ENTITY = re.compile(r"&#?\w+;")  # without its semicolon it could be two words: do&not
_PERSON = re.compile(r"<person>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<!--.*?-->")
_URL = re.compile(r"(?:https?://|\bwww\.)\S+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w")
_SENSE = re.compile(r"\([^()]*\)")


def clean(raw: object) -> str | Refusal:
    r"""Normalise one caption, or say why it is refused.

    HTML entities are resolved, tags and URLs removed, control characters become spaces, white space single spaces,
    and Unicode its composed form (NFC). CC12M's `<PERSON>` becomes "person". Case and punctuation stay: a tagger
    needs them, and the encoder's tokenizer has rules of its own.

    >>> clean("A caf\u0065\u0301 &amp; bar  in <b>Paris</b>")
    'A café & bar in Paris'
    >>> clean("http://example.com/a.jpg")
    <Refusal.EMPTY: 'empty'>
    """
    if raw is None:
        return Refusal.NULL
    if isinstance(raw, Refusal):
        return raw  # the reader already knew
    if not isinstance(raw, str):
        return Refusal.NOT_TEXT
    if len(raw) > MAX_CHARACTERS:
        return Refusal.TOO_LONG
    text = raw if _PLAIN.fullmatch(raw) and not _SUSPECT.search(raw) else _mend(raw)
    if text is None:
        return Refusal.NOT_UTF8
    return text if _WORD.search(text) else Refusal.EMPTY


def clean_word(raw: object) -> str | Refusal:
    """Normalise one line of a word list: underscores are spaces, and what stands in brackets says which sense it is.

    Refused are words about pictures themselves, letters, and names longer than a label: nothing can be called so.

    >>> clean_word("golden_retriever"), clean_word("bat_(animal)"), clean_word("0: tench, Tinca tinca")
    ('golden retriever', 'bat', 'tench, Tinca tinca')
    >>> clean_word("n01440764")
    <Refusal.NO_NAME: 'no name'>
    >>> clean_word("background")
    <Refusal.NO_LABEL: 'never a label'>
    """
    if not isinstance(raw, str) or len(raw) > MAX_CHARACTERS:
        return clean(raw)
    text = clean(raw)
    if isinstance(text, Refusal):
        return text
    name = clean(name_in_line(raw))
    if isinstance(name, Refusal):
        return Refusal.NO_NAME
    word = _SPACE.sub(" ", _SENSE.sub(" ", name.replace("_", " "))).strip()
    if not _WORD.search(word):
        return Refusal.EMPTY
    from build_index.concepts import word_list_concept  # with the lexicons, which captions alone do not need here

    return word if word_list_concept(word) else Refusal.NO_LABEL


def _mend(raw: str) -> str | None:
    """The slow path of `clean`; None where the text holds bytes that were not UTF-8."""
    if any("\ud800" <= character <= "\udfff" for character in raw):
        return None
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), raw)
    text = _TAG.sub(" ", _PERSON.sub("person", text))
    text = _URL.sub(" ", text)
    text = _CONTROL.sub(" ", text)
    return _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
