"""Every file name of an index, spelled once."""

import re

MANIFEST = "manifest.json"
PLAN = "plan.json"
PARTIAL = ".partial"


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


def counts_name(generation: int) -> str:
    """How often each caption was met.

    >>> counts_name(1)
    'counts.0001.npy'
    """
    return f"counts.{generation:04d}.npy"


def faiss_name(generation: int) -> str:
    """Search index over all rows.

    >>> faiss_name(1)
    'captions.0001.faiss'
    """
    return f"captions.{generation:04d}.faiss"


_OURS = re.compile(
    r"(captions-\d{5,}\.parquet|vectors-\d{5,}\.npy|counts\.\d{4,}\.npy|captions\.\d{4,}\.faiss|(manifest|plan)\.json)"
    r"(\.partial)?"
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
