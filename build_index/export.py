"""Other programs' layouts of a caption index."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from build_index.search_index.written import write_flat
from shards import Index, layout
from shards.files import write_whole
from shards.parts import alive


def export_cased(index: Index) -> Path:
    """Write the folder that CaSED (arXiv 2306.00917) and TAG read as a retrieval database.

    `text.index` is a FAISS index by inner product, and `metadata/0.arrow` an Arrow file whose row i is the caption of
    id i. Removed captions are left out, so ids are not our rows. Killed, it leaves no `text.index`, which would not fit
    the captions beside it.

    Returns:
        The folder, inside the index's own.
    """
    folder = index.folder / layout.CASED
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    give_up_export(index.folder)
    write_whole(folder / "metadata" / "0.arrow", lambda partial: _write_captions(partial, index))
    shape = (index.manifest.rows - len(index.removed), index.manifest.encoder.dimension)
    write_whole(folder / "text.index", lambda partial: write_flat(_vectors(index), shape, partial))
    return folder


def _vectors(index: Index) -> Iterator[NDArray[np.float16]]:
    for number, part in enumerate(index.manifest.parts):
        yield index.part_vectors(number)[alive(part, index.removed)]


def give_up_export(folder: Path) -> None:
    """Take away what an export is complete with, if there is one in an index's folder; it stays to be made anew."""
    if (folder / layout.CASED).is_dir():
        (folder / layout.CASED / "text.index").unlink(missing_ok=True)


def is_export_given_up(folder: Path) -> bool:
    """Whether an index's folder holds an export that is not complete."""
    return (folder / layout.CASED).is_dir() and not (folder / layout.CASED / "text.index").exists()


def _write_captions(path: Path, index: Index) -> None:
    schema = pa.schema([pa.field("caption", pa.string())])
    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, schema) as writer:
        for number, part in enumerate(index.manifest.parts):
            texts = index.part_table(number, ["text"])["text"].filter(pa.array(alive(part, index.removed)))
            writer.write_table(pa.table({"caption": texts.combine_chunks()}, schema=schema))
