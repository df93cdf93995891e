"""autofaiss as clip-retrieval calls it: an index that can be mapped, of at most 4 GB, tuned for 10 ms a query.

Its own setting comes first; then the number of lists to look into is doubled, which is what its user could do.
"""

from pathlib import Path

import autofaiss
import faiss
import numpy as np
from asked import Opened, Search, blocks, seconds, serve

THREADS = 2


def open_index(folder: Path, paths: list[Path]) -> Opened:
    """Build `autofaiss.faiss` if it is not there, and map it."""
    faiss.omp_set_num_threads(THREADS)
    file, took = folder / "autofaiss.faiss", 0.0
    if not file.exists():
        vectors = np.concatenate(list(blocks(paths)))
        took = seconds(
            lambda: autofaiss.build_index(
                vectors,
                index_path=str(file),
                index_infos_path=str(folder / "autofaiss.json"),
                max_index_memory_usage="4G",
                current_memory_available="16G",
                nb_cores=THREADS,
                metric_type="ip",
                should_be_memory_mappable=True,
            )
        )
        del vectors
    index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
    lists = faiss.extract_index_ivf(index)
    own = lists.nprobe

    def ask_with(nprobe: int) -> Search:
        def search(queries: np.ndarray, k: int) -> np.ndarray:
            lists.nprobe = nprobe
            return index.search(queries, k)[1]

        return search

    more = [own * 2**step for step in range(1, 12) if own * 2**step < lists.nlist]
    ways = [(f"nprobe {nprobe} of {lists.nlist}", ask_with(nprobe)) for nprobe in (own, *more)]
    return took, f"{type(faiss.downcast_index(index)).__name__}, {file.stat().st_size / 1e6:,.0f} MB", ways


if __name__ == "__main__":
    serve(open_index)
