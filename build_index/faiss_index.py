"""The search index over an index's vectors, and searching it."""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from shards import Index, ShardDamaged
from shards.files import write_whole
from shards.manifest import METRIC, IndexInfo

FLAT = "flat"
"""Every vector as float16, compared one by one: exact."""

EXTRA_CANDIDATES = 16
"""Rows fetched beyond k, so that float rounding inside FAISS cannot push a true neighbour out before re-ranking."""


def write_faiss_index(path: Path, parts: Sequence[NDArray[np.float16]], dimension: int) -> IndexInfo:
    """Build the search index over all parts and write it; ids are global rows.

    Args:
        path: where to.
        parts: float16 [n, d] each, unit rows.
        dimension: d.
    """
    index = flat_index(dimension)
    for vectors in parts:
        index.add(vectors.astype(np.float32))
    info = write_whole(path, lambda partial: faiss.write_index(index, str(partial)))
    return IndexInfo(kind=FLAT, metric=METRIC, file=info)


def flat_index(dimension: int) -> faiss.Index:
    """An empty index that compares float16 vectors one by one by inner product."""
    return faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


class Searcher:
    """Searches one open index; scores are true cosines of the stored vectors, and removed rows are never found."""

    def __init__(self, index: Index) -> None:
        """Map the search index from the disk.

        Raises:
            ShardDamaged: the file is no FAISS index, or not one of this index's vectors.
        """
        path = index.faiss_path
        try:
            self._faiss = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ShardDamaged(f"{path}: not readable as a FAISS index ({str(error)[:200]})") from error
        if self._faiss.ntotal != index.manifest.rows or self._faiss.d != index.manifest.encoder.dimension:
            raise ShardDamaged(
                f"{path}: {self._faiss.ntotal} vectors of {self._faiss.d} dimensions, the manifest says "
                f"{index.manifest.rows} of {index.manifest.encoder.dimension}"
            )
        self.index = index
        self._rows = index.manifest.rows - len(index.removed)
        self._parameters = None
        if len(index.removed):
            self._removed = faiss.IDSelectorBatch(index.removed)  # kept here, because FAISS keeps only a pointer
            self._parameters = faiss.SearchParameters(sel=faiss.IDSelectorNot(self._removed))  # type: ignore[call-arg]

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows nearest to each query.

        Args:
            queries: float32 [n, d], unit rows.
            k: rows wanted.

        Returns:
            Cosines float32 [n, m], best first, and rows int64 [n, m], m = min(k, rows of the index). Equal cosines
            are ordered by row. Every query's result is the same whatever is searched beside it.
        """
        wanted = min(k, self._rows)
        fetched = min(k + EXTRA_CANDIDATES, self._rows)
        scores = np.empty((len(queries), wanted), np.float32)
        rows = np.empty((len(queries), wanted), np.int64)
        if not fetched:
            return scores, rows
        contiguous = np.ascontiguousarray(queries, np.float32)
        _, candidates = self._faiss.search(contiguous, fetched, params=self._parameters)
        for place, (query, found) in enumerate(zip(queries, candidates, strict=True)):
            found = np.sort(found)  # rows in order, so that the products below do not depend on FAISS's order
            cosines = self.index.vectors(found) @ query
            best = np.lexsort((found, -cosines))[:wanted]
            scores[place], rows[place] = cosines[best], found[best]
        return scores, rows
