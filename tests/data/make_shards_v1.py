"""Make the sample of format version 1 that every later reader must open: python tests/data/make_shards_v1.py.

Run it when version 1 is changed before its first release, and never after: then the sample is what users have on disk.
"""

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the fake encoder

from conftest import LetterCounter

from build_index.config import BuildConfig
from build_index.pipeline import build
from shards.removal import remove

HERE = Path(__file__).parent
CAPTIONS = [
    "Two golden retrievers on the beach",
    "the Leaning Tower of Pisa",
    "a café at night",
    "a red bus",
    "an okapi",
]


def main() -> None:
    """Write `shards-v1` anew: five captions in two parts, one of them removed."""
    shutil.rmtree(HERE / "shards-v1", ignore_errors=True)
    os.chdir(HERE)  # the manifest names the captions' file as it was given
    Path("captions.txt").write_text("\n".join(CAPTIONS) + "\n", encoding="utf-8")
    config = BuildConfig(
        corpus=("captions.txt",), name="shards-v1", out=Path(), rows_per_part=3, workers=1, concept_prompts=("{}",)
    )
    build(config, lambda _: LetterCounter())
    remove(Path("shards-v1"), None, "okapi")
    Path("captions.txt").unlink()
    (Path("shards-v1") / ".lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
