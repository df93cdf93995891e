"""Score the labeler: python -m evaluation --dataset voc20 --root VOCdevkit --index shards/.

Two finished runs are compared by python -m evaluation compare A.json B.json.
"""

import sys
import time
from collections.abc import Sequence

from build_index.encoding import TextEncoder
from encoders.presets import UNTRAINED
from evaluation.config import EvaluationConfig
from shards import commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["compare"]:
        from evaluation import compare

        return compare.main(words[1:])
    config = commands.parse(EvaluationConfig, words, "evaluation")
    return commands.run(lambda: _evaluate(config))


def _evaluate(config: EvaluationConfig) -> int:
    from evaluation.datasets import open_dataset  # heavy libraries load after the flags are parsed
    from evaluation.run import evaluate
    from evaluation.table import format_evaluation
    from labeler.pipeline import Labeler
    from shards.progress import progress

    dataset = open_dataset(config.dataset, config.root, config.classes)
    labeler = Labeler.open(config.index, config)

    def encoder() -> TextEncoder:
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
    for line in format_evaluation(evaluation.scores, evaluation.levels, evaluation.statistics):
        print(line)
    if labeler.models.preset == UNTRAINED:
        print("these networks are untrained: the figures show that everything runs, and mean nothing")
    print(f"wrote {config.out}/results.json, per_class.csv, pictures.npz, index.html")
    for reason in observed.refused:
        print(f"  refused {reason}")
    return commands.FINISHED_WITH_REFUSALS if observed.refused else commands.DONE


if __name__ == "__main__":
    sys.exit(main())
