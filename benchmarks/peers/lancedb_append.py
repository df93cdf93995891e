"""Adding rows to a LanceDB table that has a vector index, the vectors given. For its environment, not for ours.

    lancedb/bin/python benchmarks/peers/lancedb_append.py FOLDER ROUNDS

FOLDER holds base.npy and more.npy, float32 [n, d], and base.txt and more.txt, one caption a line. The table is built
and indexed once; each round copies it, adds the rows, and runs `optimize`, after which the index covers them. The index
is IVF_PQ, LanceDB's default, with its default settings and cosine distance. Prints medians as JSON.
"""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfPq

COSINE = IvfPq(distance_type="cosine")


def main() -> None:
    """Measure and print."""
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    tables = {name: read_table(folder, name) for name in ("base", "more")}
    built = lancedb.connect(folder / "built")
    found = {"build_s": seconds(lambda: built.create_table("captions", tables["base"]))}
    found["index_s"] = seconds(lambda: built.open_table("captions").create_index("vector", config=COSINE))
    added, optimized = [], []
    for number in range(rounds):
        copy = folder / f"round-{number}"
        shutil.copytree(folder / "built", copy)
        table = lancedb.connect(copy).open_table("captions")
        added.append(seconds(partial(table.add, tables["more"])))
        optimized.append(seconds(table.optimize))
        left = table.index_stats(table.list_indices()[0].name).num_unindexed_rows
        if left:
            raise SystemExit(f"{left} rows are not in the index")
        shutil.rmtree(copy)
    found |= {"add_s": statistics.median(added), "optimize_s": statistics.median(optimized)}
    found["append_s"] = statistics.median(one + other for one, other in zip(added, optimized, strict=True))
    print(json.dumps({**found, "version": lancedb.__version__}))


def read_table(folder: Path, name: str) -> pa.Table:
    """Captions and vectors as one table."""
    vectors = np.load(folder / f"{name}.npy")
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    texts = (folder / f"{name}.txt").read_text("utf-8").split("\n")
    return pa.table({"caption": pa.array(texts, pa.string()), "vector": lists})


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
