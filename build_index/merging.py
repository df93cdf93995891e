"""Several indexes made into one: built side by side, on as many machines, from shares of a corpus.

The result is what one build of all sources would have made, but for the cuts between parts: captions, counts, words and
books are the same. No caption is embedded, and no word that one of the indexes has a vector for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from build_index.concept_stage import Report, embed_concepts, write_concepts
from build_index.config import BuildConfig
from build_index.encoding import TextEncoder
from build_index.export import export_cased
from build_index.pipeline import BuildReport, finish, kind_of, load_encoder_of
from build_index.rewriting import books_together, require_intact_concepts, rewrite_parts
from build_index.search_index.state import lost_settings
from shards import Index, IndexWriter, NoIndex, ShardError, open_index
from shards.manifest import digest, load
from shards.reader import index_folders


def merge(config: BuildConfig, load_encoder: Callable[[], TextEncoder] | None = None) -> BuildReport:
    """Indexes -> one index.

    A word may be frequent enough in all together and in none by itself; such words are embedded.

    Args:
        config: `merge` names indexes, or folders of them.
        load_encoder: makes the text encoder of these indexes; called only if there are words to embed.

    Raises:
        ShardError: there is an index of something else where this one is to be, one of the others cannot be read, or
            they do not go together.
        EncoderError: the text encoder is needed and cannot be loaded.
    """
    indexes = _opened(config)
    like, encoder = indexes[0], indexes[0].manifest.encoder
    with IndexWriter(config.out / config.name) as writer:
        if writer.earlier is not None:
            return _made_before(writer.earlier, indexes, config)
        writer.begin(encoder, _digest(indexes))
        with _said_if_changed(indexes, writer):
            parts, books = rewrite_parts(indexes, writer)
            words = KnownWords(indexes, load_encoder or partial(load_encoder_of, config, like))
            concepts, _ = write_concepts(writer, words, parts, config.least_captions, books.removed)
        notes = lost_settings(like)
        manifest = finish(writer, kind_of(encoder, config, like), parts, concepts, books, config)
    return BuildReport(writer.folder, manifest, 0, words.embedded, notes=notes, merged=len(indexes))


def _made_before(earlier: Index, indexes: Sequence[Index], config: BuildConfig) -> BuildReport:
    """Nothing to do but the export, where an earlier run made the same, and was killed, perhaps, before it was done.

    Raises:
        ShardError: it is another index.
    """
    content = earlier.manifest
    if (content.sources, content.tally) != books_together(indexes, content.tally.kept):
        raise ShardError(f"{earlier.folder}: an index is here already; give another --name, or delete it")
    if config.export:
        export_cased(earlier)
    return BuildReport(earlier.folder, content)


@contextmanager
def _said_if_changed(indexes: Sequence[Index], writer: IndexWriter) -> Iterator[None]:
    """Where an index cannot be read any more since another program wrote in its folder, say so: it is not damaged.

    Raises:
        ShardError: as it was, or that an index was changed; what was begun is of no use then.
    """
    try:
        yield
    except ShardError as error:
        for index in indexes:
            if not _is_as_opened(index):
                writer.give_up()
                raise ShardError(
                    f"{index.folder}: changed while it was merged; run the same command again, with nothing else at "
                    "work there"
                ) from error
        raise


def _is_as_opened(index: Index) -> bool:
    try:
        return load(index.folder).digest == index.manifest.digest
    except ShardError:  # away, between the renames of a compaction
        return False


class KnownWords:
    """Vectors of words, from the first index that has each.

    Attributes:
        prompts: templates that all of them put a word into.
        embedded: words that none has, and that were embedded.
    """

    def __init__(self, indexes: Sequence[Index], load_encoder: Callable[[], TextEncoder]) -> None:
        """Takes indexes whose vectors go together, and what makes their encoder.

        Raises:
            ShardDamaged: words or vectors of one are not what its manifest says.
        """
        self.embedded = 0
        self.prompts: Sequence[str] = indexes[0].manifest.encoder.concept_prompts
        self._indexes, self._load = indexes, load_encoder
        self._encoder: TextEncoder | None = None
        self._homes: dict[str, tuple[int, int]] = {}
        for number, index in reversed(list(enumerate(indexes))):
            require_intact_concepts(index)
            words = index.concepts.words(range(len(index.concepts)))
            self._homes.update((word, (number, place)) for place, word in enumerate(words))

    def embed(self, words: Sequence[str], report: Report) -> NDArray[np.float32]:
        """As `WordEncoder`."""
        vectors = np.empty((len(words), self._indexes[0].manifest.encoder.dimension), np.float32)
        homes = [self._homes.get(word, (-1, 0)) for word in words]
        which, ids = np.array(homes, np.int64).reshape(-1, 2).T
        for number, index in enumerate(self._indexes):
            places = np.flatnonzero(which == number)
            vectors[places] = index.concepts.vectors(ids[places])
            report(len(places))
        places = np.flatnonzero(which < 0)
        if len(places):
            vectors[places] = self._embedded([words[place] for place in places.tolist()], report)
        return vectors

    def _embedded(self, words: Sequence[str], report: Report) -> NDArray[np.float32]:
        identity = self._indexes[0].manifest.encoder
        if self._encoder is None:
            self._encoder = self._load()
            identity.require(self._encoder.identity, str(self._indexes[0].folder))
        self.embedded += len(words)
        return embed_concepts(self._encoder, words, self.prompts, report)


def _opened(config: BuildConfig) -> list[Index]:
    """The indexes, in the order in which they were named.

    Raises:
        ShardError: there are not two, or their vectors cannot be compared.
        NoIndex: nothing would be in the new index.
    """
    folders = dict.fromkeys(folder.resolve() for path in config.merge for folder in _meant(path, config))
    indexes = [open_index(folder) for folder in folders]
    if len(indexes) < 2:
        raise ShardError(f"--merge {' '.join(map(str, config.merge))}: one index, where several were expected")
    first = indexes[0].manifest.encoder
    for index in indexes[1:]:
        other = index.manifest.encoder
        first.require(other, str(indexes[0].folder))
        if other.concept_prompts != first.concept_prompts:
            raise ShardError(
                f"{index.folder}: its words were put as {', '.join(other.concept_prompts)}, those of "
                f"{indexes[0].folder} as {', '.join(first.concept_prompts)}; append to one of them with "
                f"--concept-prompts of the other, which embeds its words anew"
            )
    if all(len(index.removed) == index.manifest.rows for index in indexes):
        names = ", ".join(str(index.folder) for index in indexes)
        raise NoIndex(f"every caption of {names} was removed; nothing is left to merge")
    return indexes


def _meant(path: Path, config: BuildConfig) -> list[Path]:
    """The indexes that a path means; of a folder, all but the one that an earlier run made of them there."""
    folders, made = index_folders(path), config.out / config.name
    return folders if folders == [path] else [folder for folder in folders if folder.resolve() != made.resolve()]


def _digest(indexes: Sequence[Index]) -> str:
    """What an unfinished merge must be of, to be taken up again."""
    return digest("".join(index.manifest.digest for index in indexes).encode())
