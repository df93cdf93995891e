"""Captions to vectors: our text encoder beside clip-retrieval's, open_clip's and sentence-transformers'.

    sh benchmarks/peers/setup.sh PEERS                     # once: the peers' environments
    python benchmarks/encode_text.py CAPTIONS.parquet --peers PEERS
    python benchmarks/encode_text.py CAPTIONS.parquet --device cuda --architectures ViT-B-32 ViT-L-14 ViT-H-14

First every program encodes all captions, and each caption's vector is compared with clip-retrieval's own by cosine.
Then they encode them again, in turn, with everything loaded and warm; rates are of the medians. All get the same random
weights and the same captions, drawn at random and all different, and the same number of threads. A build sorts 32,768
captions together, and ours computes less a caption the more of them it has: with --peer-count the slow ones get a part
of ours. Rates are by the caption.

What is in a round: for ours, open_clip and sentence-transformers, strings in memory to float32 unit vectors in memory,
tokenising included. For `clip-retrieval, mapper`, its inference alone, with all batches read and tokenised beforehand:
this is the 1 of the ratios, so that ours pays for tokenising and it does not. For `clip-retrieval, reader and mapper`,
what its worker does: processes start, read tar files and tokenise, and the mapper encodes. Loading is in none.

Useful GFLOP/s are the operations that the captions need (`tower.useful_flops`), the same for everybody, by the time;
computed GFLOP/s are those that a program is known to do: more where it fills up to 77 places (`padded_flops`), fewer
where captions share their beginnings (`shared_flops`). Both are also given as a share of the rate of the bare matrix
products of this tower in the same precision (`ceiling.py`; of float32 for integers), measured for a second right before
a program's turn, for machines are not equally fast all the time: shares are medians over the rounds. A precision that
our encoder replaces on the processor at hand is shown as what it became.

The GPU is the first one. Not measured: several GPUs, reading a corpus and writing an index (`build.py` does).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from benchmarks.ceiling import ROWS, ceiling, device_name
from benchmarks.peers.tars import write_tars
from benchmarks.tower import (
    padded_flops,
    random_checkpoint,
    read_captions,
    shared_flops,
    token_lengths,
    tokens_of,
    tower_of,
    trees_of,
    useful_flops,
)

PROGRAMS = Path(__file__).parent / "peers"

REFERENCE = "clip-retrieval, mapper"
"""Whose vectors the others are compared with, and whose rate is the 1 of the ratios."""

CEILING_REPEATS = 20
"""Of every product, before each turn."""

CONTEXT = 77

PADDED = ("clip-retrieval", "open_clip")
"""Programs that fill up every caption to `CONTEXT` places."""


class Program:
    """A rival in a process of its own, which encodes when told to (`peers/rounds.py`)."""

    def __init__(self, python: Path, script: str, job: Path, environment: dict[str, str]) -> None:
        command = [str(python), str(PROGRAMS / f"{script}.py"), str(job)]
        self._log = job.with_name(f"{script}.log")
        with self._log.open("w") as log:
            streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            self._process = subprocess.Popen(command, text=True, env=environment, **streams)
        ready = self._answer()
        self.systems: list[str] = ready["systems"]
        self.versions: dict[str, str] = ready["versions"]

    def encode(self, system: str, file: Path | None = None) -> float:
        """Encode all captions once, and save the vectors if a file is given: seconds."""
        assert self._process.stdin
        self._process.stdin.write(f"{system}\t{file}\n" if file else f"{system}\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._log.stem} ended with {self._process.wait()}\n{self._log.read_text()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, nargs="+", help="parquet files with a column of captions")
    parser.add_argument("--peers", type=Path, help="folder that peers/setup.sh made; without it, no clip-retrieval")
    parser.add_argument(
        "--programs", nargs="+", default=["ours", "clip_retrieval", "open_clip", "sentence_transformers"]
    )
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "int16"])
    parser.add_argument("--architectures", nargs="+", default=["ViT-B-32"])
    parser.add_argument("--count", type=int, default=1_024, help="captions of a round")
    parser.add_argument("--peer-count", type=int, default=0, help="of these the first so many are the peers' (0: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, default=4, help="reader processes of clip-retrieval, 4 by its default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="keep the checkpoint there, and use it again")
    parser.add_argument("--out", type=Path, help="write the numbers there as JSON")
    flags = parser.parse_args()
    import torch  # after the flags are read, for it takes seconds to load

    torch.set_num_threads(flags.threads)
    captions = read_captions(flags.captions, flags.count)
    described = {"device": device_name(flags.device), "threads": flags.threads, "cores": os.cpu_count()}
    result: dict[str, Any] = {**described, "captions": len(captions), "rounds": flags.rounds, "load": os.getloadavg()}
    result |= {"files": [file.name for file in flags.captions], "towers": {}}
    with tempfile.TemporaryDirectory() as temporary:
        for architecture in flags.architectures:
            found = measure(architecture, captions, flags, Path(temporary))
            result["towers"][architecture] = found
            show(architecture, found, result)
    if flags.out:
        flags.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def measure(architecture: str, captions: list[str], flags: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """One architecture: everybody's vectors, then everybody's rounds in turn, each after a look at the ceiling."""
    tower = tower_of(architecture)
    tokens = tokens_of(captions, architecture)
    lengths = token_lengths(tokens)
    few = len(captions[: flags.peer_count or None])
    padded = padded_flops(CONTEXT, few, tower)
    ours = shared_flops(trees_of(tokens, flags.device), tower)
    computed = {f"ours, {kind}": ours for kind in ("fp32", "bf16", "int16")}
    with programs(architecture, captions, flags, scratch) as running:
        where = {system: program for program in running for system in program.systems}
        vectors: dict[str, np.ndarray] = {}
        for number, (system, program) in enumerate(where.items()):
            program.encode(system, scratch / f"{number}.npy")
            vectors[system] = np.load(scratch / f"{number}.npy")
        seconds: dict[str, list[float]] = {system: [] for system in where}
        limits: dict[str, list[float]] = {system: [] for system in where}
        for _ in range(flags.rounds):
            for system, program in where.items():
                kind = precision_of(system, flags.device)
                limits[system].append(ceiling(tower, [kind], ROWS, CEILING_REPEATS, flags.device)[kind]["tower"])
                seconds[system].append(program.encode(system))
        versions = {name: version for program in running for name, version in program.versions.items()}
    reference = REFERENCE if REFERENCE in vectors else next(iter(vectors))
    rows = {}
    for system, times in seconds.items():
        count = len(captions) if system in computed else few
        does = computed.get(system, padded if system.startswith(PADDED) else None)
        row = rate(count, times, {"useful": useful_flops(lengths[:count], tower), "computed": does}, limits[system])
        same = agreement(vectors[system][:few], vectors[reference][:few])
        rows[system] = {**row, **same, "captions": count, "seconds": times, "ceilings": limits[system]}
    for row in rows.values():
        row["ratio"] = row["captions_per_s"] / rows[reference]["captions_per_s"]
    return {
        "systems": rows,
        "reference": reference,
        "mean_tokens": float(lengths.mean()),
        "flops": {"computed": computed, "padded": padded},
        "versions": versions,
    }


@contextmanager
def programs(
    architecture: str, captions: list[str], flags: argparse.Namespace, scratch: Path
) -> Iterator[list[Program]]:
    """Everybody, loaded, with the same job."""
    checkpoint = random_checkpoint(architecture, flags.folder or scratch)
    some = captions[: flags.peer_count or None]
    job = {
        "architecture": architecture,
        "checkpoint": str(checkpoint.absolute()),
        "captions": captions,
        "tars": [str(path) for path in write_tars(scratch / "tars", some, flags.workers)],
        "workers": flags.workers,
        "threads": flags.threads,
        "device": flags.device,
        "precisions": flags.precisions,
        "folder": str(scratch),
    }
    path = scratch / "job.json"
    path.write_text(json.dumps(job), "utf-8")
    fewer = scratch / "fewer.json"
    fewer.write_text(json.dumps(job | {"captions": some}), "utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": str(flags.threads), "HF_HUB_OFFLINE": "1"}
    if flags.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""  # clip-retrieval takes a GPU wherever there is one
    with ExitStack() as stack:
        running = []
        for name in flags.programs:
            if name == "clip_retrieval" and not flags.peers:
                continue
            python = flags.peers / "clip-retrieval/bin/python" if name == "clip_retrieval" else Path(sys.executable)
            script = {"ours": "our_texts"}.get(name, f"{name}_texts")
            running.append(Program(python, script, path if name == "ours" else fewer, environment))
            stack.callback(running[-1].close)
        yield running


def precision_of(system: str, device: str) -> str:
    """What a system's work is compared with; integers of 16 bits, which nobody else has, with products of float32.

    clip-retrieval casts to bfloat16 on a GPU that has it, and not on a processor.
    """
    if system.startswith("clip-retrieval"):
        return "fp32" if device == "cpu" else "bf16"
    return "bf16" if system.endswith("bf16") else "fp32"


def rate(captions: int, seconds: list[float], flops: dict[str, int | None], limits: list[float]) -> dict[str, Any]:
    """Medians over the rounds: captions/s, GFLOP/s of each known work, and its share of what the round allowed."""
    middle = statistics.median(seconds)
    found: dict[str, Any] = {"captions_per_s": captions / middle, "ceiling_gflops": statistics.median(limits)}
    for kind, operations in flops.items():
        if operations is None:
            continue
        shares = [operations / each / 1e9 / limit for each, limit in zip(seconds, limits, strict=True)]
        found |= {f"{kind}_gflops": operations / middle / 1e9, f"{kind}_of_ceiling": statistics.median(shares)}
    return found


def agreement(vectors: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Cosines of each caption's two vectors [n, d]: the lowest, the mean, and how many are below 0.9999."""
    one, other = (each.astype(np.float64) for each in (vectors, reference))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / norms
    below = int((~(cosines >= 0.9999)).sum())  # a lost caption is not a number, and below
    return {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean()), "below_0.9999": below}


def show(architecture: str, found: dict[str, Any], result: dict[str, Any]) -> None:
    """Print the table of one architecture."""
    print(f"\n{architecture}, random weights; {result['captions']:,} captions of {found['mean_tokens']:.1f} tokens,")
    print(f"{result['rounds']} rounds; {result['device']}, {result['threads']} threads, load {result['load'][0]:.1f}")
    print(f"{json.dumps(found['versions'])}\n")
    heads = ["captions/s", "ratio", "ceiling GF/s", "useful", "of ceiling", "computed", "of ceiling", "cosine min"]
    heads += ["mean", "<0.9999"]
    print(f"{'what':<40}" + "".join(f"{head:>13}" for head in heads))
    for system, row in found["systems"].items():
        cells = [f"{row['captions_per_s']:,.1f}", f"{row['ratio']:.2f}", f"{row['ceiling_gflops']:,.0f}"]
        for kind in ("useful", "computed"):
            cells.append(f"{row[f'{kind}_gflops']:,.1f}" if f"{kind}_gflops" in row else "")
            cells.append(f"{row[f'{kind}_of_ceiling']:.0%}" if f"{kind}_of_ceiling" in row else "")
        cells += [f"{row['cosine_min']:.7f}", f"{row['cosine_mean']:.7f}", str(row["below_0.9999"])]
        print(f"{system:<40}" + "".join(f"{cell:>13}" for cell in cells))
    rounded = ", whose vectors are rounded to float16" if found["reference"] == REFERENCE else ""
    print(f"ratios and cosines are to {found['reference']}{rounded}")


if __name__ == "__main__":
    sys.exit(main())
