"""Two finished evaluations over the same pictures: which one is better.

    python -m evaluation compare A.json B.json

Every row that both have gets a line with the difference in mIoU and its interval, as `bootstrap` has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from evaluation.bootstrap import Difference, Sums, compare_sums
from evaluation.errors import EvaluationError
from shards import commands

if TYPE_CHECKING:  # heavy libraries load after the flags are parsed
    from evaluation.results import Pictures


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Say which of two finished evaluations is better, with an interval over pictures."""

    first: Path = field(metadata={"help": "results.json of run A, or its folder", "positional": True, "metavar": "A"})
    second: Path = field(metadata={"help": "results.json of run B, or its folder", "positional": True, "metavar": "B"})
    row: str = field(
        default="", metadata={"help": "which row of the tables, as labeler/lexical (default: those that both have)"}
    )
    resamples: int = field(default=10_000, metadata={"help": "how often pictures are drawn anew"})
    confidence: float = field(default=0.95, metadata={"help": "how much of the differences the interval holds"})
    seed: int = field(default=0, metadata={"help": "of the drawing"})

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"--resamples {self.resamples}: must be at least 1")
        if not 0 < self.confidence < 1:
            raise ValueError(f"--confidence {self.confidence}: must be between 0 and 1")
        if self.seed < 0:
            raise ValueError(f"--seed {self.seed}: must be 0 or more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = commands.parse(CompareConfig, arguments, "evaluation compare")
    return commands.run(lambda: _compare(config))


def _compare(config: CompareConfig) -> int:
    first, first_pictures = open_results(config.first)
    second, second_pictures = open_results(config.second)
    notes = differing_protocols(first, second)
    lines = [describe(row, found) for row, found in compare_rows(first_pictures, second_pictures, config)]
    print(f"A: {config.first}", f"B: {config.second}", *notes, *lines, sep="\n")  # noqa: T201
    return commands.DONE


class MappingVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which mapping words became classes by.

    Attributes:
        name: as `--mapping` has it.
        version: what it was then.
    """

    name: str
    version: str


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """What the figures of two runs must agree on.

    Attributes:
        classes: digest of their names.
        size: as `--size` has it.
    """

    classes: str
    size: str


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed of `results.json`; its other entries are not read.

    Attributes:
        version: of the file.
        protocol: what the figures depend on.
        mappings: those of the run.
    """

    version: Literal[1]  # results.RESULTS_VERSION
    protocol: Protocol
    mappings: list[MappingVersion]


def open_results(path: Path) -> tuple[Finished, "Pictures"]:
    """Read a finished evaluation.

    Args:
        path: its `results.json`, or the folder that holds it.

    Raises:
        EvaluationError: there is none, or it is damaged.
    """
    from evaluation.results import PICTURES, RESULTS, read_pictures

    file = path / RESULTS if path.is_dir() else path
    try:
        results = msgspec.json.decode(file.read_bytes(), type=Finished)
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationError(
            f"{file}: no finished evaluation can be read from it ({error}); name the {RESULTS} of one, or its "
            "folder, or run it again"
        ) from error
    return results, read_pictures(file.parent / PICTURES)


def differing_protocols(first: Finished, second: Finished) -> list[str]:
    """What besides the labeler differs between two runs, a line each.

    Raises:
        EvaluationError: they are about other classes, or sizes.
    """
    for key in ("classes", "size"):
        ours, theirs = getattr(first.protocol, key), getattr(second.protocol, key)
        if ours != theirs:
            raise EvaluationError(f"run A has {key} {ours}, run B {theirs}; only runs on the same can be compared")
    versions = [{each.name: each.version for each in results.mappings} for results in (first, second)]
    shared = versions[0].keys() & versions[1].keys()
    return [
        f"note: the mapping {name} is version {versions[0][name]!r} in A and {versions[1][name]!r} in B"
        for name in sorted(shared)
        if versions[0][name] != versions[1][name]
    ]


def compare_rows(first: "Pictures", second: "Pictures", config: CompareConfig) -> list[tuple[str, Difference]]:
    """Compare the rows that both runs have, or the one that was asked for.

    Raises:
        EvaluationError: the pictures or the classes differ, or there is no such row in both.
    """
    if first.ids != second.ids:
        alone = sorted(set(first.ids) ^ set(second.ids))
        raise EvaluationError(
            f"run A has {len(first.ids):,} pictures, run B {len(second.ids):,}, and {len(alone):,} are in one only"
            f"{', such as ' + alone[0] if alone else ', in another order'}; run both on the same pictures"
        )
    if first.classes != second.classes:
        raise EvaluationError("run A and run B have other classes; only runs on the same classes can be compared")
    shared = [row for row in first.rows if row in second.rows and config.row in ("", row)]
    if not shared:
        raise EvaluationError(
            f"no row {config.row!r} in both: A has {', '.join(first.rows)}; B has {', '.join(second.rows)}"
        )
    size = len(first.ids), len(first.classes)
    try:
        return [
            (
                row,
                compare_sums(
                    Sums.of_cells(first.rows[row], *size),
                    Sums.of_cells(second.rows[row], *size),
                    resamples=config.resamples,
                    confidence=config.confidence,
                    seed=config.seed,
                ),
            )
            for row in shared
        ]
    except ValueError as error:
        raise EvaluationError(f"the two runs cannot be paired: {error}") from error


def describe(row: str, found: Difference) -> str:
    """A comparison as one line, in points of a hundred.

    >>> print(describe("labeler/hard", Difference(0.2, 0.25, 0.01, 0.09, 0.95, 0.99, 200, 10_000)))
    labeler/hard: A 20.0, B 25.0, B - A +5.0 [+1.0, +9.0] at 95 % over 200 pictures; B is better in 99 % of resamples
    """
    verdict = "" if found.is_clear else "; the interval holds 0"
    return (
        f"{row}: A {found.first * 100:.1f}, B {found.second * 100:.1f}, B - A {found.difference * 100:+.1f} "
        f"[{found.low * 100:+.1f}, {found.high * 100:+.1f}] at {found.confidence * 100:g} % over {found.pictures:,} "
        f"pictures; B is better in {found.better * 100:.0f} % of resamples{verdict}"
    )
