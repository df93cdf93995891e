"""How well the search index finds what exact search finds, measured on this very index."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from build_index.faiss_index import Searcher
from build_index.search_index.exact import exact_rows
from build_index.search_index.options import FLAT
from build_index.search_index.queries import GapModel, gap_queries
from build_index.search_index.state import SearchState
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tuning import NEIGHBOURS, TARGET, Setting, share_found
from shards import Index
from shards.files import write_bytes
from shards.manifest import FileInfo, PartInfo, digest

QUERIES, QUERIES_OF_EXACT = 512, 16
"""Queries that recall is measured with; an index that is exact by its make needs fewer to be seen to be."""

SEED = 0
"""Another than that of the queries that chose the setting."""

METHOD = "vectors of captions moved across the gap to pictures, their own rows not counted; against exact search"


def write_quality(path: Path, index: Index, state: SearchState) -> FileInfo:
    """Measure recall and write it, with a digest of the parts it was measured on and how lists are searched."""
    report = measure_quality(index, state.search)
    content = {"parts": parts_digest(index.manifest.parts), **report, **msgspec.to_builtins(state)}
    return write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def measure_quality(index: Index, setting: Setting | None = None) -> dict[str, Any]:
    """Recall at 10 of the search index against exact search over the stored vectors.

    Args:
        index: what to measure.
        setting: how lists are searched, if `quality.json` does not say so yet.
    """
    vectors, rows = StoredVectors.of(index), sample_rows(index)
    queries = gap_queries(vectors, rows, SEED)
    _, found = Searcher(index, setting).search(queries, NEIGHBOURS)
    truth = exact_rows(vectors, queries, found.shape[1])
    return {
        "recall": share_found(found, truth, own=rows),
        "at": found.shape[1],
        "queries": len(queries),
        "method": METHOD,
        "query_model": {**asdict(GapModel()), "seed": SEED},
        "target": TARGET,
    }


def sample_rows(index: Index) -> NDArray[np.int64]:
    """Captions from all over the index, ascending: int64 [n]."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    alive = StoredVectors.of(index).alive
    wanted = QUERIES_OF_EXACT if index.manifest.index.kind == FLAT else QUERIES
    return np.sort(generator.choice(alive, min(wanted, len(alive)), replace=False))


def parts_digest(parts: list[PartInfo]) -> str:
    """What the measurement belongs to: other vectors, another digest."""
    return digest("".join(part.vectors.sha256 for part in parts).encode())
