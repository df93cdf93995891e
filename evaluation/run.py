"""From a labeler and a data set to a table of scores, on one page."""

from collections.abc import Callable

from build_index.encoding import TextEncoder
from evaluation.classes import Classes
from evaluation.config import EvaluationConfig
from evaluation.datasets import Dataset
from evaluation.errors import EvaluationError
from evaluation.mappings import Mapping, MappingName, load_mapping
from evaluation.metrics.words import label_statistics
from evaluation.observation import Observer
from evaluation.observing import Bar, Observed, observe_all
from evaluation.protocol import alone, begin
from evaluation.report import Evaluation, write_report
from evaluation.rows import oracle_rows, word_rows
from evaluation.scores import level_curve, score_row, soft_score
from evaluation.vocabulary import embed_vocabulary
from labeler.pipeline import Labeler

BY_SENTENCES = (MappingName.SBERT_FORCED, MappingName.SBERT_THR, MappingName.SOFT)
"""Mappings that compare sentences."""


def evaluate(
    labeler: Labeler, dataset: Dataset, encoder: Callable[[], TextEncoder], config: EvaluationConfig, bar: Bar
) -> Evaluation:
    """Label the pictures of a data set, score them, and write everything to `config.out`.

    Args:
        labeler: what is scored.
        dataset: annotated pictures.
        encoder: loads the text tower of the labeler's index, for the oracles that are told the data set's names.
        config: mappings, size, limit and where to write.
        bar: shows how many pictures are done.

    Raises:
        EvaluationError: no picture could be read, the folder holds something else, or another evaluation is at work
            there.
        MappingError: a mapping cannot be had.
    """
    mappings = open_mappings(config, dataset.classes)  # before the work that needs them
    with alone(config.out):
        vocabulary = embed_vocabulary(encoder(), dataset.classes, labeler.retriever.encoder.concept_prompts)
        run = begin(config.out, labeler, dataset, config.size)  # takes earlier results away
        observer = Observer(labeler, vocabulary, dataset, config.size, run.digest)
        items = dataset.items[: config.limit or None]
        observed = observe_all(items, observer, config.out, bar)
        if not observed.observations:
            raise EvaluationError(f"--root {config.root}: no picture could be read; the first: {observed.refused[0]}")
        evaluation = score(observed, dataset, mappings)
        write_report(config.out, run, observer, mappings, evaluation)
        return evaluation


def score(observed: Observed, dataset: Dataset, mappings: list[Mapping]) -> Evaluation:
    """Every figure, made of what was seen: no picture is opened any more.

    Args:
        observed: at least one picture.
        dataset: its classes.
        mappings: at least one.
    """
    observations, classes = observed.observations, dataset.classes
    rows = [row for mapping in mappings for row in word_rows(observations, classes, mapping)]
    rows += oracle_rows(observations, classes)
    curves = [level_curve(observations, classes, mapping) for mapping in mappings]
    return Evaluation(
        scores=tuple(score_row(row, classes, excuses_other=dataset.excuses_other) for row in rows),
        levels=tuple(curve for curve in curves if curve is not None),
        soft=next((s for m in mappings if (s := soft_score(observations, classes, m)) is not None), None),
        statistics=label_statistics([[region.word for region in o.own] for o in observations]),
        observed=observed,
    )


def open_mappings(config: EvaluationConfig, classes: Classes) -> list[Mapping]:
    """The mappings that were asked for; `--table` and `--sentences` are for those that take them.

    Raises:
        EvaluationError: there is a table or a model of sentences, and nothing takes it.
        MappingError: a mapping cannot be had.
    """
    if config.table is not None and MappingName.TABLE not in config.mapping:
        raise EvaluationError(f"--table {config.table}: is read by --mapping table, which was not asked for")
    if config.sentences is not None and not any(name in BY_SENTENCES for name in config.mapping):
        takers = ", ".join(name.value for name in BY_SENTENCES)
        raise EvaluationError(f"--sentences {config.sentences}: is read by --mapping {takers}; none was asked for")
    return [
        load_mapping(
            name, classes, table=config.table if name is MappingName.TABLE else None, sentences=config.sentences
        )
        for name in config.mapping
    ]
