"""The table on screen: a line for each row, and under it what segments, names and gating cost."""

import math
from collections.abc import Sequence

from evaluation.metrics.words import LabelStatistics
from evaluation.scores import LevelCurve, Score, costs

COLUMNS = ("mIoU", "pixels", "unknown", "per picture", "recall")


def format_evaluation(
    scores: Sequence[Score], levels: Sequence[LevelCurve], soft: float | None, statistics: LabelStatistics
) -> list[str]:
    """Everything that is said on screen, figures in percent."""
    return [
        *format_table(scores),
        format_costs(scores),
        *(format_levels(curve) for curve in levels),
        *([] if soft is None else [f"soft Jaccard index of own words: {_percent(soft)}"]),
        format_statistics(statistics),
    ]


def format_table(scores: Sequence[Score]) -> list[str]:
    """The rows as lines of text, figures in percent."""
    width = max(len(score.title) for score in scores)
    lines = [" " * width + "".join(f"{name:>13}" for name in COLUMNS)]
    for score in scores:
        lines.append(f"{score.title:<{width}}" + "".join(f"{_percent(value):>13}" for value in score.figures))
    return lines


def format_costs(scores: Sequence[Score]) -> str:
    """What segments, names and gating cost, in points of mIoU."""
    return "mIoU to be won by: " + ", ".join(f"{name} {_points(value)}" for name, value in costs(scores).items())


def format_levels(curve: LevelCurve) -> str:
    """What ever looser reasons for a word to be a class are worth."""
    levels = ", ".join(f"{name} {_percent(miou)}" for name, miou in curve.mious.items())
    return f"mIoU of own words by level ({curve.mapping}): {levels}; area {_percent(curve.area)}"


def format_statistics(statistics: LabelStatistics) -> str:
    """What the labels are like, on one line."""
    return (
        f"{statistics.segments:,} segments, {statistics.unknown:.1%} without a word; {statistics.distinct:,} different "
        f"words, {statistics.per_picture:.1f} in a picture"
    )


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _points(difference: float) -> str:
    return "-" if math.isnan(difference) else f"{100 * difference:+.1f}"
