"""From a parquet file of captions to an index that can be searched: our one command beside clip-retrieval's two.

    python benchmarks/build.py CAPTIONS.parquet --peers PEERS                       # 20,000 captions, the same weights
    python benchmarks/build.py CAPTIONS.parquet --memory 50000 750000 --preset untrained

`--peers` names the folder that `sh benchmarks/peers/setup.sh PEERS` made. The seconds are those of whole commands, with
starting Python and loading networks, each command in turn, everything written to the disk.

Ours reads, cleans and dedups the captions, finds their concepts, embeds both, links them, builds a search index, and
measures its recall. clip-retrieval reads tar files with one text file for each caption: writing these is a row of its
own. Its `inference` (text only, otherwise its defaults: batches of 256, 4 reader processes) embeds the captions, and
its `index` calls autofaiss. It has no concepts, no dedup and no recall: that work is ours alone, and in our time.
Captions are drawn at random and all different; what our cleaning drops all the same is in the table.

With --memory, our command alone, at several sizes: the highest memory of all its processes together, looked at twice
a second. `--preset untrained` encodes with small random networks, so that a large corpus does not take a day; all else
is as ever. `anonymous` leaves out the pages of mapped files. The loaded network is in both.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from benchmarks.memory import PeakMemory, descendants
from benchmarks.peers.tars import write_tars
from benchmarks.tower import random_checkpoint, read_captions, write_captions
from shards import open_index
from shards.commands import DONE, FINISHED_WITH_REFUSALS

ROOT = Path(__file__).parent.parent

OURS, TARS, INFERENCE, INDEX = "ours", "writing tar files", "clip-retrieval inference", "clip-retrieval index"

TOGETHER = "clip-retrieval, all three"


@dataclass(frozen=True)
class Step:
    """What a command took: seconds, and the highest memory of its processes together, MB."""

    seconds: float
    peak_mb: float = 0.0
    anonymous_mb: float = 0.0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, nargs="+", help="parquet files with a column of captions")
    parser.add_argument("--peers", type=Path, help="folder that peers/setup.sh made; without it, ours alone")
    parser.add_argument("--count", type=int, default=20_000, help="captions of a build")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--architecture", default="ViT-B-32")
    parser.add_argument("--preset", choices=["untrained", "pocket"], help="our networks, instead of --architecture")
    parser.add_argument("--ours-flags", default="", help="more flags of `python -m build_index`, in one string")
    parser.add_argument("--memory", type=int, nargs="+", metavar="COUNT", help="measure our memory at these sizes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=4, help="reader processes of clip-retrieval, 4 by its default")
    parser.add_argument("--patience", type=float, default=4 * 3_600, help="seconds after which a command is ended")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--folder", type=Path, help="keep checkpoint and captions there, and use them again")
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    flags = parser.parse_args()
    if flags.peers and (flags.preset or flags.memory):
        parser.error("--peers: clip-retrieval cannot load our presets, and --memory is about ours")
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(flags, Path(temporary))
        result = bench.memory() if flags.memory else bench.times()
    described = {"cores": os.cpu_count(), "threads": flags.threads, "device": flags.device, "load": os.getloadavg()}
    result |= described | {"files": [file.name for file in flags.captions], "ours": flags.preset or flags.architecture}
    (show_memory if flags.memory else show)(result)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


class Bench:
    """Runs the commands in a scratch folder."""

    def __init__(self, flags: argparse.Namespace, scratch: Path) -> None:
        self.flags = flags
        self.scratch = scratch
        self.kept = flags.folder or scratch
        threads = str(flags.threads)
        self.environment = {**os.environ, "OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
        if flags.device == "cpu":
            self.environment["CUDA_VISIBLE_DEVICES"] = ""  # clip-retrieval takes a GPU wherever there is one

    def times(self) -> dict[str, Any]:
        """Everybody's commands in turn, from empty folders each time."""
        captions = read_captions(self.flags.captions, self.flags.count)
        corpus = write_captions(self.kept / "captions.parquet", captions)
        steps: dict[str, list[Step]] = {}
        for _ in range(self.flags.rounds):
            found, kept = self.ours(corpus)
            steps.setdefault(OURS, []).append(found)
            if self.flags.peers:
                for name, step in self.clip_retrieval(captions).items():
                    steps.setdefault(name, []).append(step)
        rows = {name: _middle(len(captions), each) for name, each in steps.items()}
        for row in rows.values():
            row["ratio"] = row["captions_per_s"] / rows.get(TOGETHER, rows[OURS])["captions_per_s"]
        return {"captions": len(captions), "rounds": self.flags.rounds, "index": kept, "steps": rows}

    def memory(self) -> dict[str, Any]:
        """Our command at several sizes."""
        sizes = {}
        for count in self.flags.memory:
            corpus = write_captions(self.kept / f"captions-{count}.parquet", read_captions(self.flags.captions, count))
            step, index = self.ours(corpus)
            sizes[str(count)] = asdict(step) | index
        return {"sizes": sizes}

    def ours(self, corpus: Path) -> tuple[Step, dict[str, Any]]:
        """Our command, and what is in its index."""
        out = self.scratch / "ours"
        command = [sys.executable, "-m", "build_index", "--corpus", str(corpus.absolute()), "--name", "index"]
        command += ["--out", str(out), "--device", self.flags.device, *shlex.split(self.flags.ours_flags)]
        if self.flags.preset:
            command += ["--preset", self.flags.preset]
        else:
            checkpoint = random_checkpoint(self.flags.architecture, self.kept)
            command += ["--clip", self.flags.architecture, "--clip-checkpoint", str(checkpoint.absolute())]
        step = self._run(command, (DONE, FINISHED_WITH_REFUSALS))
        manifest = open_index(out / "index").manifest
        index = {
            "rows": manifest.rows,
            "concepts": manifest.concepts.current,
            "megabytes": sum(file.bytes for file in manifest.files()) / 1e6,
            "search": manifest.index.kind,
        }
        shutil.rmtree(out)
        return step, index

    def clip_retrieval(self, captions: list[str]) -> dict[str, Step]:
        """Its input, and its two commands."""
        folder = self.scratch / "clip-retrieval"
        checkpoint = random_checkpoint(self.flags.architecture, self.kept)
        program = str(self.flags.peers / "clip-retrieval/bin/clip-retrieval")
        started = time.perf_counter()
        tars = write_tars(folder / "tars", captions, self.flags.workers)
        written = Step(time.perf_counter() - started)
        source = f"{folder}/tars/{{{tars[0].stem}..{tars[-1].stem}}}.tar" if len(tars) > 1 else str(tars[0])
        inference = [program, "inference", "--input_dataset", source, "--output_folder", f"{folder}/embeddings"]
        inference += ["--input_format", "webdataset", "--enable_image", "False", "--enable_text", "True"]
        inference += ["--clip_model", f"open_clip:{self.flags.architecture}/{checkpoint.absolute()}"]
        inference += ["--num_prepro_workers", str(self.flags.workers)]
        embedded = self._run(inference)
        index = ["--embeddings_folder", f"{folder}/embeddings", "--index_folder", f"{folder}/index"]
        indexed = self._run([program, "index", *index])
        found = sum(len(np.load(path, mmap_mode="r")) for path in folder.glob("embeddings/text_emb/*.npy"))
        if found != len(captions) or not (folder / "index/text.index").exists():
            raise SystemExit(f"clip-retrieval embedded {found:,} of {len(captions):,} captions, or built no index")
        shutil.rmtree(folder)
        together = Step(written.seconds + embedded.seconds + indexed.seconds, max(embedded.peak_mb, indexed.peak_mb))
        return {TARS: written, INFERENCE: embedded, INDEX: indexed, TOGETHER: together}

    def _run(self, command: list[str], accepted: tuple[int, ...] = (0,)) -> Step:
        """Run a command to its end."""
        log = self.scratch / "log.txt"
        with log.open("w") as stream:
            streams: dict[str, Any] = {"stdout": stream, "stderr": subprocess.STDOUT}
            started = time.perf_counter()
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment, **streams)
            with PeakMemory(process.pid) as peak:
                try:
                    code = process.wait(self.flags.patience)
                except subprocess.TimeoutExpired:
                    for each in list(descendants(process.pid)):
                        os.kill(each, signal.SIGKILL)
                    code = process.wait()
                seconds = time.perf_counter() - started
        if code not in accepted:
            raise SystemExit(f"{shlex.join(command)}\nended with {code}\n{log.read_text()[-4000:]}")
        return Step(seconds, peak.megabytes, peak.anonymous)


def _middle(captions: int, steps: list[Step]) -> dict[str, Any]:
    """A step's medians over the rounds."""
    middle = {key: statistics.median(getattr(step, key) for step in steps) for key in asdict(steps[0])}
    return {**middle, "captions_per_s": captions / middle["seconds"], "all_seconds": [step.seconds for step in steps]}


def show(result: dict[str, Any]) -> None:
    """Print the table of times."""
    index = result["index"]
    print(f"{result['captions']:,} captions, {result['rounds']} rounds, {result['ours']}, random weights; ", end="")
    print(f"{result['threads']} threads, {result['device']}, load {result['load'][0]:.1f}")
    print(f"ours: {index['rows']:,} captions kept, {index['concepts']:,} concepts, {index['megabytes']:,.1f} MB\n")
    print(f"{'what':<28}{'seconds':>12}{'captions/s':>14}{'ratio':>10}{'peak MB':>12}")
    for name, row in result["steps"].items():
        cells = f"{row['seconds']:>12,.1f}{row['captions_per_s']:>14,.1f}{row['ratio']:>10.2f}"
        print(f"{name:<28}{cells}{row['peak_mb']:>12,.0f}" if row["peak_mb"] else f"{name:<28}{cells}")


def show_memory(result: dict[str, Any]) -> None:
    """Print the table of memory."""
    print(f"{result['ours']}; {result['threads']} threads, {result['device']}, load {result['load'][0]:.1f}\n")
    heads = ["captions/s", "peak MB", "anonymous", "index MB", "rows", "concepts", "search"]
    print(f"{'captions':>12}" + "".join(f"{head:>14}" for head in heads))
    for count, row in result["sizes"].items():
        cells = [f"{int(count) / row['seconds']:,.0f}"]
        cells += [f"{row[key]:,.0f}" for key in ("peak_mb", "anonymous_mb", "megabytes", "rows", "concepts")]
        print(f"{int(count):>12,}" + "".join(f"{cell:>14}" for cell in [*cells, row["search"]]))


if __name__ == "__main__":
    sys.exit(main())
