"""Which files hold a corpus's captions, and in which column: a table of presets, and what else a user may write."""

import glob
import re
from dataclasses import dataclass, replace
from pathlib import Path

import fsspec

from build_index.config import BuildConfig
from build_index.errors import CorpusError, one_line
from encoders.hub import offline_where_no_hub_resolves

DEMO = "demo"
DEMO_FILE = Path(__file__).parent / "data" / "demo.txt"
"""268 sentences of our own about everyday things, so that something can be built with no download."""

HUB = "hf://datasets/"
DATASET = "hf:"
"""Before a data set's name: `hf:OWNER/NAME`, `hf:OWNER/NAME@CONFIG`, or `hf:./FOLDER`."""

SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt")
COMPRESSIONS = ("", ".gz", ".zst", ".bz2", ".xz")
CAPTION_COLUMNS = ("caption", "captions", "text", "TEXT", "txt", "top_caption", "sentences", "vlm_caption", "alt_text")
"""Names under which corpora keep their captions, tried in this order where no preset and no flag decides."""


@dataclass(frozen=True)
class CorpusPreset:
    """A named corpus.

    Attributes:
        hub: where the Hugging Face hub keeps its parquet files, as a glob below `hf://datasets/`.
        local: globs of the same files under `--data-dir`, plain or compressed, tried in order; the first that matches
            anything is used.
        columns: names of the caption column, first match wins.
        listed: whether every row is the name of something, and so a concept by itself.
    """

    hub: str
    local: tuple[str, ...]
    columns: tuple[str, ...]
    listed: bool = False


CORPORA = {
    "cc3m": CorpusPreset(
        "google-research-datasets/conceptual_captions/unlabeled/train-*.parquet",
        ("**/unlabeled/train-*.parquet", "**/*cc3m*.parquet", "**/Train*GCC*.tsv", "**/*GCC*.tsv", "**/*cc3m*.tsv"),
        ("caption",),
    ),
    "cc12m": CorpusPreset(
        "google-research-datasets/conceptual_12m@refs%2Fconvert%2Fparquet/default/train/*.parquet",
        ("**/*cc12m*.parquet", "**/*cc12m*.tsv", "**/*.parquet"),
        ("caption",),
    ),
    "coco": CorpusPreset(
        "ChristophSchuhmann/MS_COCO_2017_URL_TEXT/mscoco.parquet",
        ("**/mscoco.parquet", "**/*coco*.parquet", "**/captions_train*.json", "**/captions_val*.json"),
        ("caption", "TEXT", "sentences"),
    ),
    "flickr30k": CorpusPreset(
        "nlphuji/flickr30k@refs%2Fconvert%2Fparquet/**/*.parquet",
        (
            "**/*flickr30k*.parquet",
            "**/*flickr30k*.csv",
            "**/flickr_annotations_30k.csv",
            "**/results_20130124.token",
            "**/*.parquet",
        ),
        ("caption", "captions", "raw", "1"),
    ),
    "laion": CorpusPreset("laion/laion-art/*.parquet", ("**/*.parquet",), ("TEXT", "caption", "text")),
    "redcaps": CorpusPreset(
        "kdexd/red_caps@refs%2Fconvert%2Fparquet/all/train/*.parquet",
        ("**/*redcaps*.parquet", "**/annotations/*.json", "**/*.parquet"),
        ("caption", "raw_caption"),
    ),
    "coyo": CorpusPreset("kakaobrain/coyo-700m/data/*.parquet", ("**/*coyo*.parquet", "**/*.parquet"), ("text",)),
    "img2dataset": CorpusPreset("", ("**/[0-9][0-9][0-9][0-9][0-9]*.parquet",), ("caption",)),
    "wordlist": CorpusPreset("", ("**/*.txt", "**/*.csv", "**/*.json"), (), listed=True),
}


@dataclass(frozen=True)
class Source:
    """One file of captions.

    Attributes:
        uri: a local path, a URL that fsspec understands, or `hf:NAME` for a data set of the Hugging Face hub.
        columns: names of the caption column, first match wins; empty to find it by name.
        listed: whether every row is the name of something, and so a concept by itself.
        chosen: whether a user named the column, which must be there then; a preset's files may have no header.
    """

    uri: str
    columns: tuple[str, ...]
    listed: bool = False
    chosen: bool = False

    @property
    def kind(self) -> str:
        """File type without its dot and its compression; `hf:` for a data set of the hub.

        >>> Source("a/b.TSV.gz", ()).kind
        'tsv'
        """
        return DATASET if is_dataset(self.uri) else _split(self.uri)[0].lstrip(".")

    @property
    def has_columns(self) -> bool:
        """Whether its captions stand in one of several columns; of a text file every line is one."""
        return self.kind != "txt"

    @property
    def compression(self) -> str:
        """`.gz`, `.zst`, `.bz2`, `.xz`, or nothing."""
        return _split(self.uri)[1]


def is_dataset(uri: str) -> bool:
    """Whether a data set is meant, `hf:OWNER/NAME`, and not a file on the hub, `hf://datasets/OWNER/NAME/FILE`."""
    return uri.startswith(DATASET) and "://" not in uri


def corpus_name(config: BuildConfig) -> str:
    """The index's name: as given, or the preset's, or the first file's.

    >>> corpus_name(BuildConfig(corpus=("captions/tate_places.parquet",)))
    'tate_places'
    """
    if config.name:
        return config.name
    first = [*config.corpus, *config.append, *config.words][0]
    first = _without_query(first).rstrip("/").rsplit("/", 1)[-1]
    stem = first.split(".")[0] if _split(first)[0] else first
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "captions"


def find_sources(config: BuildConfig) -> list[Source]:
    """Every file of a build, in the order in which its captions get their rows.

    Raises:
        CorpusError: something written after one of the flags means no file, or one that cannot be a source.
    """
    columns = (config.caption_column,) if config.caption_column else ()
    sources: dict[tuple[str, bool], Source] = {}
    flags = {"--corpus": config.corpus, "--append": config.append, "--words": config.words}
    for flag, corpus in ((flag, corpus) for flag, asked in flags.items() for corpus in asked):
        for source in _sources_of(flag, corpus, config.data_dir, columns):
            _require_usable(source.uri, config.out / corpus_name(config))
            known = replace(source, listed=source.listed or flag == "--words", chosen=bool(columns))
            sources.setdefault((source.uri, known.listed), known)
    if columns and not any(source.has_columns for source in sources.values()):
        first = next(iter(sources.values())).uri
        raise CorpusError(
            f"--caption-column {columns[0]}: {first} has no columns, every line is a caption; leave it out"
        )
    return list(sources.values())


def _require_usable(uri: str, folder: Path) -> None:
    if "://" not in uri and Path(uri).parent.resolve() == folder.resolve():
        raise CorpusError(f"{uri}: lies in the folder that the index is written to; choose another --out or --name")
    try:
        uri.encode()
    except UnicodeEncodeError:
        raise CorpusError(f"{uri!r}: this name is not UTF-8, so no manifest can hold it; rename it") from None


def _sources_of(flag: str, corpus: str, data_dir: Path | None, columns: tuple[str, ...]) -> list[Source]:
    if corpus == DEMO:
        return [Source(str(DEMO_FILE), ())]
    preset = CORPORA.get(corpus)
    if preset is not None:
        files = _preset_files(flag, corpus, preset, data_dir)
        return [Source(uri, columns or preset.columns, preset.listed) for uri in files]
    if is_dataset(corpus):
        return [Source(corpus, columns)]
    if "://" in corpus:
        return [Source(uri, columns) for uri in _remote_files(flag, corpus)]
    return [Source(uri, columns) for uri in _local_files(flag, corpus)]


def _preset_files(flag: str, name: str, preset: CorpusPreset, data_dir: Path | None) -> list[str]:
    if data_dir is None:
        if not preset.hub:
            raise CorpusError(f"{flag} {name}: give the folder with --data-dir")
        return _remote_files(flag, HUB + preset.hub)
    if data_dir.is_file():
        return [str(data_dir)]
    for pattern in preset.local:
        names = (path for mark in COMPRESSIONS for path in data_dir.glob(pattern + mark))
        found = sorted(str(path) for path in names if path.is_file())
        if found:
            return found
    there = ", ".join(sorted(path.name for path in data_dir.glob("*"))[:8]) or "nothing"
    raise CorpusError(
        f"--data-dir {data_dir}: no file of {name} there (looked for {', '.join(preset.local)}; found {there}); "
        f"name the files themselves with {flag} instead"
    )


def _local_files(flag: str, corpus: str) -> list[str]:
    path = Path(corpus)
    if path.is_file():
        return [corpus]
    if path.is_dir():
        found = sorted(str(child) for child in path.rglob("*") if child.is_file() and _split(child.name)[0])
        if not found:
            raise CorpusError(f"{flag} {corpus}: no captions below that folder (looked for {', '.join(SUFFIXES)})")
        return found
    found = sorted(path for path in glob.glob(corpus, recursive=True) if Path(path).is_file())  # noqa: PTH207  # keeps a user's spelling
    if not found:
        presets = ", ".join([*CORPORA, DEMO])
        raise CorpusError(f"{flag} {corpus}: no such file, folder or glob, and no preset (presets: {presets})")
    return found


def _remote_files(flag: str, uri: str) -> list[str]:
    try:
        if not re.search(r"[*\[]", uri):  # a question mark begins a URL's query
            return [uri]
        with offline_where_no_hub_resolves():
            filesystem, path = fsspec.core.url_to_fs(uri)
            found = sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(path))
    except Exception as error:  # every filesystem of fsspec raises its own kinds
        raise CorpusError(
            f"{flag} {uri}: cannot be reached ({one_line(error)}); "
            f"with a copy on this machine, use --data-dir FOLDER or {flag} FILES"
        ) from error
    if not found:
        raise CorpusError(f"{flag} {uri}: nothing there matches")
    return found


def _split(name: str) -> tuple[str, str]:
    """The type and the compression at the end of a name; the type is empty if it is not one we read."""
    lower = _without_query(name).lower()
    compression = next((mark for mark in COMPRESSIONS if mark and lower.endswith(mark)), "")
    bare = lower.removesuffix(compression)
    if bare.endswith((".token", ".token.txt")):  # of Flickr30k and Flickr8k
        return ".tsv", compression
    return next((suffix for suffix in SUFFIXES if bare.endswith(suffix)), ""), compression


def _without_query(uri: str) -> str:
    """A URL without what stands behind its question mark; a local name may have one."""
    return uri.split("?")[0] if "://" in uri else uri
