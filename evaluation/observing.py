"""All pictures of a data set are seen, each once: what an earlier run wrote is taken where it still holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from PIL import Image

from evaluation.datasets import Item
from evaluation.errors import DatasetError, EvaluationError
from evaluation.observation import Observation, Observer
from labeler.labeled import LabeledImage
from labeler.regions import palette_mask
from segmenter import PictureError, Segments
from shards.files import write_bytes, write_whole


class Bar(Protocol):
    """The part of a progress bar that a run needs."""

    def update(self, n: int) -> object:
        """Say that n more pictures are done."""
        ...


@dataclass(frozen=True)
class Observed:
    """What came of a data set's pictures.

    Attributes:
        observations: one for each picture that could be read, in the order of the data set.
        earlier: how many an earlier run had finished.
        refused: why each of the others could not be read.
    """

    observations: tuple[Observation, ...]
    earlier: int
    refused: tuple[str, ...]


def observe_all(items: Sequence[Item], observer: Observer, out: Path, bar: Bar) -> Observed:
    """Observe pictures, writing each as it is done; one that cannot be read is reported, and the rest go on.

    Args:
        items: the pictures.
        observer: sees one, and says whether an earlier observation of it still holds.
        out: the folder of results.
        bar: shows how far it is.
    """
    observations: list[Observation] = []
    refused: list[str] = []
    earlier = 0
    for item in items:
        found = read_observation(out, item.id)
        try:
            if found is not None and observer.still_holds(found, item):
                earlier += 1
            else:
                found, labeled = observer.observe(item)
                _write(out, found, labeled)
            observations.append(found)
        except (PictureError, DatasetError) as error:
            refused.append(str(error))
        bar.update(1)
    return Observed(tuple(observations), earlier, tuple(refused))


def read_observation(out: Path, name: str) -> Observation | None:
    """What an earlier run saw of a picture of that name; None if it finished none."""
    try:
        found = msgspec.json.decode(observation_path(out, name).read_bytes(), type=Observation)
    except (OSError, ValueError):
        return None
    return found if segments_path(out, name).is_file() else None


def observation_path(out: Path, name: str) -> Path:
    """Where a picture's observation is."""
    return out / "pictures" / f"{name}.json"


def segments_path(out: Path, name: str) -> Path:
    """Where a picture's own segments are, as a palette picture of their numbers."""
    return out / "segments" / f"{name}.png"


def read_segments(out: Path, name: str) -> Segments:
    """A picture's own segments, as an earlier call of `observe_all` wrote them.

    Raises:
        EvaluationError: they cannot be read.
    """
    path = segments_path(out, name)
    try:
        with Image.open(path) as mask:
            numbers = np.asarray(mask).astype(np.int32)
        return Segments(numbers, count=int(numbers.max()))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: no segments can be read from it ({error}); delete it and run again") from error


def _write(out: Path, observation: Observation, labeled: LabeledImage) -> None:
    record, mask = observation_path(out, observation.id), segments_path(out, observation.id)
    record.parent.mkdir(parents=True, exist_ok=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)  # never an old record beside new segments
    write_whole(mask, lambda partial: palette_mask(labeled.segments, labeled.names).save(partial, "PNG"))
    write_bytes(record, msgspec.json.encode(observation) + b"\n")
