"""A program that encodes captions whenever it is told to, so that rivals can be timed in turn with everything loaded.

It imports nothing but NumPy, for it runs inside the peers' own environments, whatever Python packages they have.

The program gets the name of a JSON file, loads its networks, and writes one line of JSON: what it can run. Then every
line that it reads, `SYSTEM` or `SYSTEM<tab>FILE`, makes it encode all captions once and answer with the seconds; with
a FILE, it also saves the vectors there, in the order of the captions.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Encode = Callable[[], tuple[list[str] | None, np.ndarray]]
"""Encodes all captions: these as they were met, or None for the job's order; and their vectors [n, d]."""

Prepare = Callable[[dict[str, Any]], tuple[dict[str, Encode], dict[str, str]]]
"""From a job to systems by name, and the versions of what they are made of."""


def serve(prepare: Prepare) -> None:
    """Load, then encode on demand until standard input ends."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to standard error
    systems, versions = prepare(job)
    print(json.dumps({"systems": list(systems), "versions": versions}), file=answers)
    for line in sys.stdin:
        name, _, file = line.rstrip("\n").partition("\t")
        started = time.perf_counter()
        texts, vectors = systems[name]()
        seconds = time.perf_counter() - started
        if file:
            np.save(file, _in_order(job["captions"], texts, vectors))
        print(json.dumps({"seconds": seconds, "captions": len(vectors)}), file=answers)


def _in_order(captions: list[str], texts: list[str] | None, vectors: np.ndarray) -> np.ndarray:
    """Vectors in the order of the captions, which are all different; what a program lost is not a number."""
    if texts is None:
        return np.asarray(vectors, np.float32)
    place = {text: row for row, text in enumerate(captions)}
    ordered = np.full((len(captions), vectors.shape[1]), np.nan, np.float32)
    ordered[[place[text] for text in texts]] = vectors
    return ordered
