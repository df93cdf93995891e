"""LanceDB: its default index, IVF_PQ, made with its defaults and cosine distance, several queries at once.

Its own setting comes first: 20 lists, nothing re-ranked. Then more and more lists, with candidates re-ranked by their
vectors, `refine_factor` times as many as are wanted.
"""

from collections.abc import Iterator
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from asked import Opened, Search, blocks, seconds, serve
from lancedb.index import IvfPq

MORE = ((40, 25), (80, 50), (160, 100), (320, 200), (640, 400), (1_280, 800))
"""Lists to look into, and candidates to re-rank for each row that is wanted."""


def open_index(folder: Path, paths: list[Path]) -> Opened:
    """Build the table if it is not there, and open it."""
    database, took = lancedb.connect(folder / "lancedb"), 0.0
    if not (folder / "lancedb").is_dir() or "rows" not in database.table_names():
        took = seconds(lambda: make(database, paths))
    table = database.open_table("rows")
    size = sum(file.stat().st_size for file in (folder / "lancedb").rglob("*") if file.is_file()) / 1e6

    def ask_with(nprobes: int, refined: int) -> Search:
        def search(queries: np.ndarray, k: int) -> np.ndarray:
            query = (
                table.search(list(queries))
                .distance_type("cosine")
                .select(["row", "_distance"])
                .limit(k)
                .nprobes(nprobes)
            )
            answer = (query.refine_factor(refined) if refined else query).to_arrow()
            rows = np.full((len(queries), k), -1)
            asked = answer["query_index"].to_numpy() if len(queries) > 1 else np.zeros(len(answer), int)
            order = np.argsort(asked, kind="stable")
            place = np.arange(len(order)) - np.searchsorted(asked[order], asked[order])
            rows[asked[order], place] = answer["row"].to_numpy()[order]
            return rows

        return search

    ways = [("its own setting", ask_with(20, 0))]
    ways += [(f"nprobes {nprobes}, refine_factor {refined}", ask_with(nprobes, refined)) for nprobes, refined in MORE]
    return took, f"IVF_PQ, {size:,.0f} MB with the vectors", ways


def make(database: lancedb.DBConnection, paths: list[Path]) -> None:
    """Write the table and its index."""
    dimension = np.load(paths[0], mmap_mode="r").shape[1]
    schema = pa.schema({"row": pa.int64(), "vector": pa.list_(pa.float32(), dimension)})

    def batches() -> Iterator[pa.RecordBatch]:
        first = 0
        for block in blocks(paths):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dimension)
            yield pa.record_batch([pa.array(np.arange(first, first + len(block))), vectors], schema=schema)
            first += len(block)

    database.create_table("rows", batches(), schema=schema).create_index("vector", config=IvfPq(distance_type="cosine"))


if __name__ == "__main__":
    serve(open_index)
