"""Outline and name every region of pictures: python -m labeler images/ --index shards/."""

import sys
import time
from collections.abc import Sequence

from encoders.presets import UNTRAINED
from labeler.config import LabelConfig
from shards import commands

LABELS_SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = commands.parse(LabelConfig, arguments, "labeler")
    return commands.run(lambda: _label(config))


def _label(config: LabelConfig) -> int:
    from labeler.inputs import find_pictures  # heavy libraries load after the flags are parsed
    from labeler.pipeline import Labeler
    from labeler.run import label_files
    from shards.progress import progress

    files = find_pictures(config.pictures, config.out)
    labeler = Labeler.open(config.index, config)
    started = time.monotonic()
    with progress("labelling", "pictures", len(files)) as bar:
        report = label_files(labeler, files, config.out, bar)
    seconds = time.monotonic() - started
    print(
        f"{config.out}: {report.labelled:,} pictures labelled in {seconds:,.0f} s, "
        f"{report.finished_before:,} finished before, {len(report.refused):,} refused"
    )
    if report.labels:
        most = ", ".join(f"{label} ({count})" for label, count in report.labels.most_common(LABELS_SHOWN))
        print(f"  preset {labeler.models.preset}; most frequent labels: {most}")
    if labeler.models.preset == UNTRAINED:
        print("  these networks are untrained: the outlines and names show that everything runs, and mean nothing")
    for reason in report.refused:
        print(f"  refused {reason}")
    return commands.FINISHED_WITH_REFUSALS if report.refused else commands.DONE


if __name__ == "__main__":
    sys.exit(main())
