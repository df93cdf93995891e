"""Everything a build does to a corpus but embedding and indexing: rate and peak memory.

    python benchmarks/builder.py CAPTIONS.parquet         # 756 k captions take about 2.5 minutes on two cores

Reads, cleans, dedups, finds concepts, writes the parts' captions, then counts, chooses and links the concepts.
Expected on two cores: 756 k captions in under 10 minutes, with under 1.5 GB in all processes together.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent.parent))  # also runs from a checkout that is not installed

from benchmarks.memory import PeakMemory
from build_index.concept_stage import least_captions
from build_index.config import BuildConfig
from build_index.corpora import find_sources
from build_index.intake import Intake, Reading
from build_index.tagger_pool import Tagger
from shards.concepts import choose_concepts, count_concepts, write_links
from shards.parts import CAPTIONS_SCHEMA, captions_table, read_parquet, write_table


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    flags = parser.parse_args()
    config = BuildConfig(corpus=tuple(flags.corpus), workers=flags.workers)
    intake = Intake(None)
    found = 0
    with PeakMemory() as peak, tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        paths: list[Path] = []
        with Tagger(config.language, config.workers) as tagger:
            readings = [Reading(source, number) for number, source in enumerate(find_sources(config))]
            for rows in intake.parts(readings, config.rows_per_part):
                concepts = tagger.begin(rows.texts, [False] * len(rows.texts)).result()
                found += sum(len(pairs) for pairs in concepts)
                paths.append(Path(folder) / f"captions-{len(paths):05d}.parquet")
                write_table(paths[-1], captions_table(config.rows_per_part * (len(paths) - 1), rows, concepts))
        tagged = time.monotonic() - started
        tally = intake.tally()
        counted = count_concepts((lists, np.ones(len(lists), np.bool_)) for lists in map(_concepts, paths))
        chosen = choose_concepts(counted, least_captions(tally.kept))
        links = (Path(folder) / "starts.npy", Path(folder) / "links.npy")
        write_links(*links, map(_concepts, paths), chosen["text"].combine_chunks(), tally.kept)
        seconds = time.monotonic() - started
    assert tally.balanced
    print(f"read {tally.read:,} = kept {tally.kept:,} + duplicates {tally.duplicates:,} + refused {tally.refused}")
    print(f"{found:,} concepts found, {found / max(tally.kept, 1):.1f} a caption; {len(chosen):,} chosen")
    print(f"{tagged:.0f} s to read, clean, dedup, tag and write, {seconds - tagged:.0f} s to count, choose and link")
    print(f"{seconds:.0f} s, {tally.read / seconds:,.0f} rows/s, peak memory of all processes {peak.megabytes:,.0f} MB")
    print(f"(this process alone {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB)")
    return 0


def _concepts(path: Path) -> pa.ListArray:
    return read_parquet(path, None, CAPTIONS_SCHEMA, ["concepts"])["concepts"].combine_chunks()


if __name__ == "__main__":
    sys.exit(main())
