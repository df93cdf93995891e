"""Data sets of the Hugging Face hub, streamed through `datasets`."""

from typing import Any

from build_index import streams
from build_index.columns import choose_column
from build_index.corpora import DATASET, Source
from build_index.errors import CorpusError, one_line
from build_index.streams import Chunk, Stream
from encoders.hub import offline_where_no_hub_resolves


def read_dataset(source: Source) -> Stream:
    """Stream a data set's train split, one column of it."""
    dataset = load_streaming(source.uri)
    column = choose_column(list(dataset.features), source.columns, source.uri)
    rows = 0
    for batch in dataset.select_columns([column]).iter(streams.ROWS_PER_CHUNK):
        values = [
            item for value in batch[column] for item in ((value or [None]) if isinstance(value, list) else [value])
        ]
        yield Chunk(rows, values)
        rows += len(values)


def load_streaming(uri: str) -> Any:
    """A streamed `datasets` data set of `hf:OWNER/NAME`, `hf:OWNER/NAME@CONFIG` or `hf:./FOLDER`.

    Raises:
        CorpusError: it is not to be had, or has no train split.
    """
    import datasets  # takes a second, and most corpora are files

    name, _, config = uri.removeprefix(DATASET).partition("@")
    try:
        with offline_where_no_hub_resolves():
            dataset = datasets.load_dataset(name, config or None, split="train", streaming=True)
            return dataset if dataset.features else dataset._resolve_features()
    except Exception as error:  # datasets raises its own kinds, and those of the hub and of fsspec
        hint = "; for a repository with a loading script, use its parquet files: hf://datasets/NAME@refs%2Fconvert%2Fparquet/**"
        raise CorpusError(f"{uri}: cannot be streamed ({one_line(error)}){hint}") from error


def dataset_version(uri: str) -> str:
    """What `datasets` makes of a data set's files, their sizes and times."""
    import datasets  # takes a second, and most corpora are files

    name, _, config = uri.removeprefix(DATASET).partition("@")
    with offline_where_no_hub_resolves():
        return str(datasets.load_dataset_builder(name, config or None).hash)
