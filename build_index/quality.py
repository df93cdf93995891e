"""How well the search index finds what exact search finds, measured on this very index."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build_index.faiss_index import Searcher
from shards import Index
from shards.files import write_bytes
from shards.manifest import FileInfo, PartInfo

QUERIES = 200
NEIGHBOURS = 10
NOISE = 0.5
"""Length of the random direction added to a stored vector before it is used as a query.

A stored vector would find itself, which proves nothing; at this length the cosine to it is about 0.9.
"""

ROWS_PER_BLOCK = 65_536


def write_quality(path: Path, index: Index, parts: list[PartInfo]) -> FileInfo:
    """Measure recall and write it, with a digest of the parts it was measured on."""
    report = measure_quality(index)
    content = {"parts": parts_digest(parts), **report}
    return write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def measure_quality(index: Index) -> dict[str, Any]:
    """Recall at 10 of the search index against exact search over the stored vectors."""
    queries = sample_queries(index)
    _, found = Searcher(index).search(queries, NEIGHBOURS)
    truth = exact_search(index, queries, found.shape[1])
    hits = sum(len(np.intersect1d(ours, true)) for ours, true in zip(found, truth, strict=True))
    return {
        "recall": hits / truth.size,
        "at": found.shape[1],
        "queries": len(queries),
        "method": f"stored vectors plus a random direction of length {NOISE}, seed 0; against exact search",
    }


def sample_queries(index: Index) -> NDArray[np.float32]:
    """Stored vectors from all over the index, moved in random directions: float32 [n, d], unit rows."""
    generator = np.random.Generator(np.random.PCG64(0))
    alive = np.setdiff1d(np.arange(index.manifest.rows), index.removed)
    rows = np.sort(generator.choice(alive, min(QUERIES, len(alive)), replace=False))
    directions = generator.standard_normal((len(rows), index.manifest.encoder.dimension))
    directions *= NOISE / np.linalg.norm(directions, axis=1, keepdims=True)
    queries = index.vectors(rows) + directions
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


def exact_search(index: Index, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The true k nearest rows of each query, block by block: int64 [n, k]."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    for number, part in enumerate(index.manifest.parts):
        vectors = index.part_vectors(number)
        for start in range(0, part.rows, ROWS_PER_BLOCK):
            block = vectors[start : start + ROWS_PER_BLOCK].astype(np.float32)
            here = np.arange(part.first_row + start, part.first_row + start + len(block))
            scores = queries @ block.T
            scores[:, np.isin(here, index.removed)] = -np.inf
            scores = np.concatenate([best, scores], axis=1)
            candidates = np.concatenate([rows, np.broadcast_to(here, (len(queries), len(here)))], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            best = np.take_along_axis(scores, order, axis=1)
            rows = np.take_along_axis(candidates, order, axis=1)
    return rows


def parts_digest(parts: list[PartInfo]) -> str:
    """What the measurement belongs to: other vectors, another digest."""
    names = "".join(part.vectors.sha256 for part in parts)
    return f"sha256:{hashlib.sha256(names.encode()).hexdigest()}"
