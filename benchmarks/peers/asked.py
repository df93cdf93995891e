"""Recall and rate of another program's search index, setting by setting. For the peers' environments: NumPy only.

    PYTHON PROGRAM FOLDER JOB

FOLDER is `benchmarks/search.py`'s: vectors-*.npy, float16 [n, d] each, queries.npy, truth.npy and own.npy. JOB is JSON:
`k`, `seconds`, `batches` and `target`. Prints what was found as JSON.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[np.ndarray, int], np.ndarray]
"""Rows of the k nearest of each query: float32 [q, d] -> integers [q, k]."""

Opened = tuple[float, str, list[tuple[str, Search]]]
"""Seconds that building took, what was built, and ways to search it: a name each, the program's own first."""


def serve(open_index: Callable[[Path, list[Path]], Opened]) -> None:
    """Build or open, then measure the program's own setting, and the first of the others that reaches the target."""
    folder, job = Path(sys.argv[1]), json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to standard error
    queries, truth, own = (np.load(folder / f"{name}.npy") for name in ("queries", "truth", "own"))
    built_s, what, ways = open_index(folder, sorted(folder.glob("vectors-*.npy")))
    found = []
    for place, (name, search) in enumerate(ways):
        recall = share_found(search(queries, job["k"]), truth, own)
        reached = recall >= job["target"]
        if place == 0 or reached or place == len(ways) - 1:
            rates = {batch: rate(search, queries, batch, job) for batch in job["batches"]}
            found.append({"setting": name, "recall": recall, "queries_per_s": rates})
        if reached:
            break
    print(json.dumps({"built_in_s": built_s, "index": what, "found": found}), file=answers, flush=True)


def share_found(found: np.ndarray, truth: np.ndarray, own: np.ndarray) -> float:
    """Recall, the row that a query was made from left out: [q, k], [q, k'], [q]."""
    counts = truth != own[:, None]
    return float(((truth[:, :, None] == found[:, None, :]).any(axis=2) & counts).sum() / counts.sum())


def rate(search: Search, queries: np.ndarray, batch: int, job: dict[str, Any]) -> float:
    """Queries a second in batches of one size, different ones in turn."""
    started, asked = time.perf_counter(), 0
    while time.perf_counter() - started < job["seconds"]:
        first = asked % (len(queries) - batch + 1)
        search(queries[first : first + batch], job["k"])
        asked += batch
    return asked / (time.perf_counter() - started)


def blocks(paths: list[Path]) -> Iterator[np.ndarray]:
    """All vectors, file by file: float32 [n, d] each."""
    for path in paths:
        yield np.load(path).astype(np.float32)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
