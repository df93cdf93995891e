"""A whole list of pictures: each is labelled and written, or reported, and the run goes on."""

import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labeler.coco import write_coco, write_panoptic
from labeler.exports import COCO_FILE, PANOPTIC_FILE, REPORT_FILE, TASKS_FILE, take_census
from labeler.inputs import PictureFile, shown
from labeler.label_studio import write_tasks
from labeler.labeled import LabeledImage
from labeler.labels import UNKNOWN
from labeler.outputs import describe_run, is_finished, is_outdated, remove_outputs, write_outputs
from labeler.own_files import require_own_exports, require_own_outputs
from labeler.photographs import Photographs
from labeler.pipeline import Labeler
from labeler.report import write_report
from labeler.turns import turn
from segmenter import PictureError
from shards import UserError
from shards.files import file_info


class Bar(Protocol):
    """The part of a progress bar that a run needs."""

    def update(self, n: int) -> object:
        """Say that n more pictures are done."""
        ...


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        labelled: pictures.
        finished_before: pictures that an earlier run had labelled under the same conditions.
        refused: one line for each picture that could not be read, or whose labels could not be called as it is.
        labels: how many segments were given each label.
        pixels: of all pictures labelled, and how many of them lie in segments that are unknown.
        seconds: by stage: reading, labelling, writing, exports.
        left_out: pictures in the folder that were labelled under other conditions, and are not in the exports.
        interrupted: whether the user stopped it; every picture counted was written whole.
    """

    labelled: int = 0
    finished_before: int = 0
    refused: list[str] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    unknown_pixels: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    left_out: int = 0
    interrupted: bool = False

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that a block takes to a stage's, less that of stages inside it."""
        started, before = time.monotonic(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            self.seconds[stage] += time.monotonic() - started - inside

    def count(self, labeled: LabeledImage) -> None:
        """Add a picture that was labelled and written."""
        self.labelled += 1
        self.labels.update(labeled.names)
        areas = labeled.segments.areas.tolist()
        self.pixels += sum(areas)
        self.unknown_pixels += sum(area for area, name in zip(areas, labeled.names, strict=True) if name == UNKNOWN)


@dataclass(frozen=True)
class Readable:
    """A picture on its way through the labeler.

    Attributes:
        file: where it was.
        pixels: uint8 [H, W, 3], RGB.
        sha256: digest of its bytes, from before they were read.
    """

    file: PictureFile
    pixels: NDArray[np.uint8]
    sha256: str


class Log:
    """A file of JSON lines, one for each thing that happened; without a path, nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._stream = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = path.open("a", encoding="utf-8", buffering=1)  # a line at a time, whatever ends the run
            except OSError as error:
                raise UserError(f"--json-log {path}: {error.strerror}; name a file that can be written") from error

    def write(self, event: str, **facts: Any) -> None:
        """Add a line."""
        if self._stream is not None:
            self._stream.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")


def label_files(
    labeler: Labeler, files: list[PictureFile], out: Path, bar: Bar, *, overwrite: bool = False, log: Log | None = None
) -> RunReport:
    """Label pictures and write their outputs; one that cannot be read is reported, and the rest go on.

    Ctrl-C ends it: the picture that is being written is discarded, what was written before stays. A picture whose
    outputs would replace files that are none of ours is refused. Labels of a picture that can no longer be read,
    because its file has changed, are taken away.

    Args:
        labeler: what labels them.
        files: the pictures.
        out: the folder of all labels.
        bar: is told of every picture that is done.
        overwrite: whether to label pictures again that are finished.
        log: is told of every picture that is labelled or refused.

    Raises:
        UserError: the files of the whole run would replace some that are none of ours.
    """
    report, log = RunReport(), log or Log(None)
    try:
        _label_files(labeler, files, out, bar, (report, log, overwrite))
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def write_exports(
    labeler: Labeler,
    out: Path,
    pictures: Photographs,
    report: RunReport,
    *,
    panoptic: bool = False,
    label_studio: str = "",
) -> None:
    """Write the files of the whole run.

    They hold all finished pictures of the folder, those of earlier runs included: in COCO's format, and on a page to
    look through. Those that an earlier run was asked for and this one is not go, if they would not tell the same.

    Args:
        labeler: whose run it was.
        out: the folder of all labels.
        pictures: what was labelled.
        report: of the run; gets the time, and what was left out.
        panoptic: whether to write COCO's panoptic format, too.
        label_studio: the URL below which Label Studio finds the pictures, to write its tasks, too.
    """
    if not out.is_dir():
        return
    with report.timed("exports"), turn(out):
        census = take_census(out, describe_run(labeler))
        report.left_out = census.left_out
        if not census.entries:
            return
        before = _digest_of(out / COCO_FILE)
        write_coco(census)
        if _digest_of(out / COCO_FILE) != before:
            _remove_exports(out, besides=COCO_FILE)
        write_report(census, pictures)
        if panoptic:
            write_panoptic(census)
        if label_studio:
            write_tasks(census, label_studio)


def _digest_of(path: Path) -> str:
    return file_info(path).sha256 if path.is_file() else ""


def _remove_exports(out: Path, besides: str = "") -> None:
    """Take away files of a whole run that do not tell what lies in the folder."""
    for name in {COCO_FILE, REPORT_FILE, PANOPTIC_FILE, TASKS_FILE} - {besides}:
        (out / name).unlink(missing_ok=True)


def _label_files(
    labeler: Labeler, files: list[PictureFile], out: Path, bar: Bar, run: tuple[RunReport, Log, bool]
) -> None:
    report, log, overwrite = run
    made_by = describe_run(labeler)
    todo = files if overwrite else [file for file in files if not is_finished(out, file, made_by)]
    report.finished_before = len(files) - len(todo)
    bar.update(report.finished_before)
    require_own_exports(out)
    read: deque[tuple[PictureFile, str]] = deque()
    with closing(labeler.label_many(_passing(_readable(todo, out, report, bar, log), read))) as results:
        while True:
            with report.timed("labelling"):
                labeled = next(results, None)
            if labeled is None:
                return
            if not report.labelled and out.is_dir():  # from here on they would not tell what lies in the folder
                with turn(out):
                    _remove_exports(out)
            file, digest = read.popleft()
            assert labeled.picture is not None, "a labeler's own labels hold it"
            try:
                with report.timed("writing"):
                    write_outputs(out, file, labeled.picture, labeled, made_by, digest)
            except PictureError as error:
                _refuse(file, error, report, log)
            else:
                report.count(labeled)
                log.write("labelled", picture=file.name, labels=list(labeled.names))
            bar.update(1)


def _passing(pictures: Iterator[Readable], read: deque[tuple[PictureFile, str]]) -> Iterator[NDArray[np.uint8]]:
    """The pixels alone, while `read` keeps where they were, and their digest."""
    for picture in pictures:
        read.append((picture.file, picture.sha256))
        yield picture.pixels


def _readable(files: list[PictureFile], out: Path, report: RunReport, bar: Bar, log: Log) -> Iterator[Readable]:
    for file in files:
        try:
            with report.timed("reading"):
                require_own_outputs(out, file.stem, file.path)
                digest = file.digest()  # first: of a file that changes meanwhile, the next run sees that it did
                picture = file.read()
        except PictureError as error:
            _refuse(file, error, report, log)
            if is_outdated(out, file):
                with turn(out):
                    remove_outputs(out, file)
                    _remove_exports(out)
            bar.update(1)
        else:
            yield Readable(file, picture, digest)


def _refuse(file: PictureFile, error: PictureError, report: RunReport, log: Log) -> None:
    reason = shown(str(error))
    report.refused.append(reason)
    log.write("refused", picture=file.name, reason=reason)
