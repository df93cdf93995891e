"""Outline and name every region of pictures: python -m labeler images/ --index shards/."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.presets import UNTRAINED
from shards import commands

if TYPE_CHECKING:
    from labeler.config import LabelConfig
    from labeler.run import RunReport

LABELS_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return commands.run(lambda: _label(_told(arguments)))


def _told(arguments: Sequence[str] | None) -> "LabelConfig":
    from labeler.config import LabelConfig  # the first that takes time, so that Ctrl-C is heeded from here on

    return commands.parse(LabelConfig, arguments, "labeler")


def _label(config: "LabelConfig") -> int:
    from labeler.downloads import download, is_url_table  # heavy libraries load after the flags are parsed
    from labeler.inputs import find_pictures
    from labeler.photographs import Photographs
    from labeler.pipeline import Labeler
    from labeler.run import Log, label_files, write_exports
    from shards.progress import progress

    (pictures, *more), unreachable, labeler = config.pictures, [], None
    if not more and is_url_table(pictures):
        labeler = Labeler.open(config.index, config)  # what it refuses should not come after hours of downloading
        table, pictures = pictures, Path(f"{config.out.resolve()}-pictures")
        unreachable = download(table, pictures)
    files = find_pictures(pictures, config.out, *more)
    labeler = labeler or Labeler.open(config.index, config)
    log = Log(config.json_log)
    started = time.monotonic()
    with progress("labelling", "pictures", len(files), quiet=config.quiet) as bar:
        report = label_files(labeler, files, config.out, bar, overwrite=config.overwrite, log=log)
    report.refused[:0] = unreachable
    if not report.interrupted:
        shown = Photographs.of(None if more else pictures, files)
        write_exports(labeler, config.out, shown, report, panoptic=config.panoptic, label_studio=config.label_studio)
    log.write("finished", **vars(report))
    if not config.quiet:
        print("\n".join(_summary(report, config, labeler.models.preset, time.monotonic() - started)))
    for reason in report.refused:
        print(f"  refused {reason}", file=sys.stderr if config.quiet else sys.stdout)
    if report.interrupted:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return commands.INTERRUPTED
    return commands.FINISHED_WITH_REFUSALS if report.refused else commands.DONE


def _summary(report: "RunReport", config: "LabelConfig", preset: str, seconds: float) -> list[str]:
    from labeler.exports import REPORT_FILE
    from labeler.labels import UNKNOWN

    lines = [
        f"{config.out}: {report.labelled:,} pictures labelled in {seconds:,.0f} s, "
        f"{report.finished_before:,} finished before, {len(report.refused):,} refused"
    ]
    if report.labels:
        segments, unknown = report.labels.total(), report.labels[UNKNOWN]
        most = ", ".join(f"{label} ({count})" for label, count in report.labels.most_common(LABELS_SHOWN))
        stages = ", ".join(f"{stage} {time_:,.1f}" for stage, time_ in report.seconds.items())
        lines += [
            f"  {segments:,} segments with {len(report.labels):,} labels; unknown: {unknown:,} segments, "
            f"{report.unknown_pixels / report.pixels:.1%} of the pixels",
            f"  preset {preset}; most frequent labels: {most}",
            f"  seconds: {stages}",
        ]
    if report.left_out:
        lines.append(f"  {report.left_out:,} pictures there were labelled under other conditions, and are left out")
    labels = report.labelled + report.finished_before  # without any, a page there tells of other runs
    if labels and not report.interrupted and (config.out / REPORT_FILE).exists():
        lines.append(f"  look at {config.out / REPORT_FILE}")
    if preset == UNTRAINED:
        lines.append("  these networks are untrained: outlines and names show that everything runs, and mean nothing")
    return lines


if __name__ == "__main__":
    sys.exit(main())
