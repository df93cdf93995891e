"""Score the labeler: python -m evaluation --dataset voc20 --root VOCdevkit --index shards/.

Two finished runs are compared by python -m evaluation compare A.json B.json.
"""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from encoders.presets import UNTRAINED
from shards import commands

if TYPE_CHECKING:
    from build_index.encoding import TextEncoder
    from evaluation.config import EvaluationConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["compare"]:
        return commands.run(lambda: _compare(words[1:]))
    return commands.run(lambda: _evaluate(_told(words)))


def _compare(words: Sequence[str]) -> int:
    from evaluation import compare  # the first that takes time, so that Ctrl-C is heeded from here on

    return compare.main(words)


def _told(words: Sequence[str]) -> "EvaluationConfig":
    from evaluation.config import EvaluationConfig  # as above

    return commands.parse(EvaluationConfig, words, "evaluation")


def _evaluate(config: "EvaluationConfig") -> int:
    from evaluation.datasets import open_dataset  # heavy libraries load after the flags are parsed
    from evaluation.run import evaluate
    from evaluation.table import format_evaluation
    from labeler.pipeline import Labeler
    from shards.progress import progress

    dataset = open_dataset(config.dataset, config.root, config.classes)
    labeler = Labeler.open(config.index, config)

    def encoder() -> "TextEncoder":
        from encoders.clip_text import clip_text_of

        return clip_text_of(labeler.retriever.encoder, config.clip_checkpoint, config.device)

    started = time.monotonic()
    pictures = min(config.limit or len(dataset.items), len(dataset.items))
    with progress("evaluating", "pictures", pictures) as bar:
        evaluation = evaluate(labeler, dataset, encoder, config, bar)
    seconds = time.monotonic() - started
    observed = evaluation.observed
    print(
        f"{dataset.name}, {len(observed.observations):,} pictures, {len(dataset.classes)} classes, size "
        f"{config.size.value}, preset {labeler.models.preset}; {observed.earlier:,} were finished before, "
        f"the rest took {seconds:,.0f} s"
    )
    for line in format_evaluation(evaluation.scores, evaluation.levels, evaluation.soft, evaluation.statistics):
        print(line)
    if labeler.models.preset == UNTRAINED:
        print("these networks are untrained: the figures show that everything runs, and mean nothing")
    print(f"wrote {config.out}/results.json, per_class.csv, pictures.npz, index.html")
    for reason in observed.refused:
        print(f"  refused {reason}")
    return commands.FINISHED_WITH_REFUSALS if observed.refused else commands.DONE


if __name__ == "__main__":
    sys.exit(main())
