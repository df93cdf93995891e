"""How many lists to look into, and how many candidates to re-rank: as few as give the recall that is wanted."""

from collections.abc import Iterator

import faiss
import msgspec
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.exact import reranked
from build_index.search_index.scan import Scan
from build_index.search_index.stored import StoredVectors

NEIGHBOURS = 10

TARGET = 0.95
"""Share of the true 10 nearest that a search finds, for queries across the gap between pictures and texts."""

MARGIN = 0.015
"""More than the target is asked for on the queries that tune, since others are measured afterwards: about twice the
standard error of the difference between two sets of 512."""

DEPTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024)

RERANK_COST = 150
"""Work of picking and re-ranking one value, in values of the lists looked into: 0.7 against 0.0045 nanoseconds."""

FINEST = 128
"""The least share of the lists that is tried is 1 / FINEST."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How lists are searched.

    Attributes:
        nprobe: lists that a query looks into.
        depth: candidates that are re-ranked.
    """

    nprobe: int
    depth: int


def tune(
    scan: Scan, vectors: StoredVectors, queries: NDArray[np.float32], truth: NDArray[np.int64]
) -> tuple[Setting, float]:
    """The cheapest setting that reaches the target, or else the one with the best recall.

    Args:
        scan: of the lists; finds no removed rows.
        vectors: what they were made of.
        queries: float32 [q, d].
        truth: int64 [q, k], the true nearest rows.

    Returns:
        The setting, and its recall on these queries.
    """
    tried: list[tuple[bool, float, Setting, float]] = []
    for nprobe in _ladder(scan.count):
        share = vectors.rows * nprobe / scan.count
        if any(reached and share * scan.dimensions > cost for reached, cost, _, _ in tried):
            break  # looking into so many lists alone costs more than a setting that reaches the target
        found = scan.candidates(queries, min(DEPTHS[-1], len(vectors.alive)), nprobe, faiss.omp_get_max_threads())
        for depth in DEPTHS:
            recall = recall_of(vectors, queries, found[:, :depth], truth)
            cost = share * scan.dimensions + RERANK_COST * depth * vectors.dimension
            tried.append((recall >= TARGET + MARGIN, cost, Setting(nprobe=nprobe, depth=depth), recall))
            if recall >= TARGET + MARGIN or found.shape[1] <= depth:
                break
    reaching = [(cost, setting, recall) for reached, cost, setting, recall in tried if reached]
    if reaching:
        return min(reaching, key=lambda each: each[0])[1:]
    _, _, setting, recall = max(tried, key=lambda each: (each[3], -each[1]))
    return setting, recall


def recall_of(
    vectors: StoredVectors, queries: NDArray[np.float32], candidates: NDArray[np.int64], truth: NDArray[np.int64]
) -> float:
    """Share of the true rows that are left after re-ranking candidates: int64 [q, c] and [q, k]."""
    k = min(truth.shape[1], candidates.shape[1])
    _, rows = reranked(vectors, queries, candidates, k, threads=faiss.omp_get_max_threads())
    return share_found(rows, truth)


def share_found(found: NDArray[np.int64], truth: NDArray[np.int64], own: NDArray[np.int64] | None = None) -> float:
    """Recall: the share of true rows among those found, over all queries together.

    Args:
        found: int64 [q, k].
        truth: int64 [q, k'].
        own: int64 [q], a row that does not count for each query, because it was made from it.
    """
    counts = truth >= 0 if own is None else truth != own[:, None]
    hits = (truth[:, :, None] == found[:, None, :]).any(axis=2) & counts
    return float(hits.sum() / counts.sum()) if counts.any() else 1.0


def _ladder(count: int) -> Iterator[int]:
    """Numbers of lists to look into, in steps of the fourth root of 2 up to all of them."""
    nprobe, last = max(count / FINEST, 1.0), 0
    while last < count:
        if round(nprobe) > last:
            last = min(round(nprobe), count)
            yield last
        nprobe *= 2**0.25
