"""Vectors to search in, and the slow search that every fast one is compared with."""

import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index import quality
from build_index.search_index.lists import Lists
from build_index.search_index.queries import gap_queries
from build_index.search_index.stored import StoredVectors
from shards import Index

NONE = np.zeros(0, np.int64)

HERE = Path(tempfile.gettempdir())
"""Where values of lists wait."""


def unit(rows: Any) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clustered(rows: int, dimension: int = 32, seed: int = 0, clusters: int = 40) -> StoredVectors:
    """Unit vectors about common middles, in parts of uneven size, some of them twice."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((clusters, dimension)) + 2
    found = unit(middles[rng.integers(0, clusters, rows)] + 0.5 * rng.standard_normal((rows, dimension)))
    found[rows // 2] = found[0]
    halves = found.astype(np.float16)
    return StoredVectors(np.split(halves, [rows // 5, rows // 2 + 1]), NONE)


def slow_search(vectors: StoredVectors, query: NDArray[np.float32], k: int) -> list[int]:
    """Every row's product in double precision, one at a time."""
    everything = np.concatenate(vectors.parts)
    removed = set(vectors.removed.tolist())
    scored = [
        (-np.float32(sum(float(a) * float(b) for a, b in zip(row, query, strict=True))), number)
        for number, row in enumerate(everything)
        if number not in removed
    ]
    return [number for _, number in sorted(scored)[:k]]


def sample_queries(index: Index) -> NDArray[np.float32]:
    """What recall is measured with: float32 [n, d], unit rows."""
    return gap_queries(StoredVectors.of(index), quality.sample_rows(index), quality.SEED)


def in_lists(lists: Lists) -> dict[int, int]:
    """The list of every row."""
    stored = lists.lists.invlists
    return {
        row: number
        for number in range(lists.count)
        for row in faiss.rev_swig_ptr(stored.get_ids(number), stored.list_size(number)).tolist()
    }
