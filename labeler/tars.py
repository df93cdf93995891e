"""What a tar holds, without unpacking it; one that is damaged gives what comes before the damage."""

import tarfile
from dataclasses import dataclass
from pathlib import Path

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Contents:
    """The files in a tar.

    Attributes:
        files: name of each, and where its bytes lie: start and length. In the order of the tar.
        trouble: what is wrong with the tar, as one line; empty for a sound one.
    """

    files: tuple[tuple[str, tuple[int, int]], ...]
    trouble: str = ""


def contents_of(path: Path) -> Contents:
    """List the whole files in a tar that is not compressed. Nothing is unpacked, and links are left out.

    A sound tar ends in zeros; without them it was cut off, or the rest of it is no tar.
    """
    files: list[tuple[str, tuple[int, int]]] = []
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            size = path.stat().st_size
            try:
                for member in tar:
                    if member.isfile() and member.offset_data + member.size <= size:
                        files.append((member.name, (member.offset_data, member.size)))
            except tarfile.TarError:  # the last file is cut off; how it ends says so, too
                return Contents(tuple(files), _broken_off(path, len(files)))
            stream.seek(tar.offset)
            ends = stream.read(BLOCK) == bytes(BLOCK)
    except (tarfile.TarError, OSError) as error:
        return Contents((), f"{path}: no tar that can be read ({error}); unpack it if it is compressed")
    return Contents(tuple(files), "" if ends else _broken_off(path, len(files)))


def _broken_off(path: Path, count: int) -> str:
    return f"{path}: the tar is damaged or cut short after {count:,} whole files; get it again"
