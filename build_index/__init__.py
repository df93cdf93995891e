"""The offline builder: captions in, shards and a search index out.

    from build_index import build

    report = build("captions.csv", name="mine", preset="pocket")
    report.folder                          # shards/mine, for `Labeler.open`
    report.manifest                        # what the index holds now: rows, words, encoder, sources, parts
    report.embedded                        # captions that got vectors in this run
    report.refusals.rows                   # rows that could not be used, by reason
    build(append="more.csv", name="mine")  # embeds what is new, with the index's own CLIP

Options are called as the command's flags are. Nothing is loaded before it is asked for, so that a command's help comes
at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from build_index.api import BuildOptions, build
    from build_index.config import BuildConfig
    from build_index.errors import CorpusError
    from build_index.pipeline import BuildReport

__all__ = ["BuildConfig", "BuildOptions", "BuildReport", "CorpusError", "build"]

_HOMES = {"BuildConfig": "config", "BuildReport": "pipeline", "CorpusError": "errors"}
"""The files of the names above; the others are in `api`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"build_index.{_HOMES.get(name, 'api')}"), name)
