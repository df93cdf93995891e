"""Progress: a bar with a rate and an ETA on a terminal, a plain line now and then elsewhere."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0


def progress(description: str, unit: str, total: int | None = None, *, quiet: bool = False) -> Any:
    """A tqdm bar on stderr.

    Where stderr is no terminal (a log file, a cluster), a line every half minute and one at the end. Nothing if quiet.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=description,
        unit=f" {unit}",
        total=total,
        unit_scale=True,
        file=sys.stderr,
        mininterval=0.1 if terminal else SECONDS_BETWEEN_LINES,
        maxinterval=10.0 if terminal else SECONDS_BETWEEN_LINES,
        ascii=not terminal,
        leave=True,
        disable=True if quiet else None if terminal else False,
    )
