"""Building from Python: the command's flags as keyword arguments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from build_index import merging, pipeline
from build_index.config import BuildConfig
from build_index.language import Language
from build_index.pipeline import BuildReport
from encoders.presets import Precision, PresetName
from shards.commands import config_of

Names = str | Path | Sequence[str | Path]


class BuildOptions(TypedDict, total=False):
    """What `build` can be told; `BuildConfig` says what each means and its default."""

    append: Names
    words: Names
    merge: Names
    name: str
    out: str | Path
    preset: PresetName | Literal["default", "tag", "pocket", "untrained"] | None
    clip: str
    clip_checkpoint: str | Path | None
    caption_column: str
    data_dir: str | Path | None
    language: Language | Literal["en", "de", "nl", "other"]
    least_captions: int
    concept_prompts: str | Sequence[str]
    export: str
    device: str
    precision: Precision | Literal["auto", "fp32", "bf16", "int16"]
    limit: int
    rows_per_part: int
    exact_rows: int | None
    index_bytes: int | None
    workers: int


def build(corpus: Names | BuildConfig = (), **options: Unpack[BuildOptions]) -> BuildReport:
    """Turn captions into an index, as `python -m build_index` does.

    Run again, it embeds only what the index does not hold yet, and never changes a finished part.

    Args:
        corpus: a preset (`"demo"`, `"cc3m"`), a file, a folder, a glob or a URL, or several of them; or a whole config.
        options: the other flags of the command, with underscores: `name="mine"`, `preset="pocket"`.

    Returns:
        What was done; its `folder` is the index.

    Raises:
        CorpusError: no captions are to be had as asked.
        EncoderError: the text encoder cannot be loaded.
        ShardError: the folder is busy, or holds something that this build cannot continue.
        TypeError: there is no such option, or options come beside a config.
        ValueError: an option has a value that cannot be; the message says which can.
    """
    if isinstance(corpus, BuildConfig):
        if options:
            raise TypeError(f"give a config or options, not both; found a config and {', '.join(options)}")
        return _made(corpus)
    return _made(config_of(BuildConfig, {"corpus": corpus, **options}))


def _made(config: BuildConfig) -> BuildReport:
    return merging.merge(config) if config.merge else pipeline.build(config)
