"""The words of an index: which are said, their vectors, and which captions hold them."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from build_index import encoding
from build_index.encoding import TextEncoder
from shards import Index, IndexWriter
from shards.concepts import choose_concepts, count_concepts, write_concept_table, write_links
from shards.manifest import ConceptPartInfo, ConceptsInfo, PartInfo
from shards.parts import CAPTIONS_SCHEMA, WORDS_SCHEMA, alive, read_parquet
from shards.progress import progress

CONCEPTS_PER_PART = 8_192

NO_WORDS = pa.array([], pa.string())

Report = Callable[[float], object]


class WordEncoder(Protocol):
    """Words to vectors.

    Attributes:
        prompts: templates that a word is put into.
    """

    prompts: Sequence[str]

    def embed(self, words: Sequence[str], report: Report) -> NDArray[np.float32]:
        """Embed n words, telling in fractions how many more are done: float32 [n, d], unit rows."""
        ...


class PromptedWords:
    """Words by a text encoder, which is given nothing else."""

    def __init__(self, encoder: TextEncoder, prompts: Sequence[str]) -> None:
        self.prompts = prompts
        self._encoder = encoder

    def embed(self, words: Sequence[str], report: Report) -> NDArray[np.float32]:
        """As `WordEncoder`."""
        return embed_concepts(self._encoder, words, self.prompts, report)


def write_concepts(
    writer: IndexWriter, encoder: WordEncoder, parts: Sequence[PartInfo], least: int, removed: NDArray[np.int64]
) -> tuple[ConceptsInfo, int]:
    """Choose the words that may be said, embed those that are new, and link captions to them.

    Concepts keep their ids for ever. One that too few captions hold now stays, with a count of 0.

    Args:
        writer: of the index.
        encoder: makes the vectors of words.
        parts: the captions, with the concepts of each.
        least: captions that must hold a concept; 0 for what `least_captions` says.
        removed: rows that do not count, int64 [n].

    Returns:
        The concepts of the index, and how many were embedded in this run.
    """
    folder, earlier = writer.folder, writer.earlier
    counted = count_concepts((_concepts(folder, part), alive(part, removed)) for part in parts)
    chosen = choose_concepts(counted, least or least_captions(sum(part.rows for part in parts)))
    kept = _reusable_concepts(earlier, encoder.prompts)
    words = pa.concat_arrays([NO_WORDS, *(_words(folder, part) for part in kept)])
    unknown = pc.invert(pc.is_in(chosen["text"], value_set=words))
    new = sorted(chosen["text"].filter(unknown).to_pylist())  # what begins alike is computed once (encoders.prefixes)
    concept_parts, embedded = embed_new_concepts(writer, encoder, kept, new)
    words = pa.concat_arrays([words, pa.array(new, pa.string())])
    return write_concept_tables(writer, parts, concept_parts, words, chosen), embedded


def write_concept_tables(
    writer: IndexWriter,
    parts: Sequence[PartInfo],
    concept_parts: list[ConceptPartInfo],
    words: pa.StringArray,
    chosen: pa.Table,
) -> ConceptsInfo:
    """Write which concepts may be said, and link captions to all.

    Args:
        writer: of the index.
        parts: the captions, with the concepts of each.
        concept_parts: the concepts, which are written already.
        words: all of them, in the order of their ids.
        chosen: those that may be said, as from `choose_concepts`.
    """
    starts, links = write_links(
        writer.table_path("starts", "npy"),
        writer.table_path("links", "npy"),
        (_concepts(writer.folder, part) for part in parts),
        words,
        sum(part.rows for part in parts),
    )
    table = write_concept_table(writer.table_path("concepts", "parquet"), words, chosen)
    return ConceptsInfo(
        rows=len(words), current=len(chosen), parts=concept_parts, table=table, starts=starts, links=links
    )


def embed_new_concepts(
    writer: IndexWriter,
    encoder: WordEncoder,
    kept: Sequence[ConceptPartInfo],
    words: Sequence[str],
) -> tuple[list[ConceptPartInfo], int]:
    """Embed concepts, part by part; parts that a killed build finished are taken as they are."""
    parts = list(kept)
    embedded = 0
    first_number = writer.earlier.manifest.concepts.next_number if writer.earlier else 0
    words_per_call = max(1, encoding.CAPTIONS_PER_CALL // len(encoder.prompts))
    with progress("concepts", "words", len(words)) as bar:
        for number, start in enumerate(range(0, len(words), CONCEPTS_PER_PART), start=first_number):
            batch = words[start : start + CONCEPTS_PER_PART]
            first_id = parts[-1].first_id + parts[-1].rows if parts else 0
            part = writer.finished_concepts(number, first_id, batch)
            if part is None:
                vectors = []
                for at in range(0, len(batch), words_per_call):
                    vectors.append(encoder.embed(batch[at : at + words_per_call], bar.update))
                part = writer.write_concepts(number, first_id, batch, np.concatenate(vectors))
                embedded += part.rows
            else:
                bar.update(part.rows)
            parts.append(part)
    return parts, embedded


def embed_concepts(
    encoder: TextEncoder,
    words: Sequence[str],
    prompts: Sequence[str],
    report: Report = lambda more: None,
) -> NDArray[np.float32]:
    """Embed words as the mean of several prompts, normalised (the prompt ensemble of arXiv 2103.00020, section 3.1.4).

    Args:
        encoder: the text encoder.
        words: n concepts.
        prompts: templates with `{}` where the word belongs.
        report: is told how many more words are done, in fractions.

    Returns:
        float32 [n, d], unit rows.
    """
    texts = [prompt.format(word) for prompt in prompts for word in words]
    vectors = encoder.encode(texts, lambda more: report(more / len(prompts)))
    mean = vectors.reshape(len(prompts), len(words), -1).mean(axis=0)
    norms = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.maximum(norms, 1e-12)).astype(np.float32)


def least_captions(rows: int) -> int:
    """Captions that must hold a concept: 1 in small corpora, one more for every tenfold above 10,000 rows.

    What is met once in a million web captions is mostly a misspelling or a code, and would cost more to embed than
    the captions; but words taught by a few captions must be learnt in a corpus of any size.

    >>> [least_captions(rows) for rows in (100, 15_000, 750_000, 3_300_000, 100_000_000)]
    [1, 1, 2, 3, 4]
    """
    return max(1, math.ceil(math.log10(max(rows, 1) / 10_000)))


def _concepts(folder: Path, part: PartInfo) -> pa.ListArray:
    path = folder / part.captions.name
    return read_parquet(path, part.rows, CAPTIONS_SCHEMA, ["concepts"])["concepts"].combine_chunks()


def _words(folder: Path, part: ConceptPartInfo) -> pa.StringArray:
    return read_parquet(folder / part.words.name, part.rows, WORDS_SCHEMA, ["text"])["text"].combine_chunks()


def _reusable_concepts(earlier: Index | None, prompts: Sequence[str]) -> list[ConceptPartInfo]:
    """Concept vectors that the index has already, unless other prompts made them."""
    if earlier is None or earlier.manifest.encoder.concept_prompts != list(prompts):
        return []
    return list(earlier.manifest.concepts.parts)
