"""The search index at the size of a large corpus: recall, rate, opening and memory, beside exact search.

    python benchmarks/search.py                           # 750,000 x 512-d; minutes, most of them training
    python benchmarks/search.py --rows 250000 --dimension 256
    python benchmarks/search.py --peers PEERS             # also autofaiss and LanceDB; `peers/setup.sh` makes PEERS
    python benchmarks/search.py --index shards/mine       # an index that was built, as it stands

Without an index, vectors are synthetic, in the geometry of real caption vectors: a middle of length 0.88, a spread of
0.47 about it, half of the variance between clusters of 40, and variances along random directions that fall as i^-0.9.
267 of these have the participation ratio, the halfway rank and the mean cosine of the 267 captions of two LiT models.
Queries are captions moved across the gap between texts and pictures, as `build_index/search_index/queries.py` says.

The rates of the search index include re-ranking. "exact, FAISS" is the flat float16 index that small corpora get,
"exact, NumPy" products with float32 copies of the vectors in blocks. Opening and memory are measured in processes of
their own, after the libraries are loaded; anonymous memory is what a process needs, and pages of mapped files can be
dropped at any time.

Peers are measured at their own setting, and at the first of a row of greater ones that has a recall of 0.95.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from build_index.search_index import kernels
from build_index.search_index.exact import exact_rows
from build_index.search_index.lists import Lists
from build_index.search_index.options import FLAT, LISTS, SearchOptions
from build_index.search_index.queries import gap_queries
from build_index.search_index.state import SearchState, state_of
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tiles import ROWS
from build_index.search_index.tuning import NEIGHBOURS, TARGET, Setting, share_found
from shards import open_index

BATCHES = (1, 15, 120, 480)

PEERS = {"autofaiss": "clip-retrieval", "lancedb": "lancedb"}
"""Programs beside ours, and the environments that they run in."""

QUERIES, MANY = 480, 1_920
"""Recall is measured with the first number; ours is also asked so many at once as the second."""

PART = 32_768


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=750_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--k", type=int, default=NEIGHBOURS)
    parser.add_argument("--index-bytes", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4, help="time for each rate")
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    parser.add_argument("--folder", type=Path, help="keep vectors and index there, and use them again")
    parser.add_argument("--index", type=Path, help="measure this index instead of synthetic vectors")
    parser.add_argument("--peers", type=Path, help="folder that peers/setup.sh made; without it, ours and exact search")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.probe:
        return probe(flags)
    if flags.index and flags.peers:
        parser.error("--peers are measured on synthetic vectors: leave out --index")
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(flags, folder)
    show(result)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def measure(flags: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make vectors, build both indexes, and measure each in a process of its own."""
    from build_index.faiss_index import write_faiss_index

    faiss.omp_set_num_threads(flags.threads)
    if not flags.index:
        corpus(folder, flags.rows, flags.dimension)
    vectors, seconds = stored(folder, flags), {}
    flags.rows, flags.dimension = vectors.rows, vectors.dimension
    for kind, exact_rows_flag in ((FLAT, flags.rows), *(() if flags.index else ((LISTS, 0),))):
        started = time.monotonic()
        if not (folder / f"{kind}.faiss").exists():
            options = SearchOptions(exact_rows=exact_rows_flag, index_bytes=flags.index_bytes)
            _, state = write_faiss_index(folder / f"{kind}.faiss", vectors, options)
            (folder / f"{kind}.json").write_text(json.dumps(_plain(state)))
        seconds[kind] = time.monotonic() - started
    rows = vectors.sample(QUERIES, np.zeros(0, np.int64))
    np.save(folder / "queries.npy", gap_queries(vectors, rows, seed=0))
    np.save(folder / "own.npy", rows)
    many = vectors.sample(MANY, np.zeros(0, np.int64))
    np.save(folder / "many.npy", gap_queries(vectors, many, seed=0))
    queries = np.load(folder / "queries.npy")
    np.save(folder / "truth.npy", exact_rows(vectors, queries, flags.k))
    load = os.getloadavg()
    systems = {name: _probed(flags, folder, name) for name in ("lists", "exact, FAISS", "exact, NumPy")}
    peers = {name: _peer(flags, folder, name) for name in (PEERS if flags.peers else ())}
    return {
        "rows": flags.rows,
        "dimension": flags.dimension,
        "k": flags.k,
        "threads": flags.threads,
        "cores": os.cpu_count(),
        "load": load,
        "faiss": faiss.__version__,
        "built_in_s": seconds,
        "search": _searched(folder, flags),
        "systems": systems,
        "peers": peers,
    }


def stored(folder: Path, flags: argparse.Namespace) -> StoredVectors:
    """What is searched: the vectors of the index, or the synthetic ones of a folder."""
    if flags.index:
        return StoredVectors.of(open_index(flags.index))
    paths = sorted(folder.glob("vectors-*.npy"))[: -(-flags.rows // PART)]
    return StoredVectors([np.load(path, mmap_mode="r") for path in paths], np.zeros(0, np.int64))


def corpus(folder: Path, rows: int, dimension: int) -> None:
    """Synthetic captions in parts, made once for each folder."""
    generator = np.random.Generator(np.random.PCG64(0))
    scale = np.arange(1, dimension + 1.0) ** -0.45
    scale = (scale / np.linalg.norm(scale)).astype(np.float32)
    turn = np.linalg.qr(generator.standard_normal((dimension, dimension)))[0].astype(np.float32)
    middle = generator.standard_normal(dimension)
    middle = (0.88 * middle / np.linalg.norm(middle)).astype(np.float32)
    clusters = generator.standard_normal((max(rows // 40, 1), dimension), np.float32) * scale
    for start in range(0, rows, PART):
        count = min(PART, rows - start)
        path = folder / f"vectors-{start // PART:05d}.npy"
        chosen = clusters[generator.integers(0, len(clusters), count)]
        own = generator.standard_normal((count, dimension), np.float32) * scale
        if not path.exists():
            part = middle + 0.47 * ((chosen + own) * np.float32(np.sqrt(0.5)) @ turn)
            np.save(path, (part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float16))


def _searched(folder: Path, flags: argparse.Namespace) -> Any:
    """How lists were made and are searched."""
    if flags.index:
        return _plain(state_of(open_index(flags.index)))
    return json.loads((folder / f"{LISTS}.json").read_text())


def _plain(state: SearchState) -> Any:
    import msgspec

    return msgspec.to_builtins(state)


def _probed(flags: argparse.Namespace, folder: Path, system: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--probe", str(folder), system, "--rows", str(flags.rows)]
    command += ["--dimension", str(flags.dimension), "--k", str(flags.k), "--threads", str(flags.threads)]
    command += ["--seconds", str(flags.seconds), *(["--index", str(flags.index)] if flags.index else [])]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def _peer(flags: argparse.Namespace, folder: Path, name: str) -> dict[str, Any]:
    """What `peers/asked.py` says of a program."""
    program = Path(__file__).parent / f"peers/{name}_search.py"
    job = {"k": flags.k, "seconds": flags.seconds, "batches": BATCHES, "target": TARGET}
    command = [str(flags.peers / PEERS[name] / "bin/python"), str(program), str(folder), json.dumps(job)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def probe(flags: argparse.Namespace) -> int:
    """Measure one system in this process, and print what was found as JSON."""
    folder, system = Path(flags.probe[0]), flags.probe[1]
    faiss.omp_set_num_threads(flags.threads)
    queries, truth, own = (np.load(folder / f"{name}.npy") for name in ("queries", "truth", "own"))
    kernels.products(
        np.zeros((ROWS, 4), np.uint8), np.zeros((1, 64), np.int8)
    )  # Numba's own modules load when first asked
    imported = memory()
    started = time.perf_counter()
    vectors = stored(folder, flags)
    search = SYSTEMS[system](folder, vectors, flags)
    search(queries[:1])
    opened = time.perf_counter() - started
    found = search(queries)
    rates = {batch: rate(search, queries, batch, flags.seconds) for batch in BATCHES}
    if system == "lists":
        rates[MANY] = rate(search, np.load(folder / "many.npy"), MANY, flags.seconds)
    after = memory()
    result = {
        "open_s": opened,
        "recall": share_found(found, truth, own=own),
        "queries_per_s": rates,
        "anonymous_mb": after["RssAnon"] - imported["RssAnon"],
        "mapped_mb": after["RssFile"] - imported["RssFile"],
        "process_anonymous_mb": after["RssAnon"],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    print(json.dumps(result))
    return 0


Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def _lists(folder: Path, vectors: StoredVectors, flags: argparse.Namespace) -> Search:
    from build_index.faiss_index import Searcher, rows_from_lists
    from build_index.search_index.exact import reranked
    from build_index.search_index.scan import Scan

    if flags.index:
        searcher = Searcher(open_index(flags.index))
        return lambda queries: searcher.search(queries, flags.k)[1]
    lists = Lists.of(faiss.read_index(str(folder / f"{LISTS}.faiss"), faiss.IO_FLAG_MMAP_IFC))
    scan = Scan(lists, np.zeros(0, np.int64))
    setting = Setting(**json.loads((folder / f"{LISTS}.json").read_text())["search"])

    def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
        candidates = rows_from_lists(scan, setting, queries, flags.k, flags.rows)
        return reranked(vectors, queries, candidates, flags.k, flags.threads)[1]

    return search


def _flat(folder: Path, vectors: StoredVectors, flags: argparse.Namespace) -> Search:
    from build_index.search_index.exact import EXTRA_CANDIDATES, reranked

    index = faiss.read_index(str(folder / f"{FLAT}.faiss"), faiss.IO_FLAG_MMAP_IFC)

    def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
        candidates = index.search(queries, flags.k + EXTRA_CANDIDATES)[1]
        return reranked(vectors, queries, candidates, flags.k, flags.threads)[1]

    return search


def _numpy(_folder: Path, vectors: StoredVectors, flags: argparse.Namespace) -> Search:
    return lambda queries: exact_rows(vectors, queries, flags.k)


SYSTEMS: dict[str, Callable[[Path, StoredVectors, argparse.Namespace], Search]] = {
    "lists": _lists,
    "exact, FAISS": _flat,
    "exact, NumPy": _numpy,
}


def rate(search: Search, queries: NDArray[np.float32], batch: int, seconds: float) -> float:
    """Queries a second in batches of one size, different ones in turn."""
    started, asked = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        first = asked % (len(queries) - batch + 1)
        search(queries[first : first + batch])
        asked += batch
    return asked / (time.perf_counter() - started)


def memory() -> dict[str, float]:
    """Resident memory of this process by kind, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines if line.startswith("Rss")}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{result['rows']:,} x {result['dimension']}-d, k = {result['k']}, {result['threads']} threads of")
    print(f"{result['cores']} cores, load {result['load'][0]:.1f}, faiss {result['faiss']}")
    built = result["built_in_s"].get(LISTS)
    print(f"built {'before' if built is None else f'in {built:.0f} s'}: {json.dumps(result['search'])}\n")
    batches = (*BATCHES, MANY)
    heads = ["", "recall", *(f"q/s x{batch}" for batch in batches), "open s", "anonymous MB", "mapped MB"]
    print("".join(f"{head:>14}" for head in heads))
    for name, found in result["systems"].items():
        rates = [f"{each:,.0f}" for each in found["queries_per_s"].values()]
        rates += [""] * (len(batches) - len(rates))
        sizes = [f"{found['open_s']:.3f}", f"{found['anonymous_mb']:,.0f}", f"{found['mapped_mb']:,.0f}"]
        print("".join(f"{cell:>14}" for cell in [name, f"{found['recall']:.3f}", *rates, *sizes]))
    for name, peer in result["peers"].items():
        print(f"\n{name}: {peer['index']}, built in {peer['built_in_s']:.0f} s")
        for found in peer["found"]:
            rates = [f"{each:,.0f}" for each in found["queries_per_s"].values()]
            cells = ["", f"{found['recall']:.3f}", *rates]
            print("".join(f"{cell:>14}" for cell in cells) + f"   {found['setting']}")


if __name__ == "__main__":
    sys.exit(main())
