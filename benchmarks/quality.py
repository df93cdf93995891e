"""What the shipped pair scores on photographs with masks: one command, one table.

    python benchmarks/quality.py PHOTOS [--index shards/] [--out quality]

PHOTOS holds voc/, msrc/, camvid/, coco_stuff/ and ade20k_sample/, each in its official layout; what is missing is left
out and said. Without --index, one is built from the bundled sentences with the small pair. Prints the table of
docs/quality.md; every run's own results are kept below --out, and a second call goes on from there.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from build_index.__main__ import main as build_index
from evaluation.__main__ import main as evaluate
from evaluation.results import RESULTS
from evaluation.rows import RowName

SETS = {  # data set -> folder of the photographs, and what its line in the table is called
    "voc20": ("voc", "VOC 2012, 20 classes, background ignored"),
    "voc21": ("voc", "VOC 2012, background counted"),
    "msrc21": ("msrc", "MSRC v2, 21 classes"),
    "camvid": ("camvid", "CamVid, 11 classes"),
    "coco-stuff": ("coco_stuff", "COCO-Stuff, 171 classes"),
    "ade150": ("ade20k_sample", "ADE20K, 150 classes"),
}

COLUMNS = {
    RowName.LABELER: "mIoU",
    RowName.GIVEN_NAMES: "names given",
    RowName.GIVEN_SEGMENTS: "segments given",
    RowName.GIVEN_BOTH: "both given",
    RowName.GIVEN_BOTH_HERE: "both, this picture's names",
    RowName.HUNGARIAN: "segments alone",
}


def main() -> int:
    """Run every data set that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--index", type=Path, help="an index (default: of the bundled sentences, by --preset pocket)")
    parser.add_argument("--mapping", default="lexical", help="how words become classes, as `python -m evaluation` says")
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--out", type=Path, default=Path("quality"))
    arguments, more = parser.parse_known_args()
    index = arguments.index or arguments.out / "shards"
    if arguments.index is None and build_index(["--corpus", "demo", "--preset", "pocket", "--out", str(index)]):
        return 1
    lines = []
    for name in arguments.only:
        folder, title = SETS[name]
        if not (arguments.photos / folder).is_dir():
            print(f"{name}: left out, {arguments.photos / folder} is not there")
            continue
        out = arguments.out / f"{name}-{arguments.mapping}"
        command = ["--dataset", name, "--root", str(arguments.photos / folder), "--index", str(index)]
        if evaluate([*command, "--mapping", arguments.mapping, "--out", str(out), *more]) not in (0, 1):
            return 1
        lines.append(table_line(title, json.loads((out / RESULTS).read_text("utf-8"))))
    print("\n| data set | pictures | " + " | ".join(COLUMNS.values()) + " |")
    print("|---|" + "---|" * (1 + len(COLUMNS)))
    print("\n".join(lines))
    return 0


def table_line(title: str, results: dict[str, Any]) -> str:
    """One line of the table, figures in percent."""
    found = {row["name"]: row["miou"] for row in results["rows"]}
    cells = [f"{100 * found[name.value]:.1f}" for name in COLUMNS]
    return f"| {title} | {results['data']['pictures']} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
