"""What a run leaves behind for people and programs: figures, facts about them, tables of names, a page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.classes import Classes
from evaluation.mappings import Mapping, save_table
from evaluation.metrics.confusion import mean_iou
from evaluation.metrics.matching import majority_classes
from evaluation.metrics.words import LabelStatistics
from evaluation.observation import Observation, Observer, words_said
from evaluation.observing import Observed, read_segments
from evaluation.page import Contents, Shown, make_page
from evaluation.protocol import Run, code_digest
from evaluation.results import PAGE, Pictures, row_key, write_results
from evaluation.rows import class_of_words
from evaluation.scores import LevelCurve, Score
from evaluation.table import format_costs, format_statistics
from labeler.pipeline import Labeler
from shards.files import write_bytes
from shards.manifest import PROGRAM, digest

SHOWN = 12
"""Pictures of each kind on the page."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished evaluation.

    Attributes:
        scores: the rows of the table, those of the first mapping first.
        levels: for each mapping that knows levels, what each of them is worth.
        soft: the labeler's soft Jaccard index, where a mapping is `soft`.
        statistics: what the labels are like.
        observed: the pictures.
    """

    scores: tuple[Score, ...]
    levels: tuple[LevelCurve, ...]
    soft: float | None
    statistics: LabelStatistics
    observed: Observed


def write_report(out: Path, run: Run, observer: Observer, mappings: Sequence[Mapping], finished: Evaluation) -> None:
    """Write tables of names, the page and the figures, `results.json` last.

    Args:
        out: the folder of results.
        run: what the figures depend on.
        observer: what saw the pictures.
        mappings: how words became classes.
        finished: the figures.
    """
    observations, dataset = finished.observed.observations, observer.dataset
    words = words_said(region for o in observations for region in (*o.own, *o.given))
    for mapping in mappings:
        save_table(out / f"mapping.{mapping.name}.json", mapping, dataset.classes, words)
    write_bytes(out / PAGE, page(out, observer, mappings[0], finished).encode())
    cells = {row_key(score): score.cells for score in finished.scores}
    pictures = Pictures(tuple(o.id for o in observations), dataset.classes.names, cells)
    content = {**facts(run, observer, finished.observed), **words_json(mappings, finished)}
    write_results(out, content, finished.scores, pictures)


def facts(run: Run, observer: Observer, observed: Observed) -> dict[str, Any]:
    """What the figures are about: data, protocol, models, index, code."""
    dataset, labeler = observer.dataset, observer.labeler
    seen = "".join(f"{o.id}\0{o.picture}\0{o.truth}\0" for o in observed.observations)
    return {
        "program": PROGRAM,
        "code": code_digest(),
        "run": run.digest,
        "protocol": run.protocol,
        "networks": run.fingerprint,
        "data": {
            "name": dataset.name,
            "layout": dataset.layout,
            "pictures": len(observed.observations),
            "classes": list(dataset.classes.names),
            "digest": digest(seen.encode()),
            "refused": list(observed.refused),
        },
        "indexes": indexes_json(labeler),
    }


def indexes_json(labeler: Labeler) -> dict[str, Any]:
    """What each index holds."""
    return {
        index.name: {
            "digest": index.manifest.digest,
            "captions": index.manifest.rows,
            "words": index.manifest.concepts.current,
            "bytes": sum(file.bytes for file in index.manifest.files()),
        }
        for index in labeler.retriever.indexes
    }


def words_json(mappings: Sequence[Mapping], finished: Evaluation) -> dict[str, Any]:
    """What was said, and how it became classes."""
    return {
        "labels": asdict(finished.statistics),
        "mappings": [{"name": mapping.name, "version": mapping.version} for mapping in mappings],
        "levels": {curve.mapping: {**curve.mious, "area": curve.area} for curve in finished.levels},
        **({} if finished.soft is None else {"soft_jaccard": finished.soft}),
    }


def page(out: Path, observer: Observer, mapping: Mapping, finished: Evaluation) -> str:
    """The page, with the pictures of lowest and highest IoU under the first mapping."""
    observations, classes = finished.observed.observations, observer.dataset.classes
    numbers = class_of_words(observations, classes, mapping)
    ranked = rank(observations, finished.scores[0], classes)
    shown = min(SHOWN, len(ranked) // 2)
    groups = {
        "Best pictures": ranked[len(ranked) - shown :][::-1],
        "Worst pictures": ranked[: min(SHOWN, len(ranked) - shown)],
    }
    return make_page(
        Contents(
            title=f"{observer.dataset.name}: {len(observations):,} pictures",
            facts=page_facts(observer, mapping, finished),
            scores=finished.scores,
            classes=classes,
            groups={
                heading: [_shown(out, observer, observations[place], iou, numbers) for iou, place in chosen]
                for heading, chosen in groups.items()
            },
            preset=observer.labeler.models.preset,
        )
    )


def rank(observations: Sequence[Observation], score: Score, classes: Classes) -> list[tuple[float, int]]:
    """Mean IoU over the classes that stand in a picture, and the picture's number, lowest first; equal ones by id."""
    ious = [mean_iou(score.cells.matrix(place, len(classes))) for place in range(len(observations))]
    places = [place for place, iou in enumerate(ious) if not np.isnan(iou)]
    return [(ious[place], place) for place in sorted(places, key=lambda p: (ious[p], observations[p].id))]


def page_facts(observer: Observer, mapping: Mapping, finished: Evaluation) -> list[str]:
    """The protocol in three lines, for people."""
    labeler = observer.labeler
    indexes = ", ".join(f"{index.name} ({index.manifest.rows:,} captions)" for index in labeler.retriever.indexes)
    networks = labeler.models.description
    return [
        f"Size {observer.size.value}; words become classes by {mapping.name} ({mapping.version}).",
        f"Preset {labeler.models.preset}: {networks['clip']}; outlines {networks['dino']}; index {indexes}.",
        format_costs(finished.scores) + ". " + format_statistics(finished.statistics) + ".",
        "Under each picture: words and the classes they count as, green where most of the segment lies on that class, "
        "grey where it lies on none.",
    ]


def _shown(out: Path, observer: Observer, observation: Observation, iou: float, numbers: dict[str, int]) -> Shown:
    item = next(item for item in observer.dataset.items if item.id == observation.id)
    picture, truth = observer.load(item)
    stands = majority_classes(observation.table(observation.own, len(observer.dataset.classes))).tolist()
    words = tuple((region.word, numbers[region.word], c) for region, c in zip(observation.own, stands, strict=True))
    return Shown(observation.id, iou, picture, truth, read_segments(out, observation.id), words)
