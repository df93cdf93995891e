"""Captions as clip-retrieval reads them: tar files with one text file for each caption."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

CAPTIONS_PER_TAR = 10_000
"""What img2dataset writes, and what clip-retrieval supposes."""


def write_tars(folder: Path, captions: Sequence[str], workers: int = 1) -> list[Path]:
    """Write captions into tar files, in order, at least as many as clip-retrieval has reader processes.

    With fewer, a reader that is left without one fails ("No samples found in dataset"), and clip-retrieval 2.45 neither
    goes on nor ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    captions_per_tar = max(min(CAPTIONS_PER_TAR, len(captions) // max(workers, 1)), 1)
    for start in range(0, len(captions), captions_per_tar):
        paths.append(folder / f"{len(paths):05d}.tar")
        with tarfile.open(paths[-1], "w") as tar:
            for row, caption in enumerate(captions[start : start + captions_per_tar], start=start):
                content = caption.encode("utf-8")
                member = tarfile.TarInfo(f"{row:09d}.txt")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return paths
