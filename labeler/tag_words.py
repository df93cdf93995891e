"""The words that TAG takes from a segment's captions: CaSED's vocabulary filter, step by step, as published.

It is kept to be compared with, weaknesses and all: single words only; stop words pass the count and then push out
everything else; "tv" is too short; gas becomes "ga" and café "caf". Written from the description of what it does.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

BANNED = frozenset(
    "image photo picture thumbnail logo symbol clipart portrait painting illustration icon profile object".split()
)
"""CaSED's list, and TAG's "object"."""

SHORTEST = 3
LEAST_COUNT = 2

_DELETED = [
    (r"<[^>]+>", ""),
    (r"http\S+", ""),
    (r"[^\w\s\-.'&]", ""),
    (r"\.\w+", ""),  # meant for the endings of file names
    (r"[_-]", " "),
    (rf"(?<!\S)\S{{1,{SHORTEST - 1}}}(?!\S)", ""),
    (r"[^A-Za-z\s]", ""),
]
"""What becomes what, in this order."""


def tag_words(captions: Sequence[str]) -> list[str]:
    """Filter the words of the captions of one segment.

    The last step of the original, flair's tags of nouns, adjectives and participles, needs a network; here the index
    takes its place, whose concepts are nouns and names: see `tag_naming`. The original ends in an unordered set.

    Args:
        captions: of one segment; they are read as one text, as in the original.

    Returns:
        The words that at least two of all words are, or those that are most frequent if none is met twice;
        each once, in alphabetical order.
    """
    text = " ".join(captions)
    for pattern, replacement in _DELETED:
        text = re.sub(pattern, replacement, text)
    counts = Counter(word for word in map(tag_singular, text.lower().split()) if word not in BANNED)
    least = min(LEAST_COUNT, max(counts.values(), default=0))
    return sorted(word for word, count in counts.items() if count >= least)


_SINGULARS = {
    f"{stem}ves": f"{stem}f" for stem in "bookshel cal el hal hoo lea loa scar sel shea shel thie wol".split()
}
_SINGULARS |= {"knives": "knife", "lives": "life", "wives": "wife", "axes": "axe"}
_SINGULARS |= {"buses": "bus", "gases": "gas", "lenses": "lens", "viruses": "virus", "irises": "iris"}
_SINGULARS |= {word: word for word in "scissors news headquarters trousers pajamas biceps shears yours".split()}


def other_singulars(word: str) -> Iterator[str]:
    """What a plural that the original leaves as it is may be the plural of, the likelier first.

    >>> [list(other_singulars(word)) for word in ("women", "cherries", "shoes", "dogs")]
    [['woman'], ['cherrie', 'cherry'], ['shoe', 'sho'], []]
    """
    if word in _IRREGULAR:
        yield _IRREGULAR[word]
    elif word.endswith("men"):
        yield f"{word[:-3]}man"
    elif word.endswith(("ies", "oes")):
        yield word[:-1]
        yield f"{word[:-3]}y" if word.endswith("ies") else word[:-2]


_IRREGULAR = {
    "children": "child", "mice": "mouse", "geese": "goose", "feet": "foot", "teeth": "tooth", "oxen": "ox",
}  # fmt: skip


def tag_singular(word: str) -> str:
    """The singular that the original gives a word in lower case, right or wrong.

    The original asks the package inflect; these rules give the same for all but 9 of the 2,523 such words (31 of 26,688
    occurrences) in the captions of COCO's validation set and of Conceptual Captions'.

    >>> [tag_singular(word) for word in ("dogs", "beaches", "gas", "grass", "tomatoes", "women")]
    ['dog', 'beach', 'ga', 'grass', 'tomatoes', 'women']
    """
    if not word.endswith("s") or word == "s" or word.endswith(("ss", "us", "is", "ies", "oes")):
        return word
    if word in _SINGULARS:
        return _SINGULARS[word]
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zzes")) else word[:-1]
