"""What is known of a search index besides its vectors; kept in `quality.json` beside the measured recall."""

import msgspec

from build_index.search_index.options import SearchOptions
from build_index.search_index.tuning import Setting
from shards import Index, ShardDamaged
from shards.reader import require_intact


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """How lists were learned.

    Attributes:
        lists: how many.
        dimensions: directions kept of each vector.
        rows: captions of the index when it was trained.
        recall: what was measured then on the queries that chose the setting.
        share: share of the lists that this setting looked into.
    """

    lists: int
    dimensions: int
    rows: int
    recall: float
    share: float


class SearchState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but the file.

    Attributes:
        options: what the user said.
        search: how lists are searched; None where search is exact.
        learned: how lists were learned; None where search is exact.
    """

    options: SearchOptions
    search: Setting | None = None
    learned: Learned | None = None


def state_of(index: Index) -> SearchState:
    """What an index's `quality.json` says; the defaults where there is none, or an older or damaged one.

    Raises:
        ShardError: it was replaced since the index was opened.
    """
    path = index.quality_path
    try:
        data = b"" if path is None else path.read_bytes()
        return msgspec.json.decode(data, type=SearchState)
    except (OSError, ValueError):
        return SearchState(options=SearchOptions())


def lost_settings(index: Index) -> tuple[str, ...]:
    """A line on a `quality.json` that is not as it was written; none where it is, or where there is no such file."""
    file = index.manifest.quality
    try:
        if file is not None:
            require_intact(index.folder, file)
    except ShardDamaged as error:
        usual = "--exact-rows and --index-bytes of earlier builds are lost, and the usual ones taken"
        return (f"{str(error).partition(';')[0]}; {usual} where they are not given",)
    return ()
