"""Exact search over the stored vectors, and exact cosines of candidates."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from build_index.search_index.stored import StoredVectors

FLOATS_PER_CHUNK = 1 << 20
"""Candidates' values that one thread holds at a time: 4 MB."""

EXTRA_CANDIDATES = 16
"""Rows looked at beyond k, so that float rounding cannot push a true neighbour out before the last re-ranking."""

NOTHING = -1
"""Stands where there are fewer candidates than places."""


def exact_rows(vectors: StoredVectors, queries: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The true k nearest rows of each query, block by block; equal products are ordered by row.

    Args:
        vectors: n rows, of which `removed` are never found.
        queries: float32 [q, d].
        k: at most the rows that are left.

    Returns:
        int64 [q, k], nearest first.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), NOTHING, np.int64)
    for first, block in vectors.blocks():
        scores = queries @ block.T
        here = vectors.removed[(vectors.removed >= first) & (vectors.removed < first + len(block))]
        scores[:, here - first] = -np.inf
        for query in range(len(queries)):
            found = np.flatnonzero(scores[query] > best[query, -1])
            if len(found) > k:  # the k best of the block, and whatever equals the last of them
                least = np.partition(scores[query, found], len(found) - k)[len(found) - k]
                found = found[scores[query, found] >= least]
            together = np.concatenate([best[query], scores[query, found]])
            order = np.argsort(-together, kind="stable")[:k]  # earlier rows stand first
            best[query] = together[order]
            rows[query] = np.concatenate([rows[query], found + first])[order]
    return rows


def reranked(
    vectors: StoredVectors, queries: NDArray[np.float32], candidates: NDArray[np.int64], k: int, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best candidates of each query by their true cosines; equal cosines are ordered by row.

    Every product is summed on its own, so a query's result depends neither on its neighbours nor on the threads.

    Args:
        vectors: what the candidates are rows of.
        queries: float32 [n, d], unit rows.
        candidates: int64 [n, c], each row at most once, `NOTHING` where there are fewer.
        k: rows wanted, at most c.
        threads: threads to use.

    Returns:
        Cosines float32 [n, k] and rows int64 [n, k], best first.
    """
    step = max(FLOATS_PER_CHUNK // (candidates.shape[1] * queries.shape[1]), 1)
    chunks = [slice(start, start + step) for start in range(0, len(queries), step)]

    def rerank(chunk: slice) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return _rerank_chunk(vectors, queries[chunk], candidates[chunk], k)

    if threads == 1 or len(chunks) == 1:
        found = [rerank(chunk) for chunk in chunks]
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(rerank, chunks))
    return np.concatenate([cosines for cosines, _ in found]), np.concatenate([rows for _, rows in found])


def _rerank_chunk(
    vectors: StoredVectors, queries: NDArray[np.float32], candidates: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Single precision leaves a few more than k; double precision orders these, so that what is equal comes out so."""
    taken = vectors.take(np.maximum(candidates, 0).ravel()).reshape(*candidates.shape, -1)  # [n, c, d]
    if candidates.shape[1] > 2 * (k + EXTRA_CANDIDATES):
        cosines = np.einsum("ncd,nd->nc", taken, queries)
        cosines[candidates == NOTHING] = -np.inf
        order = np.lexsort((candidates, -cosines), axis=1)[:, : k + EXTRA_CANDIDATES]
        candidates = np.take_along_axis(candidates, order, axis=1)
        taken = taken[np.arange(len(taken))[:, None], order]
    cosines = np.einsum("ncd,nd->nc", taken.astype(np.float64), queries.astype(np.float64)).astype(np.float32)
    cosines[candidates == NOTHING] = -np.inf
    order = np.lexsort((candidates, -cosines), axis=1)[:, :k]
    return np.take_along_axis(cosines, order, axis=1), np.take_along_axis(candidates, order, axis=1)
