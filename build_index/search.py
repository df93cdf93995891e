"""Look into an index with plain text: python -m build_index.search shards/ "a dog on the beach"."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shards import commands


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Find the captions of an index that are nearest to a text."""

    index: Path = field(metadata={"help": "an index, or a folder of them", "positional": True, "metavar": "INDEX"})
    text: str = field(
        metadata={
            "help": "what to look for",
            "positional": True,
            "metavar": "TEXT",
            "strays": 'a text of several words goes in quotes, "… {}"',
        }
    )
    k: int = field(default=10, metadata={"help": "captions to show"})
    clip_checkpoint: Path | None = field(default=None, metadata={"help": "the CLIP's weights in a local file"})
    device: str = field(default="auto", metadata={"help": "auto, cpu or cuda"})

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"--k {self.k}: must be 1 or more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    config = commands.parse(SearchConfig, arguments, "build_index.search")
    return commands.run(lambda: _search(config))


def _search(config: SearchConfig) -> int:
    from shards.reader import open_indexes, steady

    open_indexes(config.index)
    from build_index.faiss_index import Searcher  # heavy libraries load after the indexes are known to be sound
    from encoders.clip_text import clip_text_of

    searchers = steady(config.index, lambda: [Searcher(index) for index in open_indexes(config.index)])
    encoder = clip_text_of(searchers[0].index.manifest.encoder, config.clip_checkpoint, config.device)
    query = encoder.encode([config.text])
    hits = []
    for searcher in searchers:
        index = searcher.index
        index.manifest.encoder.require(encoder.identity, str(index.folder))
        scores, rows = searcher.search(query, config.k)
        hits += [(-score, index.name, row, index) for score, row in zip(scores[0], rows[0], strict=True)]
    for score, name, row, index in sorted(hits, key=lambda hit: hit[:3])[: config.k]:
        print(f"{-score:.4f}  {name}:{row}  {index.captions([row])[0]}")
    return commands.DONE


if __name__ == "__main__":
    sys.exit(main())
