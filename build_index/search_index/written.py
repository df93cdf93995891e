"""FAISS files, written through Python's own, which say when the disk is full; FAISS's cut the index short.

The values by row stand at the end of the file, so they need not be in memory: they wait in a file without a name, and
are copied behind all the rest.
"""

import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

BYTES_AT_ONCE = 1 << 24

HALF = 2
"""Bytes of a float16."""

LENGTH, FACTOR = struct.Struct("<Q"), struct.Struct("<f")
"""What FAISS writes before the values of an `IndexScalarQuantizer`, and behind those of an `IndexRefine`."""


class Waiting:
    """Values by row that wait to be written, in a file that is gone with the process.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, folder: Path, width: int) -> None:
        """None yet.

        Args:
            folder: on the disk that has room for them.
            width: bytes of each row.
        """
        self.rows, self._width, self._folder = 0, width, folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # it lives as long as this does

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Put rows behind the others: uint8 [n, width]."""
        try:
            self._file.write(codes.data)
            self._file.flush()
        except OSError as error:
            error.filename = str(self._folder)  # the file itself has no name
            raise
        self.rows += len(codes)

    def mapped(self) -> NDArray[np.uint8]:
        """All rows until now: uint8 [rows, width]."""
        shape = (self.rows, self._width)
        return np.memmap(self._file, np.uint8, "r", shape=shape) if self.rows else np.zeros(shape, np.uint8)

    def blocks(self) -> Iterator[bytes]:
        """All of it, piece by piece."""
        self._file.seek(0)
        while block := self._file.read(BYTES_AT_ONCE):
            yield block


def write_faiss(index: faiss.Index, path: Path) -> None:
    """Write an index as it is."""
    with path.open("wb") as stream:
        faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]  # in no stub


def write_flat(vectors: Iterable[NDArray[np.float16]], shape: tuple[int, int], path: Path) -> None:
    """Write vectors as an index that compares them one by one by inner product; they are its codes, byte for byte.

    Args:
        vectors: float16 [n, d] each, contiguous.
        shape: of all of them together.
        path: where to.
    """
    rows, dimension = shape
    index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.ntotal = rows
    head, nothing = faiss.serialize_index(index).tobytes(), LENGTH.pack(0)
    assert head.endswith(nothing), f"this FAISS has another format than {faiss.__version__} was known for"
    with path.open("wb") as stream:
        stream.write(head.removesuffix(nothing) + LENGTH.pack(rows * dimension * HALF))
        stream.writelines(each.data for each in vectors)


def write_refined(index: faiss.IndexRefine, waiting: Waiting, path: Path) -> None:
    """Write an index as if the values that wait were those of the index that it refines with, which has none."""
    write_faiss(index, path)
    factor = FACTOR.pack(index.k_factor)
    nothing = LENGTH.pack(0) + factor
    with path.open("r+b") as stream:
        stream.seek(-len(nothing), os.SEEK_END)
        assert stream.read() == nothing, f"{path}: this FAISS has another format than {faiss.__version__} was known for"
        stream.seek(-len(nothing), os.SEEK_END)
        stream.write(LENGTH.pack(waiting.mapped().size))
        stream.writelines(waiting.blocks())
        stream.write(factor)
