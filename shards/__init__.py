"""The on-disk format: an index is a folder of immutable parts and one manifest written last.

    shards/cc3m/
      manifest.json            what is here, whose vectors, every byte's digest
      captions-00000.parquet   row i of the captions ...
      vectors-00000.npy        ... belongs to row i of the vectors
      concepts-00000.parquet   the words that a labeler may say ...
      concept-vectors-00000.npy  ... and their vectors
      captions.0001.faiss      the search index over all rows

`FORMAT.md` in this folder is the specification. Needs NumPy, pyarrow and msgspec; never torch.
Nothing is loaded before it is asked for, so that a command's help comes at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shards.errors import (
    EncoderMismatch,
    IndexBusy,
    NoIndex,
    PlanConflict,
    ShardDamaged,
    ShardError,
    UnsupportedVersion,
    UserError,
)

if TYPE_CHECKING:
    from shards.check import verify
    from shards.manifest import EncoderIdentity, Manifest
    from shards.reader import Index, open_index, open_indexes
    from shards.writer import IndexWriter

__all__ = [
    "EncoderIdentity",
    "EncoderMismatch",
    "Index",
    "IndexBusy",
    "IndexWriter",
    "Manifest",
    "NoIndex",
    "PlanConflict",
    "ShardDamaged",
    "ShardError",
    "UnsupportedVersion",
    "UserError",
    "open_index",
    "open_indexes",
    "verify",
]

_HOMES = {"EncoderIdentity": "manifest", "IndexWriter": "writer", "Manifest": "manifest", "verify": "check"}
"""The files of the names above; the others are in `errors`, or in `reader`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"shards.{_HOMES.get(name, 'reader')}"), name)
