"""What each stage and each term is worth: the default with one thing changed at a time, and the three methods.

    python benchmarks/ablation.py PHOTOS --index shards/ [--every 2] [--sentences FOLDER] [--out ablation.json]

PHOTOS holds msrc/ and voc/. Networks see every picture once; the rest is computed anew for each line. Prints a table in
Markdown: mIoU of own segments with own words, under the lexical mapping and, given a sentence encoder, under TAG's.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.presets import DenseMethod
from evaluation.classes import UNKNOWN_CLASS, Classes
from evaluation.datasets import Dataset, DatasetName, open_dataset
from evaluation.mappings import Mapping, MappingName, load_mapping
from evaluation.metrics.confusion import confusion, mean_iou, overlaps
from labeler.config import LabelerConfig
from labeler.labels import UNKNOWN
from labeler.methods import Method, Outlines
from labeler.models import Models, load_models
from labeler.naming_config import Naming
from labeler.pipeline import Labeler
from labeler.retriever import Retriever
from segmenter import Edges, Regions, load_picture

SETS = {DatasetName.MSRC21: "msrc", DatasetName.VOC20: "voc"}

LINES: dict[str, dict[str, Any]] = {
    "**default**": {},
    "**tag**": {"method": Method.TAG},
    "**zero-guidance**": {"method": Method.ZERO_GUIDANCE},
    "tag, our segments": {"method": Method.TAG, "regions": Regions.TREE, "edges": Edges.GUIDED},
    "tag, our words": {"method": Method.TAG, "naming": Naming.DEFAULT},
    "regions: kmeans": {"regions": Regions.KMEANS},
    "regions: agglomeration": {"regions": Regions.AGGLOMERATION},
    "regions need to touch": {"join_apart": False},
    "edges: none": {"edges": Edges.NONE},
    "edges: crf": {"edges": Edges.CRF},
    "outlines: regions, before they are named": {"outlines": Outlines.REGIONS},
    "outlines: named regions": {"outlines": Outlines.NAMES},
    "outlines: words, no lead for a cell's own": {"home_weight": 0.0},
    "dense: own": {"dense": DenseMethod.OWN},
    "dense: proxy": {"dense": DenseMethod.PROXY},
    "dense: masked": {"dense": DenseMethod.MASKED},
    "20 words found directly": {"direct": 20},
    "captions' centroid, 0.15": {"captions_weight": 0.15},
    "no support": {"support_weight": 0.0},
    "support by a segment's own captions alone": {"shared_support": 0.0},
    "no hubness": {"hub_weight": 0.0},
    "no whole picture": {"picture_weight": 0.0},
    "no gate": {"gate": 0.0},
    "10 captions": {"neighbours": 10},
    "no abstention": {"least_score": 0.0},
    "equal neighbours kept apart": {"keep_equal": True},
}


@dataclass
class Remembered:
    """A network whose answers are kept, by picture and question."""

    network: Any
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(picture: NDArray[np.uint8], *more: Any) -> Any:
            if more:
                return getattr(self.network, name)(picture, *more)
            key = (name, hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest())
            if key not in self.answers:
                self.answers[key] = getattr(self.network, name)(picture)
            return self.answers[key]

        return ask


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="only one picture in so many")
    parser.add_argument("--sentences", type=Path, help="a folder of a sentence-transformers model, for sbert_forced")
    parser.add_argument("--only", nargs="+", help="lines whose names hold one of these")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=NUMBER", help="numbers changed in every line")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    retriever = Retriever.open(arguments.index)
    changed = {name: json.loads(value) for name, value in (each.split("=") for each in arguments.set)}
    models: dict[DenseMethod, Models] = {}
    sets = {name: open_dataset(name, arguments.photos / folder) for name, folder in SETS.items()}
    names = [MappingName.LEXICAL] + [MappingName.SBERT_FORCED] * (arguments.sentences is not None)
    titles = [f"{dataset.name} {name.value}" for dataset in sets.values() for name in names]
    print("| | " + " | ".join(titles) + " | segments | s a picture |")
    print("|---|" + "---|" * (len(titles) + 2))
    table = {}
    for title, changes in LINES.items():
        if arguments.only and not any(word in title for word in arguments.only):
            continue
        config = LabelerConfig(index=arguments.index, **{**changed, **changes})
        labeler = Labeler(models_for(config, retriever, models), retriever, config)
        figures, count, seconds = [], [], []
        for dataset in sets.values():
            mappings = [load_mapping(n, dataset.classes, table=None, sentences=arguments.sentences) for n in names]
            scores, segments, spent = score(labeler, dataset, mappings, arguments.every)
            figures += scores
            count.append(segments)
            seconds.append(spent)
        table[title] = dict(zip(titles, figures, strict=True))
        cells = [f"{100 * figure:.1f}" for figure in figures]
        print(f"| {title} | " + " | ".join(cells) + f" | {np.mean(count):.1f} | {np.mean(seconds):.2f} |", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def models_for(config: LabelerConfig, retriever: Retriever, known: dict[Any, Models]) -> Models:
    """The networks of a way of making dense vectors; loaded once, and asked once for every picture."""
    asked = config.recipe.dense, config.dense  # what is asked for is done; what a recipe says may be replaced
    if asked not in known:
        models = load_models(retriever, config)
        known[asked] = replace(
            models,
            patch_features=Remembered(models.patch_features),
            clip_dense=Remembered(models.clip_dense),
            clip=Remembered(models.clip),
        )
    return known[asked]


def score(labeler: Labeler, dataset: Dataset, mappings: list[Mapping], every: int) -> tuple[list[float], float, float]:
    """MIoU under each mapping; segments in a picture; seconds for a picture that the networks have seen."""
    classes, tables, words, spent = dataset.classes, [], [], 0.0
    for item in dataset.items[::every]:
        picture, truth = load_picture(item.picture), dataset.truth(item)
        see_once(labeler, picture)
        started = time.perf_counter()
        labeled = labeler.label(picture)
        spent += time.perf_counter() - started
        tables.append(overlaps(labeled.segments.label_map, truth, len(classes)))
        words.append([label.name.label for label in labeled.labels])
    figures = [mean_iou(total(tables, words, mapping, classes)) for mapping in mappings]
    return figures, float(np.mean([len(each) for each in words])), spent / len(words)


def see_once(labeler: Labeler, picture: NDArray[np.uint8]) -> None:
    """Let the networks look, so that looking is not in the time."""
    labeler.models.patch_features.embed(picture)
    labeler.models.clip_dense.embed(picture)
    if labeler.models.clip is not None:
        labeler.models.clip.embed_whole(picture)


def total(
    tables: list[NDArray[np.int64]], words: list[list[str]], mapping: Mapping, classes: Classes
) -> NDArray[np.int64]:
    """The confusion of all pictures."""
    said = sorted({word for each in words for word in each} - {UNKNOWN})
    nowhere = UNKNOWN_CLASS if classes.background is None else classes.background
    matched = [match.class_number for match in mapping.matches(said)] if said else []
    numbers = {word: nowhere if number == UNKNOWN_CLASS else number for word, number in zip(said, matched, strict=True)}
    given = [np.array([numbers.get(word, UNKNOWN_CLASS) for word in each], np.int64) for each in words]
    return np.sum([confusion(table, each) for table, each in zip(tables, given, strict=True)], axis=0)


if __name__ == "__main__":
    main()
