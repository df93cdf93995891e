"""A whole folder of pictures: each is labelled and written, or reported, and the run goes on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labeler.inputs import PictureFile
from labeler.outputs import describe_run, is_finished, write_outputs
from labeler.pipeline import Labeler
from segmenter import PictureError, load_picture


class Bar(Protocol):
    """The part of a progress bar that a run needs."""

    def update(self, n: int) -> object:
        """Say that n more pictures are done."""
        ...


@dataclass
class RunReport:
    """What a run did: pictures by outcome, and how often each label was given."""

    labelled: int = 0
    finished_before: int = 0
    refused: list[str] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)


def label_files(labeler: Labeler, files: list[PictureFile], out: Path, bar: Bar) -> RunReport:
    """Label pictures and write their outputs; one that cannot be read is reported, and the rest go on."""
    report = RunReport()
    made_by = describe_run(labeler)
    todo = [file for file in files if not is_finished(out, file, made_by)]
    report.finished_before = len(files) - len(todo)
    bar.update(report.finished_before)
    readable = _readable(todo, report, bar)
    while batch := list(islice(readable, labeler.config.batch_size)):
        results = labeler.label_many(picture for _, picture in batch)
        for (file, picture), labeled in zip(batch, results, strict=True):
            write_outputs(out, file, picture, labeled, made_by)
            report.labelled += 1
            report.labels.update(label.name.label for label in labeled.labels)
            bar.update(1)
    return report


def _readable(files: list[PictureFile], report: RunReport, bar: Bar) -> Iterator[tuple[PictureFile, NDArray[np.uint8]]]:
    for file in files:
        try:
            yield file, load_picture(file.path)
        except PictureError as error:
            report.refused.append(str(error))
            bar.update(1)
