"""A caption to sentences of words, with their case kept: the tagger needs it."""

import html
import re
import unicodedata

MAX_CHARACTERS = 2_000
"""The rest of a longer text is not read: no encoder of captions looks that far."""

MAX_LETTERS = 36
"""Longer words are damage; HanTa's guess at one takes time with the cube of its length."""

_MARKUP = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<!--.*?-->")
_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+"
    r"|(?<!\S)\S{1,200}@\S{1,200}\.\w+"  # mail addresses
    r"|(?<![\w.-])[\w-]{1,60}\.(?:com|net|org|de|fr|co\.uk)\b(?:/\S*)?"  # bare host names
    r"|(?<!\S)\S{1,200}\.(?:jpe?g|png|gif|bmp|tiff?|webp|svg|eps|psd|pdf|mp[34]|mov|avi|html?|php|zip)\b"
    r"|\b(?:img|dsc[nf]?|pict?)[-_]?\d+\b",  # what cameras call their pictures
    re.IGNORECASE,
)
_ADDRESS_HINT = re.compile(r"[.@]\w|://|(?i:img|dsc|pic)[\w-]")
_TOKEN = re.compile(
    r"""(?:
      (?P<plain>[a-zA-Z]+(?=[ ,]))                          # most words, before anything else is looked for
    | (?P<initials>(?:[^\W\d_]\.){2,8})                     # U.S. and J.M.W.
    | (?P<title>(?:[Ss]t|[MD]rs?|Ms|Mt|Ft|Jr|[A-Z])\.(?=\s+[A-Z]))   # St. Paul and John F. Kennedy
    | (?P<with>\bw/(?=\s|[a-zA-Z]))                         # "outfit w/ vest"
    | (?P<code>\d[\w.,'"/-]*|[^\W_]*\d[\w-]*)              # 2010, 3D, C7, 0-24M: never part of a word
    | (?P<possessive>'[sS]\b|(?<=s)'(?=\s))
    | (?P<clitic>'(?i:re|ve|ll|d|m)\b)
    | (?P<word>[^\W\d_](?:[^\W\d_]|(?!'(?i:s|re|ve|ll|d|m)\b)'(?=[^\W\d_])|[-&](?=[^\W\d_]))*)
    | (?P<stop>[.!?…]+(?=\s|["')\]]|$)|[|•·\n\r\t])
    | (?P<other>\S)
    )[ ]*""",
    re.VERBOSE,
)
_PLAIN = re.compile(rf"[a-zA-Z]{{1,{MAX_LETTERS}}}(?:,? +[a-zA-Z]{{1,{MAX_LETTERS}}}| +,)*,?(?: *\.)? *")
_TYPOGRAPHY = str.maketrans("\u2018\u2019\u2010\u2011", "''--")  # apostrophes and hyphens of typesetters
_PLURAL_POSSESSIVE = re.compile(r"\b((?:wo)?men|children)s\b", re.IGNORECASE)
_LOOSE_HYPHEN = re.compile(  # CC3M writes "t - shirt"; a dash between clauses looks the same
    r"\b(?:([b-hj-z]|self|semi|multi|mid|non|anti|two|three|four|five|half|high|low|long|short|full|hard|soft) - (?=\w)"
    r"|([a-z]+) - (?=(?:[a-z]+ed|[a-z]+ing|up|down|out|off|like|style|free|proof|friendly|made|old|air|relief)\b))"
)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff'.&-]+")
_ROMAN = re.compile(r"[IVXL]{2,}")
_NOT_PLAIN = ("mens", "drens")
"""In words that may be possessives without their mark: mens, childrens."""
_SPELLED = {"with": "with", "possessive": "'s"}
_ASIDE = frozenset("'`*_#~^")
"""Quotation marks and decoration vanish: what they enclose is read as if they were not there."""


def sentences(caption: str) -> list[list[str]]:
    """Split a caption into sentences, and those into words and marks.

    Possessive endings are words of their own, hyphenated words stay whole, and markup, addresses and file names are
    marks. Every mark is written as a comma, "&" as "and", "w/" as "with".

    >>> sentences("St. Paul's Cathedral, with an old T-shirt. IMG_1234.jpg")
    [['St.', 'Paul', "'s", 'Cathedral', ',', 'with', 'an', 'old', 'T-shirt'], [',']]
    """
    plain = plain_words(caption)
    return sentences_of_any(caption) if plain is None else [plain]


def plain_words(caption: str) -> list[str] | None:
    """The words of a caption of nothing but unaccented words, commas and a full stop, as most of CC3M's are.

    Returns:
        The one sentence that `sentences_of_any` finds, sooner; None for any other caption.
    """
    if len(caption) > MAX_CHARACTERS or not _PLAIN.fullmatch(caption) or _ROMAN.search(caption):
        return None
    lowered = caption.lower()
    if any(ending in lowered for ending in _NOT_PLAIN):
        return None
    return caption.rstrip(" .").replace(",", " , ").split()


def sentences_of_any(caption: str) -> list[list[str]]:
    """As `sentences`, without looking for captions that are read sooner."""
    text = unicodedata.normalize("NFC", html.unescape(caption[:MAX_CHARACTERS])).translate(_TYPOGRAPHY)
    text = _PLURAL_POSSESSIVE.sub(r"\1's", _MARKUP.sub(" , ", text))
    if " - " in text and text.islower():
        text = _LOOSE_HYPHEN.sub(lambda match: f"{match[1] or match[2]}-", text)
    if _ADDRESS_HINT.search(text):
        text = _ADDRESS.sub(" , ", text)
    found: list[list[str]] = [[]]
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        assert kind is not None
        if kind == "stop":
            found.append([])
        elif (word := _SPELLED.get(kind) or _spell(match[kind], kind)) is not None:
            found[-1].append(word)
    return [words for words in found if words]


def _spell(token: str, kind: str) -> str | None:
    """The token as the tagger knows it; None where it is decoration."""
    if kind == "plain" and len(token) <= MAX_LETTERS and token[0] not in "IVXL":
        return token
    if kind == "code" or _ROMAN.fullmatch(token):
        return "0"
    if kind == "other":
        if token in _ASIDE:
            return None
        return "and" if token == "&" else ","
    if token[-3:].lower() == "n't":
        return "not"
    if len(token) > MAX_LETTERS or token.count("-") > 3 or not _LATIN.fullmatch(token):  # a slug, or another script
        return ","
    return token
