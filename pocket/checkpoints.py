"""Files from which a stopped training goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SAVE_EVERY = 250


@dataclass(frozen=True)
class Place:
    """Where a stage runs and whom it tells.

    Attributes:
        teachers: folder of the TFLite files.
        work: folder of the checkpoints.
        report: called with a step and one line about it.
        device: cpu or cuda.
    """

    teachers: Path
    work: Path
    report: Callable[[int, str], None]
    device: str = "cpu"


def keep(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint aside, then put it in place."""
    aside = path.with_suffix(".tmp")
    torch.save(state, aside)
    aside.rename(path)


def kept(path: Path) -> dict[str, Any] | None:
    """The checkpoint, on the processor; None if there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
