"""What the figures depend on, written beside them: data, classes, models, index, settings, code."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from evaluation.config import Size
from evaluation.datasets import Dataset
from evaluation.errors import EvaluationError
from evaluation.results import FILES
from labeler.models import Models
from labeler.outputs import describe_run
from labeler.pipeline import Labeler
from segmenter import DenseEncoder
from shards.files import write_bytes
from shards.layout import PARTIAL
from shards.manifest import digest

OBSERVATION_VERSION = 1
"""Changes whenever an observation would hold something else for the same picture."""

RUN = "run.json"
PROBE_SIDE = 96
PROBES = 8
TOLERANCE = 1e-3
"""Of a network's answers to the probe, whose spread is 1: far above rounding, far below another network's."""

ROOMS = ("shards", "encoders", "build_index", "segmenter", "labeler", "evaluation")


def describe_protocol(labeler: Labeler, dataset: Dataset, size: Size) -> dict[str, Any]:
    """What an observation depends on besides its picture and the weights of the networks."""
    return {
        "observation": OBSERVATION_VERSION,
        "dataset": dataset.name,
        "classes": dataset.classes.digest,
        "size": size.value,
        "prompts": list(labeler.retriever.encoder.concept_prompts),
        "text": labeler.retriever.encoder.text_digest,
        "labeler": describe_run(labeler),
    }


def fingerprint(models: Models) -> list[float]:
    """What the networks answer to a fixed picture, as a few numbers: other weights give others.

    Returns:
        `PROBES` numbers for each of the two networks, rounded; on one machine the same up to `TOLERANCE`.
    """
    rows, cols = np.mgrid[:PROBE_SIDE, :PROBE_SIDE]
    picture = np.stack([rows * 2, cols * 2, (rows // 12 + cols // 12) % 2 * 255], axis=2).astype(np.uint8)
    return [*_probe(models.patch_features, picture), *_probe(models.clip_dense, picture)]


def _probe(encoder: DenseEncoder, picture: NDArray[np.uint8]) -> list[float]:
    grid = encoder.embed(picture).astype(np.float64).ravel()
    grid /= np.sqrt((grid**2).mean()) or 1.0
    directions = Generator(PCG64(0)).standard_normal((PROBES, grid.size)) / np.sqrt(grid.size)
    return [round(float(value), 6) for value in directions @ grid]


@dataclass(frozen=True)
class Run:
    """What the observations in a folder of results share.

    Attributes:
        digest: of all of it; every observation carries it.
        protocol: from `describe_protocol`.
        fingerprint: from `fingerprint`.
    """

    digest: str
    protocol: dict[str, Any]
    fingerprint: list[float]


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other evaluations out of a folder of results, which is made if need be.

    Where the file system knows no locks, nobody is kept out.

    Raises:
        EvaluationError: another one is at work there, or there can be no such folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise EvaluationError(f"--out {out}: no folder can be made ({error.strerror}); choose another --out") from error
    try:
        _lock(folder, out)
        yield
    finally:
        os.close(folder)  # lets others in


def begin(out: Path, labeler: Labeler, dataset: Dataset, size: Size) -> Run:
    """Start a run in a folder, or go on with one; figures of an earlier one are deleted, observations are kept.

    Args:
        out: the folder of results.
        labeler: what is scored.
        dataset: on what.
        size: at which size.

    Returns:
        The run that is in the folder, if it is the same; else a new one.

    Raises:
        EvaluationError: the folder holds something else.
    """
    protocol = describe_protocol(labeler, dataset, size)
    seen = fingerprint(labeler.models)
    path = out / RUN
    earlier = _read(path)
    begun = RUN + PARTIAL  # all that an evaluation leaves that was killed before it had a run
    if earlier is None and out.is_dir() and any(each.name != begun for each in out.iterdir()):
        raise EvaluationError(f"--out {out}: holds other files than an evaluation's; name a new folder")
    if earlier is not None and earlier["protocol"] == protocol and _close(earlier["fingerprint"], seen):
        seen = earlier["fingerprint"]
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    content = (json.dumps({"protocol": protocol, "fingerprint": seen}, indent=1, sort_keys=True) + "\n").encode()
    write_bytes(path, content)
    return Run(digest(content), protocol, seen)


def code_digest() -> str:
    """SHA-256 over the programs of all rooms, by path and content."""
    root = Path(__file__).parents[1]
    total = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return "sha256:" + total.hexdigest()


def _lock(folder: int, out: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        reason = "another evaluation is writing there; wait for it, or choose another --out"
        raise EvaluationError(f"--out {out}: {reason}") from None
    except OSError:
        return


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"protocol", "fingerprint"} <= set(content) else None


def _close(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=0, atol=TOLERANCE))
