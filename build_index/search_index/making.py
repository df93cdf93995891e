"""Making lists for an index: learned anew, or an earlier index's lists with the new rows added."""

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from build_index.search_index.exact import exact_rows
from build_index.search_index.lists import Lists, sample_size, train
from build_index.search_index.options import DIMENSIONS_STEP, LISTS, SearchOptions, bytes_of_row, list_count
from build_index.search_index.queries import gap_queries
from build_index.search_index.scan import Scan
from build_index.search_index.state import Learned, SearchState, state_of
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tuning import NEIGHBOURS, TARGET, Setting, tune
from shards import Index, ShardDamaged
from shards.reader import require_intact

TUNING_QUERIES = 512

DRIFT = 1.5
"""How much more of the lists a query may have to look into after rows were added; beyond, they are learned anew."""

LOSS = 0.02
"""Recall that may be lost by rows that were added, where the target was out of reach before."""

GROWTH = 4
"""An index that has grown by this factor has too few lists, and they are learned anew."""

TUNING_SEED = 1


def make_lists(
    vectors: StoredVectors, options: SearchOptions, earlier: Index | None, folder: Path
) -> tuple[Lists, SearchState]:
    """Add to the lists that there are while they serve the new rows as well, else learn new ones. Nothing is embedded.

    Args:
        vectors: all rows, those of the earlier index first.
        options: what the user said.
        earlier: the index that is added to, if any.
        folder: where values wait until they are written.
    """
    rows, queries, truth = tuning_queries(vectors)
    grown = _grown(vectors, options, earlier, folder)
    if grown is not None:
        lists, learned, before = grown
        setting, recall = tune(Scan(lists, vectors.removed), queries, truth, rows, like=before)
        if still_serves(learned, setting, recall):
            return lists, SearchState(options=options, search=setting, learned=learned)
    count = min(list_count(len(vectors.alive)), len(vectors.alive))
    kept = options.dimensions(vectors.rows, vectors.dimension)
    lists = train(vectors, vectors.sample(sample_size(count), without=rows), count, kept, folder)
    lists.add(vectors)
    setting, recall = tune(Scan(lists, vectors.removed), queries, truth, rows)
    share = setting.nprobe / lists.count
    learned = Learned(lists=lists.count, dimensions=kept, rows=vectors.rows, recall=recall, share=share)
    return lists, SearchState(options=options, search=setting, learned=learned)


def still_serves(learned: Learned, setting: Setting, recall: float) -> bool:
    """Whether lists with new rows in them do about as well as when they were learned.

    Args:
        learned: how they were.
        setting: the cheapest setting for the rows of now, on queries made from these.
        recall: its recall.
    """
    least = TARGET if learned.recall >= TARGET else learned.recall - LOSS
    return recall >= least and setting.nprobe / learned.lists <= DRIFT * learned.share


def tuning_queries(vectors: StoredVectors) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Captions, queries made from them, and what exact search finds for these.

    Returns:
        Rows int64 [q], queries float32 [q, d], true nearest rows int64 [q, k].
    """
    generator = np.random.Generator(np.random.PCG64(TUNING_SEED))
    rows = np.sort(generator.choice(vectors.alive, min(TUNING_QUERIES, len(vectors.alive)), replace=False))
    queries = gap_queries(vectors, rows, seed=TUNING_SEED)
    return rows, queries, exact_rows(vectors, queries, min(NEIGHBOURS, len(vectors.alive)))


def _grown(
    vectors: StoredVectors, options: SearchOptions, earlier: Index | None, folder: Path
) -> tuple[Lists, Learned, Setting] | None:
    """The earlier index's lists with the new rows and their setting, if they can be read and still fit the options."""
    if earlier is None or earlier.manifest.index.kind != LISTS:
        return None
    state = state_of(earlier)
    learned, setting = state.learned, state.search
    if learned is None or setting is None or state.options != options or vectors.rows > GROWTH * learned.rows:
        return None
    bytes_now = vectors.rows * bytes_of_row(learned.dimensions)
    if options.index_bytes and bytes_now > options.index_bytes and learned.dimensions > DIMENSIONS_STEP:
        return None
    try:
        path = require_intact(earlier.folder, earlier.manifest.index.file)
        lists = Lists.of(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))
    except (RuntimeError, ValueError, ShardDamaged):  # damaged: the vectors are there to learn from
        return None
    shape = lists.basis.shape, lists.count, lists.values.ntotal
    if shape != ((learned.dimensions, vectors.dimension), learned.lists, earlier.manifest.rows):
        return None
    lists = lists.growing(folder)
    lists.add(vectors)
    return lists, learned, setting
