"""Turn captions into an index: python -m build_index --corpus CAPTIONS."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shards import commands

if TYPE_CHECKING:
    from build_index.config import BuildConfig
    from build_index.pipeline import BuildReport


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return commands.run(lambda: _build(_told(arguments)))


def _told(arguments: Sequence[str] | None) -> "BuildConfig":
    from build_index.config import BuildConfig  # the first that takes time, so that Ctrl-C is heeded from here on

    return commands.parse(BuildConfig, arguments, "build_index")


def _build(config: "BuildConfig") -> int:
    from build_index.api import build  # heavy libraries load after the flags are parsed

    started = time.monotonic()
    report = build(config)
    for note in report.notes:
        print(f"note: {note}")
    refusals = report.refusals
    if report.embedded or report.concepts_embedded or refusals.places or report.merged or report.back:
        _say_what_was_done(report, time.monotonic() - started)
    else:
        print(f"{report.folder}: nothing new; {report.manifest.rows:,} captions as before{_of_them_removed(report)}")
    for place in refusals.broken:
        print(f"  cannot be read: {place}")
    return commands.FINISHED_WITH_REFUSALS if refusals else commands.DONE


def _say_what_was_done(report: "BuildReport", seconds: float) -> None:
    from shards import open_index

    tally = report.manifest.tally
    size = sum(file.bytes for file in report.manifest.files())
    origin = f" of {report.merged:,} indexes" if report.merged else ""
    print(
        f"{report.folder}: {report.manifest.rows:,} captions{origin}{_of_them_removed(report)}, "
        f"{report.embedded:,} embedded now; "
        f"{report.manifest.concepts.current:,} concepts, {report.concepts_embedded:,} embedded now; "
        f"{size / 1e6:,.1f} MB, {seconds:,.0f} s\n"
        f"  read {tally.read:,} = kept {tally.kept:,} + duplicates {tally.duplicates:,} "
        f"+ refused {sum(tally.refused.values()):,}\n"
        f"  encoder {report.manifest.encoder.describe()}\n"
        f"  search index {report.manifest.index.kind}{open_index(report.folder).recall()}"
    )
    for reason, places in sorted(report.refusals.places.items()):
        if rows := report.refusals.rows[reason]:
            print(f"  refused {rows:,} rows, {reason}, for example: {places[0]}")
    print(f'  try: python -m build_index.search {report.folder} "a dog on the beach"')
    print(f"  use: python -m labeler images/ --index {report.folder}")


def _of_them_removed(report: "BuildReport") -> str:
    """How many of the captions that were counted cannot be found, for people; empty if all can."""
    from shards import open_index

    removed = len(open_index(report.folder).removed)
    return f", {removed:,} of them removed" if removed else ""


if __name__ == "__main__":
    sys.exit(main())
