"""Look into an index, and check it: python -m shards info|verify FOLDER."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from shards import commands
from shards.manifest import Manifest
from shards.reader import index_folders, open_index
from shards.verify import verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = ArgumentParser(prog="python -m shards", description="Look into an index, and check it.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="info|verify")
    for name, purpose in {
        "info": "what is in there: rows, encoder, search index, sources",
        "verify": "every byte against the manifest; exit code 1 on damage",
    }.items():
        action = actions.add_parser(name, help=purpose, description=purpose)
        action.add_argument("folder", type=Path, help="an index, or a folder of them")
    flags = parser.parse_args(arguments)
    act = {"info": _info, "verify": _verify}[flags.action]
    return commands.run(lambda: max(act(folder) for folder in index_folders(flags.folder)))


def _info(folder: Path) -> int:
    content = open_index(folder).manifest
    print(f"{folder}")
    for title, value in _facts(content).items():
        print(f"  {title:<10} {value}")
    return commands.DONE


def _facts(content: Manifest) -> dict[str, str]:
    size = sum(file.bytes for file in content.files())
    tally = content.tally
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(tally.refused.items())) or "0"
    return {
        "rows": f"{content.rows:,} in {len(content.parts):,} parts, {size / 1e6:,.1f} MB",
        "encoder": content.encoder.describe(),
        "preset": content.preset,
        "search": f"{content.index.kind}, {content.index.metric}",
        "read": f"{tally.read:,} = {tally.kept:,} kept + {tally.duplicates:,} duplicates + {refused} refused",
        "sources": ", ".join(source.uri for source in content.sources),
        "written by": f"{content.writer}, generation {content.generation}",
    }


def _verify(folder: Path) -> int:
    defects = 0
    for defects, line in enumerate(verify(folder), start=1):  # noqa: B007  # the count is used below
        print(f"damaged: {line}")
    if defects:
        return commands.FINISHED_WITH_REFUSALS
    content = open_index(folder).manifest
    print(f"{folder}: sound ({content.rows:,} rows, {len(content.files()) + 1} files)")
    return commands.DONE


if __name__ == "__main__":
    sys.exit(main())
