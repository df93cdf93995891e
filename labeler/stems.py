"""What the outputs of pictures are called, so that no two pictures share a name."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from labeler.exports import RESERVED


def stems_of(names: Sequence[str]) -> list[str]:
    """Names of outputs, before `.json`: those of the pictures without their suffixes.

    Pictures that differ only in their suffix keep it, and so does one that would be called as one of these.

    >>> stems_of(["deep/b.png", "a.jpg", "a.png", "a.jpg.png"])
    ['deep/b', 'a.jpg', 'a.png', 'a.jpg.png']

    Args:
        names: paths with forward slashes, each once.
    """
    short = {name: _without_suffix(name) for name in names}
    stems = {name: name if f"{stem}.json" in RESERVED else stem for name, stem in short.items()}
    while True:
        counts = Counter(stems.values())
        shared = [name for name, stem in stems.items() if counts[stem] > 1 and stem != name]
        if not shared:
            return [stems[name] for name in names]
        stems.update((name, name) for name in shared)


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.name else name
