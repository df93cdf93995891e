"""The on-disk format: an index is a folder of immutable parts and one manifest written last.

    shards/cc3m/
      manifest.json            what is here, whose vectors, every byte's digest
      captions-00000.parquet   row i of the captions ...
      vectors-00000.npy        ... belongs to row i of the vectors
      concepts-00000.parquet   the words that a labeler may say ...
      concept-vectors-00000.npy  ... and their vectors
      captions.0001.faiss      the search index over all rows

`FORMAT.md` in this folder is the specification. Needs NumPy, pyarrow and msgspec; never torch.
"""

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
from shards.manifest import EncoderIdentity, Manifest
from shards.reader import Index, open_index, open_indexes
from shards.verify import verify
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
