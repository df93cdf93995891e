"""Which lists to look into, and how many candidates to re-rank: as few as give the recall that is wanted."""

from collections.abc import Callable
from functools import cache

import faiss
import msgspec
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.scan import Scan

NEIGHBOURS = 10

TARGET = 0.95
"""Share of the true 10 nearest that a search finds, for queries across the gap between pictures and texts."""

MARGIN = 0.01
"""More than the target is asked for on the queries that tune, since others are measured afterwards: about twice the
standard error of the difference between two sets of 512."""

DEPTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024)

STEP, STEPS = 0.02, 200
"""Slacks are tried in such steps, up to so many."""

RERANK_COST = 100
"""Work of picking and re-ranking one value, in values of the lists looked into: 2.1 against 0.016 nanoseconds where
vectors have 512 numbers, 0.8 against 0.024 with 256, by AVX2. 48 to 128 candidates, each with the slack that it needs,
were as fast there."""

UNTUNED_SLACK = 2.0


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How lists are searched.

    Attributes:
        nprobe: lists that a query looks into, about; for readers that search with FAISS alone.
        depth: candidates that are re-ranked when 10 rows are wanted.
        slack: how far below what is asked of a row a list may look, in standard deviations (`Scan.candidates`).
    """

    nprobe: int
    depth: int
    slack: float = UNTUNED_SLACK


def tune(
    scan: Scan,
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
    own: NDArray[np.int64] | None = None,
    like: Setting | None = None,
) -> tuple[Setting, float]:
    """The cheapest setting that reaches the target, or else the one with the best recall.

    Args:
        scan: of the lists; finds no removed rows.
        queries: float32 [q, d].
        truth: int64 [q, k], the true nearest rows.
        own: int64 [q], the row that each query was made from, which does not count.
        like: what served before rows were added; if it is enough, only its depth is tried, and slacks that are near
            first.

    Returns:
        The setting, and its recall on these queries.
    """
    tried: list[tuple[bool, float, Setting, float]] = []
    near = round(like.slack / STEP) if like else None
    for depth in (like.depth,) if like else DEPTHS:
        count = min(depth, scan.findable)

        @cache
        def recall(step: int, count: int = count) -> float:
            found = scan.candidates(queries, count, _slack(step), truth.shape[1], faiss.omp_get_max_threads())
            scan.leave()  # which would all be resident soon
            return share_found(found, truth, own)  # true rows that are among the candidates are what re-ranking finds

        step = _first_step(lambda step: recall(step) >= TARGET + MARGIN, near)
        lists, rows = scan.looked_into(queries, count, _slack(step))
        setting = Setting(nprobe=max(round(lists), 1), depth=depth, slack=_slack(step))
        cost = rows * scan.first + RERANK_COST * depth * queries.shape[1]
        found = recall(step)
        tried.append((found >= TARGET + MARGIN, cost, setting, found))
        if count < depth or (tried[-1][0] and cost > min(cost for reached, cost, _, _ in tried if reached)):
            break
    reaching = [(cost, setting, recall) for reached, cost, setting, recall in tried if reached]
    if reaching:
        return min(reaching, key=lambda each: each[0])[1:]
    if like:
        return tune(scan, queries, truth, own)
    _, _, setting, found = max(tried, key=lambda each: (each[3], -each[1]))
    return setting, found


def _slack(step: int) -> float:
    return round(step * STEP, 6)


def _first_step(reaches: Callable[[int], bool], near: int | None = None) -> int:
    """The first of `STEPS` steps that reaches, the last if none does.

    By halving; beside a step that it is near to, by longer and longer strides from there until it lies between two.
    """
    low, high, stride = 0, STEPS, 1
    at = STEPS // 2 if near is None else min(near, STEPS - 1)
    up = down = near is None
    while low < high:
        if reaches(at):
            high, down = at, True
        else:
            low, up = at + 1, True
        if up and down:
            at = (low + high) // 2
        elif up:
            at = min(at + stride, STEPS - 1)
        else:
            at = max(at - stride, 0)
        stride *= 2
    return low


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
