"""The search index over an index's vectors, and searching it."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.exact import EXTRA_CANDIDATES, exact_rows, reranked
from build_index.search_index.lists import Lists
from build_index.search_index.making import make_lists
from build_index.search_index.options import FLAT, LISTS, SearchOptions
from build_index.search_index.scan import Scan
from build_index.search_index.state import SearchState, state_of
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tuning import NEIGHBOURS, Setting
from build_index.search_index.written import write_flat
from shards import Index, ShardDamaged
from shards.files import write_whole
from shards.manifest import METRIC, IndexInfo

MANY_QUERIES, FEW_ROWS = 8, 1_024
"""From so many queries on, and up to so many rows wanted, products of matrices are sooner there than FAISS is: at
100,000 x 512-d, twice as soon with 15 queries and ten times with 480."""

UNTUNED_DEPTH = 512
"""Candidates where `quality.json` does not say how many."""


def write_faiss_index(
    path: Path, vectors: StoredVectors, options: SearchOptions, earlier: Index | None = None
) -> tuple[IndexInfo, SearchState]:
    """Build the search index over all parts and write it; ids are global rows.

    Args:
        path: where to.
        vectors: all rows.
        options: from how many rows on search is by lists, and how large these may be.
        earlier: the index that rows were added to, whose lists are used again while they serve.

    Returns:
        What the manifest says of it, and what `quality.json` does.
    """
    kind = options.kind(len(vectors.alive))
    if kind == LISTS:
        lists, state = make_lists(vectors, options, earlier, path.parent)
        assert state.search is not None
        lists.lists.nprobe = state.search.nprobe  # for readers that know FAISS but not `quality.json`
        info = write_whole(path, lists.write)
    else:
        state, shape = SearchState(options=options), (vectors.rows, vectors.dimension)
        info = write_whole(path, lambda partial: write_flat(vectors.in_turn(), shape, partial))
    return IndexInfo(kind=kind, metric=METRIC, file=info), state


class Searcher:
    """Searches one open index; scores are true cosines of the stored vectors, and removed rows are never found."""

    def __init__(self, index: Index, setting: Setting | None = None) -> None:
        """Map the search index from the disk.

        Args:
            index: what to search.
            setting: how to search lists, instead of as `quality.json` says.

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
        self._vectors = StoredVectors.of(index)
        self._rows = index.manifest.rows - len(index.removed)
        self._scan: Scan | None = None
        if index.manifest.index.kind == FLAT:
            self._flat = StoredVectors([_halves_of(self._faiss, path)], index.removed)
        else:
            lists = _lists_of(self._faiss, path)
            self._scan = Scan(lists, index.removed)
            untuned = Setting(nprobe=lists.lists.nprobe, depth=UNTUNED_DEPTH)
            self.setting = setting or state_of(index).search or untuned

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The rows nearest to each query.

        Args:
            queries: float32 [n, d], unit rows.
            k: rows wanted.

        Returns:
            Cosines float32 [n, m], best first, and rows int64 [n, m], m = min(k, rows of the index). Equal cosines
            are ordered by row. Every query's result is the same whatever is searched beside it, and on however many
            threads.

        Raises:
            ValueError: queries have another dimension than the index.
        """
        if queries.ndim != 2 or queries.shape[1] != self._faiss.d:
            raise ValueError(
                f"queries {list(queries.shape)}, expected [n, {self._faiss.d}], as the vectors of {self.index.folder} "
                "are; search with what its own encoder gives"
            )
        wanted = min(k, self._rows)
        if not wanted or not len(queries):
            return np.empty((len(queries), wanted), np.float32), np.empty((len(queries), wanted), np.int64)
        contiguous = np.ascontiguousarray(queries, np.float32)
        if self._scan is None:
            candidates = self._flat_candidates(contiguous, k)
        else:
            candidates = rows_from_lists(self._scan, self.setting, contiguous, k, self._rows)
        return reranked(self._vectors, contiguous, candidates, wanted, faiss.omp_get_max_threads())

    def _flat_candidates(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """A few more than k of the nearest rows: int64 [n, c]."""
        count = min(k + EXTRA_CANDIDATES, self._rows)
        if len(queries) >= MANY_QUERIES and count <= FEW_ROWS:
            return exact_rows(self._flat, queries, count)
        parameters = None
        if len(self.index.removed):
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(self.index.removed))  # which keeps the other one alive
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        return self._faiss.search(queries, count, params=parameters)[1]


def rows_from_lists(
    scan: Scan, setting: Setting, queries: NDArray[np.float32], k: int, findable: int
) -> NDArray[np.int64]:
    """Rows that look near by what the lists hold.

    Args:
        scan: of the lists.
        setting: how they are searched.
        queries: float32 [n, d].
        k: rows wanted in the end.
        findable: rows that may be found.

    Returns:
        int64 [n, c], at least min(k, findable) of them.
    """
    count = min(max(-(-setting.depth * k // NEIGHBOURS), k), findable)
    return scan.candidates(queries, count, setting.slack, min(k, findable), faiss.omp_get_max_threads())


def _halves_of(whole: faiss.Index, path: Path) -> NDArray[np.float16]:
    """The vectors as a flat index holds them, still where they are: float16 [n, d]."""
    if not isinstance(whole, faiss.IndexScalarQuantizer) or whole.sq.qtype != faiss.ScalarQuantizer.QT_fp16:
        raise _another_kind(path, f"expected vectors of float16, found {type(whole).__name__}")
    codes: Any = whole.codes  # of which the stubs do not know every method
    halves: NDArray[np.float16] = faiss.rev_swig_ptr(codes.data(), codes.size()).view("<f2")
    return halves.reshape(whole.ntotal, whole.d)


def _lists_of(whole: faiss.Index, path: Path) -> Lists:
    try:
        return Lists.of(whole)
    except ValueError as error:
        raise _another_kind(path, str(error)) from error


def _another_kind(path: Path, what: str) -> ShardDamaged:
    return ShardDamaged(
        f"{path}: not the kind of index that the manifest says ({what}); append to it, and the search index is made "
        "anew from the vectors"
    )
