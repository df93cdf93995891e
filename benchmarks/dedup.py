"""Memory and rate of duplicate detection at ten million captions, and what that makes at a hundred million.

    python benchmarks/dedup.py                   # about 2 minutes

Expected: about 25 bytes a caption (20 in packed runs, 4 to 5 of counts), so under 3 GB at 100 million. What comes on
top (a dictionary of 262 thousand, a merge of two runs of 2 million) does not grow with the corpus.
With far fewer captions than the default that rest outweighs them, and the extrapolation says nothing.
"""

import argparse
import hashlib
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from build_index.books import Counts
from build_index.dedup import SeenCaptions

BATCH = 4_096


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--captions", type=int, default=10_000_000)
    flags = parser.parse_args()
    seen, counts = SeenCaptions(), Counts(np.zeros(0, np.uint32))
    before = _resident()
    started = time.monotonic()
    duplicates = 0
    for batch in range(flags.captions // BATCH):
        first = BATCH * (batch if batch % 16 else batch // 2)  # every sixteenth batch was met before
        hashes = [hashlib.blake2b(b"%d" % number, digest_size=16).digest() for number in range(first, first + BATCH)]
        rows, new = seen.assign(hashes)
        counts.add(rows)
        duplicates += new.count(False)
        if batch == flags.captions // BATCH // 4:
            early, early_rows = _resident(), len(seen)
    seconds = time.monotonic() - started
    each = (_resident() - early) * 1e6 / (len(seen) - early_rows)
    rest = _peak() - before - each * len(seen) / 1e6
    print(f"{flags.captions:,} captions, {len(seen):,} different, {duplicates:,} met again")
    print(f"{seconds:.0f} s, {flags.captions / seconds:,.0f} captions/s (hashing included)")
    print(f"peak {_peak() - before:,.0f} MB: {each:.1f} bytes a caption + {rest:,.0f} MB")
    print(f"so at 100 million: {(each * 1e8 / 1e6 + rest) / 1e3:.1f} GB")
    return 0


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _resident() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
