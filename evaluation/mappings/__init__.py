"""From the names that a labeler chose freely to the classes of a data set.

    words.py       names to comparable strings, phrases to their heads
    exact.py       hard: equality
    similarity.py  sbert_forced, sbert_thr, soft: cosines of sentence embeddings
    sentences.py   ... from sentence-transformers, which is optional
    lexical.py     lexical: exact < synonym < hyponym < meronym, offline
    meanings.py    ... what class strings mean, and what is drawn as a class without being one
    nouns.py       ... by a frozen list of nouns, nouns.txt, made by make_nouns.py
    table.py       table: what a mapping said, saved; a user's own

Which mapping was used changes a score more than most changes to a method do. A score is therefore always reported with
the mapping's name and version, and a name without a class counts as a miss.
"""

from pathlib import Path

from evaluation.classes import Classes
from evaluation.mappings.exact import HardMapping
from evaluation.mappings.lexical import LexicalMapping
from evaluation.mappings.mapping import Level, Mapping, MappingError, MappingName, Match
from evaluation.mappings.nouns import load_nouns
from evaluation.mappings.sentences import SentenceTransformerEncoder
from evaluation.mappings.similarity import THRESHOLD, SimilarityMapping, SoftMapping
from evaluation.mappings.table import load_table, save_table

__all__ = [
    "Level",
    "Mapping",
    "MappingError",
    "MappingName",
    "Match",
    "load_mapping",
    "save_table",
]


def load_mapping(
    name: MappingName, classes: Classes, *, table: Path | None = None, sentences: Path | None = None
) -> Mapping:
    """Make a mapping ready for use.

    Args:
        name: which rule.
        classes: of the data set.
        table: the file of `MappingName.TABLE`; no other mapping takes one.
        sentences: a folder with a sentence-transformers model, for the mappings that compare sentences; without one
            they take all-mpnet-base-v2 from the Hugging Face hub or its cache.

    Raises:
        MappingError: a table or a sentence model is missing, cannot be read, or is given to a mapping without use
            for it.
    """
    if (table is not None) != (name is MappingName.TABLE):
        found = "none was given" if table is None else f"{table} was given to {name.value}"
        raise MappingError(f"--table FILE belongs to the mapping table, and only to it; {found}")
    if name is MappingName.HARD:
        return HardMapping(classes)
    if name is MappingName.LEXICAL:
        return LexicalMapping(classes, load_nouns())
    if table is not None:
        return load_table(table, classes)
    encoder = SentenceTransformerEncoder.load(sentences)
    if name is MappingName.SOFT:
        return SoftMapping(classes, encoder)
    threshold = THRESHOLD if name is MappingName.SBERT_THR else -1.0
    return SimilarityMapping(name, classes, encoder, threshold)
