"""Look into an index, check it, and take captions out of it: python -m shards info|verify|remove|compact FOLDER."""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shards import commands, layout
from shards.errors import UserError

if TYPE_CHECKING:
    from shards.reader import Index

ACTIONS = {
    "info": "what is in there: rows, words, encoder, search index, recall, sources",
    "verify": "every byte against the manifest; exit code 1 on damage",
    "remove": "take captions out by source or by pattern; their rows keep their numbers",
    "compact": "rewrite an index without the captions that were removed, and in few parts",
}


LOOKS = ("info", "verify")
"""Actions that change nothing."""

Action = Callable[[Path, Namespace], int]
"""What is done with one index; returns the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = commands.Parser(prog="python -m shards", description="Look into an index, check it, take captions out.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="|".join(ACTIONS))
    for name, purpose in ACTIONS.items():
        action = actions.add_parser(name, help=purpose, description=purpose)
        action.add_argument("folder", type=commands.path_argument, help="an index, or a folder of them")
        if name == "remove":
            action.add_argument("--source", metavar="FILE", help="captions that came from this source")
            action.add_argument("--matching", metavar="REGEX", help="captions in which this is found")
    flags = parser.parse_args(arguments)
    act: dict[str, Action] = {
        "info": _info,
        "verify": _verify,
        "remove": _remove,
        "compact": _compact,
    }
    return commands.run(lambda: _each(act[flags.action], flags))


def _each(act: Action, flags: Namespace) -> int:
    """Act on all indexes that are meant; one that cannot be looked at is said, and the others are. The worst code."""
    worst = commands.DONE
    for folder in _meant(flags):
        try:
            code = act(folder, flags)
        except UserError as error:
            if flags.action not in LOOKS:
                raise
            code = commands.refused(error)
        worst = max(worst, code)
    return worst


def _meant(flags: Namespace) -> list[Path]:
    """The indexes that a command is about; of a folder of them, those that have the source that is to be removed."""
    from shards.reader import index_folders  # the first that takes time, so that Ctrl-C is heeded from here on

    folders = index_folders(flags.folder)
    if flags.action != "remove" or flags.source is None:
        return folders
    from shards.removal import holding

    return holding(folders, flags.source)


def _info(folder: Path, _flags: Namespace) -> int:
    from shards.reader import open_index

    facts = _facts(open_index(folder))
    print(f"{folder}")
    for title, value in facts.items():
        print(f"  {title:<10} {value}")
    return commands.DONE


def _facts(index: "Index") -> dict[str, str]:
    content = index.manifest
    size = sum(file.bytes for file in content.files())
    tally = content.tally
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(tally.refused.items())) or "0"
    return {
        "rows": f"{content.rows:,} in {len(content.parts):,} parts, {size / 1e6:,.1f} MB",
        "removed": f"{len(index.removed):,}",
        "words": f"{content.concepts.current:,} concepts",
        "encoder": content.encoder.describe(),
        "preset": content.preset,
        "search": f"{content.index.kind}, {content.index.metric}{index.recall()}",
        "read": f"{tally.read:,} = {tally.kept:,} kept + {tally.duplicates:,} duplicates + {refused} refused",
        "sources": ", ".join(source.uri for source in content.sources),
        "written by": f"{content.writer}, generation {content.generation}",
    }


def _verify(folder: Path, _flags: Namespace) -> int:
    from shards.check import verify
    from shards.reader import open_index

    defects = 0
    for line in verify(folder):
        print(f"damaged: {line}")
        defects += 1
    if defects:
        return commands.FINISHED_WITH_REFUSALS
    content = open_index(folder).manifest
    print(f"{folder}: sound ({content.rows:,} rows, {len(content.files()) + 1} files)")
    return commands.DONE


def _remove(folder: Path, flags: Namespace) -> int:
    from shards.removal import remove

    if flags.source is None and flags.matching is None:
        raise UserError("remove what? Give --source FILE, --matching REGEX, or both")
    manifest, removed = remove(folder, flags.source, flags.matching)
    print(f"{folder}: {removed:,} captions removed, {manifest.concepts.current:,} concepts left")
    if removed and (folder / layout.CASED).is_dir():
        print(f"note: {folder / layout.CASED} still holds them; run build_index with --export cased to make it anew")
    return commands.DONE


def _compact(folder: Path, _flags: Namespace) -> int:
    from build_index.compact import compact  # a search index must be built, which this package cannot do alone

    before, after = compact(folder, lambda note: print(f"note: {note}"))
    print(f"{folder}: {after:,} captions, {before - after:,} removed ones are gone")
    if after < before and (folder / layout.CASED).is_dir():
        print(f"note: {folder / layout.CASED} was made anew")
    return commands.DONE


if __name__ == "__main__":
    sys.exit(main())
