"""Every file name of an index, spelled once."""

import re

MANIFEST = "manifest.json"
PLAN = "plan.json"
LOCK = ".lock"
PARTIAL = ".partial"

COMPACTING = ".compacting"
"""Behind an index's name: the folder in which it is written anew without its removed captions."""

BEFORE_COMPACTING = ".before-compacting"
"""Behind an index's name: the old folder, from when the new one is complete until it has the name."""

CASED = "cased"
"""The folder inside an index's own that holds its export; the manifest does not name it."""


def captions_name(part: int) -> str:
    """Captions file of a part.

    >>> captions_name(7)
    'captions-00007.parquet'
    """
    return f"captions-{part:05d}.parquet"


def vectors_name(part: int) -> str:
    """Vectors file of a part.

    >>> vectors_name(7)
    'vectors-00007.npy'
    """
    return f"vectors-{part:05d}.npy"


def concept_words_name(part: int) -> str:
    """Words of a part of the concepts.

    >>> concept_words_name(0)
    'concepts-00000.parquet'
    """
    return f"concepts-{part:05d}.parquet"


def concept_vectors_name(part: int) -> str:
    """Vectors of a part of the concepts.

    >>> concept_vectors_name(0)
    'concept-vectors-00000.npy'
    """
    return f"concept-vectors-{part:05d}.npy"


def generation_name(what: str, generation: int, suffix: str) -> str:
    """A file that every build writes anew: counts, concepts, starts, links, captions, removed, quality.

    >>> generation_name("counts", 1, "npy")
    'counts.0001.npy'
    """
    return f"{what}.{generation:04d}.{suffix}"


_PART = r"([0-9]{5}|[1-9][0-9]{5,})"
_GENERATION = r"([0-9]{4}|[1-9][0-9]{4,})"
_OURS = re.compile(
    rf"((captions|concepts)-{_PART}\.parquet|(vectors|concept-vectors)-{_PART}\.npy"
    rf"|(counts|starts|links|removed)\.{_GENERATION}\.npy|concepts\.{_GENERATION}\.parquet"
    rf"|captions\.{_GENERATION}\.faiss|quality\.{_GENERATION}\.json|(manifest|plan)\.json)(\.partial)?"
)


def is_ours(name: str) -> bool:
    """Whether a file name is one that a writer of this format makes.

    >>> is_ours("counts.0001.npy"), is_ours("notes.2024.json")
    (True, False)
    """
    return _OURS.fullmatch(name) is not None


def is_plain(name: str) -> bool:
    """Whether a name from a manifest stays inside its folder.

    >>> is_plain("vectors-00000.npy"), is_plain("../vectors-00000.npy")
    (True, False)
    """
    return name not in ("", ".", "..") and not any(mark in name for mark in ("/", "\\", "\0"))
