"""What adding captions to an index costs, beside embedding them alone; and LanceDB's append of the same vectors.

    python benchmarks/append.py CAPTIONS.parquet                       # 1,000 captions to 10,000
    python benchmarks/append.py CAPTIONS.parquet --count 200000 --preset untrained --peers PEERS

An append reads, cleans and dedups, finds concepts, embeds what is new, links, and builds and measures the search index
again over all rows. `embedding alone` puts exactly the texts that the append embedded, captions and prompts of new
concepts, to the same encoder once more, in the same calls and as many at a time as it likes: the ratio is what an
append costs beyond the encoder's work.
In each round the two follow one another, on a fresh copy of the index, in every other round the other way round. One
process, network loaded and warm. The ratio is that of the medians; on a machine that is not quiet, single rounds say
little, and twenty are few.

LanceDB (`--peers`) has no text encoder for captions, so it is given the vectors: `add` and `optimize`, after which its
index covers them. Beside it stands our append less the time inside the encoder, which it does not do either. The
two store different things: ours also cleans, dedups, finds and links concepts, and measures recall; LanceDB keeps
versions.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from benchmarks.tower import random_checkpoint, read_captions, write_captions
from build_index.config import BuildConfig
from shards import open_index

if TYPE_CHECKING:
    from encoders.clip_text import ClipText

NAME = "index"


class Recorder:
    """A text encoder that remembers what it was asked, and for how long at least one call was running."""

    def __init__(self, encoder: "ClipText") -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        self._running, self._since = 0, 0.0
        self.calls: list[list[str]] = []
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, captions: Sequence[str], *report: Any, **named: Any) -> NDArray[np.float32]:
        """Embed n captions: float32 [n, d], unit rows."""
        with self._lock:
            self.calls.append(list(captions))
            self._since = self._since if self._running else time.perf_counter()
            self._running += 1
        try:
            return self._encoder.encode(captions, *report, **named)
        finally:
            with self._lock:
                self._running -= 1
                self.seconds += 0.0 if self._running else time.perf_counter() - self._since


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, nargs="+", help="parquet files with a column of captions")
    parser.add_argument("--count", type=int, default=10_000, help="captions of the index that is added to")
    parser.add_argument("--share", type=float, default=0.1, help="captions that are added, of COUNT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--preset", choices=["untrained", "pocket"], help="our networks, instead of --architecture")
    parser.add_argument("--precision", choices=["fp32", "bf16", "int16"], default="fp32")
    parser.add_argument("--exact-rows", type=int, help="rows up to which the search is exact")
    parser.add_argument("--peers", type=Path, help="folder that peers/setup.sh made; without it, no LanceDB")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="keep the checkpoint there, and use it again")
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    flags = parser.parse_args()
    import faiss  # after the flags are read, for these take seconds to load
    import torch

    torch.set_num_threads(flags.threads)
    faiss.omp_set_num_threads(flags.threads)
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(flags, Path(temporary))
    show(result)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def measure(flags: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Build once, then append and embed in turn."""
    from build_index.pipeline import build

    more = round(flags.share * flags.count)
    captions = read_captions(flags.captions, flags.count + more)
    base = write_captions(scratch / "base.parquet", captions[: flags.count])
    added = write_captions(scratch / "more.parquet", captions[flags.count :])
    encoder = load_encoder(flags, scratch)
    options = {"name": NAME, "exact_rows": flags.exact_rows}
    load = os.getloadavg()
    started = time.perf_counter()
    build(BuildConfig(corpus=(str(base),), out=scratch / "base", **options), lambda _: encoder)
    built = time.perf_counter() - started
    rounds: list[dict[str, float]] = []
    out, calls = scratch / "round", None
    for number in range(flags.rounds):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(scratch / "base", out)
        before = embed(encoder, calls) if calls and number % 2 else None
        found, calls = append(BuildConfig(append=(str(added),), out=out, **options), encoder)
        rounds.append({**found, "alone_s": before or embed(encoder, calls)})
    middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    result: dict[str, Any] = {
        "before": open_index(scratch / "base" / NAME).manifest.rows,
        "after": open_index(out / NAME).manifest.rows,
        "encoder": encoder.identity.describe(),
        "search": open_index(out / NAME).manifest.index.kind,
        "threads": flags.threads,
        "device": flags.device,
        "load": load,
        "build_s": built,
        "rounds": rounds,
        **middle,
        "ratio": middle["append_s"] / middle["alone_s"],
    }
    if flags.peers:
        result["lancedb"] = lancedb(flags.peers, out / NAME, result["before"], scratch / "lancedb", flags.rounds)
    return result


def load_encoder(flags: argparse.Namespace, scratch: Path) -> "ClipText":
    """The encoder that was asked for."""
    from encoders.clip_text import ClipText
    from encoders.presets import Precision
    from encoders.weights import ClipSource

    precision = Precision(flags.precision)
    if flags.preset:
        return ClipText.from_pretrained(ClipSource.parse(flags.preset), flags.device, precision)
    checkpoint = random_checkpoint(flags.architecture, flags.folder or scratch)
    source = ClipSource(flags.architecture, None, checkpoint)
    return ClipText.from_pretrained(source, flags.device, precision)


def append(config: BuildConfig, encoder: "ClipText") -> tuple[dict[str, float], list[list[str]]]:
    """Add captions to an index: seconds, what was embedded, and the calls that it was embedded by."""
    from build_index.pipeline import build

    recorder = Recorder(encoder)
    started = time.perf_counter()
    report = build(config, lambda _: recorder)
    found = {
        "append_s": time.perf_counter() - started,
        "inside_encoder_s": recorder.seconds,
        "captions": report.embedded,
        "concepts": report.concepts_embedded,
        "texts": sum(map(len, recorder.calls)),
    }
    return found, recorder.calls


def embed(encoder: "ClipText", calls: list[list[str]]) -> float:
    """Embed what was embedded once more: seconds."""
    started = time.perf_counter()
    with ThreadPoolExecutor(encoder.at_once) as pool:
        list(pool.map(encoder.encode, calls))
    return time.perf_counter() - started


def lancedb(peers: Path, index: Path, before: int, folder: Path, rounds: int) -> dict[str, Any]:
    """LanceDB's append of the vectors that ours embedded."""
    folder.mkdir()
    opened = open_index(index)
    for name, rows in (("base", np.arange(before)), ("more", np.arange(before, opened.manifest.rows))):
        np.save(folder / f"{name}.npy", opened.vectors(rows))
        lines = [" ".join(text.split()) for text in opened.captions(rows)]
        (folder / f"{name}.txt").write_text("\n".join(lines), "utf-8")
    program = Path(__file__).parent / "peers/lancedb_append.py"
    command = [str(peers / "lancedb/bin/python"), str(program), str(folder), str(rounds)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{result['captions']:,.0f} captions added to {result['before']:,}, {len(result['rounds'])} rounds; ", end="")
    print(f"{result['encoder']}; search {result['search']}")
    print(f"{result['device']}, {result['threads']} threads, load {result['load'][0]:.1f}; ", end="")
    print(f"{result['concepts']:,.0f} new concepts, {result['texts']:,.0f} texts embedded in all")
    rows = [
        ("building the index", result["build_s"], result["before"], ""),
        ("append", result["append_s"], result["captions"], f"{result['ratio']:.2f}"),
        ("embedding alone", result["alone_s"], result["captions"], "1.00"),
    ]
    peer = result.get("lancedb")
    if peer:
        rest = result["append_s"] - result["inside_encoder_s"]
        rows.append(("append, less the encoder", rest, result["captions"], f"{rest / peer['append_s']:.2f}"))
        rows.append((f"LanceDB {peer['version']}, add and optimize", peer["append_s"], result["captions"], "1.00"))
    print(f"\n{'what':<36}{'seconds':>12}{'captions/s':>14}{'ratio':>10}")
    for what, seconds, captions, ratio in rows:
        print(f"{what:<36}{seconds:>12,.2f}{captions / seconds:>14,.1f}{ratio:>10}")


if __name__ == "__main__":
    sys.exit(main())
