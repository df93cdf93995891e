"""Kill a build with SIGKILL at many random moments; what it ends in must be what an undisturbed build makes.

    python benchmarks/kill.py                    # 50 kills; about 3 minutes on two cores
    python benchmarks/kill.py --kills 10

Expected: "identical" and exit code 0. Captions are made up from a seed; the encoder counts letters, so that nearly all
of the time is spent in the builder itself, and half of the kills fall into an append.
"""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from build_index.config import BuildConfig
from build_index.pipeline import build
from shards import EncoderIdentity, verify

WORDS = "old red small wooden dog cat boat tower bridge house tree lake street market child horse garden train".split()


class LetterCounter:
    """Texts as counts of their letters, slowed down so that kills can hit anything."""

    identity = EncoderIdentity(
        architecture="letters",
        pretrained=None,
        checkpoint=None,
        text_digest="sha256:letters",
        tokenizer="none",
        context_length=77,
        prompt="{}",
        concept_prompts=[],
        dimension=27,
        precision="fp32",
    )

    at_once = 2

    def encode(self, captions: Sequence[str], report: Any = None) -> NDArray[np.float32]:
        """Embed n texts: float32 [n, 27], unit rows."""
        time.sleep(0.02)
        counts = np.ones((len(captions), 27), np.float32)
        for row, caption in enumerate(captions):
            for letter in caption.lower():
                if "a" <= letter <= "z":
                    counts[row, ord(letter) - ord("a")] += 1
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def main() -> int:
    """Run the benchmark, or one build of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--captions", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, metavar=("OUT", "CORPUS"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        out, corpus = flags.child
        build(_config(Path(out), corpus), lambda _: LetterCounter())
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return kill_repeatedly(Path(folder), flags.kills, flags.captions, random.Random(flags.seed))


def kill_repeatedly(folder: Path, kills: int, captions: int, generator: random.Random) -> int:
    """Build twice, once disturbed, and compare: 0 if the two are identical."""
    _write_captions(folder, captions, generator)
    started = time.monotonic()
    for corpus in ("first.txt", "*.txt"):
        _run(folder / "calm", str(folder / corpus), None)
    seconds = (time.monotonic() - started) / 2
    print(f"undisturbed: {digest(folder / 'calm')}, {seconds:.1f} s a build")
    for corpus, share in (("first.txt", kills // 2), ("*.txt", kills - kills // 2)):
        _disturb(folder, corpus, share, seconds, generator)
        _run(folder / "disturbed", str(folder / corpus), None)
    defects = [line for index in (folder / "disturbed").iterdir() for line in verify(index)]
    same = digest(folder / "calm") == digest(folder / "disturbed")
    print(f"disturbed:   {digest(folder / 'disturbed')}, {kills} kills, {len(defects)} defects")
    print("identical" if same and not defects else "DIFFERENT")
    return 0 if same and not defects else 1


def _disturb(folder: Path, corpus: str, kills: int, seconds: float, generator: random.Random) -> None:
    """Start a build and kill it, `kills` times; one that finished too early starts from where this stage began."""
    before = folder / "before"
    shutil.rmtree(before, ignore_errors=True)
    if (folder / "disturbed").exists():
        shutil.copytree(folder / "disturbed", before)
    killed = 0
    while killed < kills:
        if _run(folder / "disturbed", str(folder / corpus), generator.uniform(0.0, seconds)):
            killed += 1
        else:
            shutil.rmtree(folder / "disturbed")
            if before.exists():
                shutil.copytree(before, folder / "disturbed")


def _run(out: Path, corpus: str, kill_after: float | None) -> bool:
    """Run one build in a process of its own; returns whether it was killed."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--child", str(out), corpus], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        child.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.communicate()
        return True
    if child.returncode:
        raise SystemExit(f"a build failed with exit code {child.returncode}")
    return False


def digest(folder: Path) -> str:
    """One digest over the names and bytes of all files but locks."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def _config(out: Path, corpus: str) -> BuildConfig:
    return BuildConfig(corpus=(corpus,), out=out, name="letters", rows_per_part=200, workers=1)


def _write_captions(folder: Path, captions: int, generator: random.Random) -> None:
    lines = [f"a {' '.join(generator.sample(WORDS, 3))} in the {generator.choice(WORDS)}" for _ in range(captions)]
    cut = captions * 2 // 3
    (folder / "first.txt").write_text("\n".join(lines[:cut]) + "\n")
    (folder / "second.txt").write_text("\n".join(lines[cut:]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
