"""How well and how fast captions become concepts, against a gold file, and against other ways.

    python benchmarks/concepts.py                    # the tables below, about two minutes
    python benchmarks/concepts.py --whole            # the same, and all of mixed_756k from two processes

The gold file holds no captions, only where they are; without the caption files there is nothing to measure. Half of it
("dev", by a hash of corpus and row) was looked at while the rules were written, the other half ("test") was not.

For the set P that a system makes of a caption, M the concepts that it must find and O those that are also all right:
precision = |P & (M | O)| / |P|, recall = |P & M| / |M|, over all captions together. "multi" counts only concepts of two
words and more; "names" has the precision of what a system calls a name, and the recall of the names by any kind.
"""

import argparse
import hashlib
import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet as pq

from build_index.concepts import Concept, ConceptExtractor, ConceptKind
from build_index.concepts.lexicon import Lexicon, Part
from build_index.concepts.tagging import Tagger, Word, spelled
from build_index.language import Language
from build_index.tagger_pool import CAPTIONS_PER_TASK

GOLD = Path(__file__).parent / "data" / "concepts_gold.jsonl"
COLUMNS = ("caption", "TEXT", "text")
SPEED_CORPUS = "mixed_756k.parquet"

Extract = Callable[[Sequence[str]], Sequence[Sequence[Concept]]]
"""The concepts of each of some captions."""

Sentence = tuple[Sequence[str], bool]
"""Words, and whether capitals mean anything."""


@dataclass(frozen=True)
class Marked:
    """A caption with the concepts that the gold file marks in it."""

    split: str
    text: str
    must: dict[str, str]  # concept -> kind
    fine: frozenset[str]


# --- the ways to compare


class WordByWordTagger(Tagger):
    """No context: every word has its most frequent part of speech."""

    def parts(self, sentences: Sequence[Sentence]) -> list[str]:
        """As `Tagger.parts`."""
        return ["".join(map(self._most_frequent, spelled(words, cased=cased))) for words, cased in sentences]

    def _most_frequent(self, word: Word) -> str:
        prior = [p for _, p in sorted(self.lexicon.hanta.LP_wtag.items())]  # by the tagger's numbers
        best, _ = max(zip(*self._candidates(*word), strict=True), key=lambda reading: reading[1] + prior[reading[0]])
        return chr(self._letters[best])


class PlainHantaTagger(Tagger):
    """HanTa as it comes: its own search, and its own guesses for words that it has not seen."""

    def parts(self, sentences: Sequence[Sentence]) -> list[str]:
        """As `Tagger.parts`, from HanTa's `tag_sent`."""
        return ["".join(map(self._letter, self._tags(words, cased=cased))) for words, cased in sentences]

    def _tags(self, words: Sequence[str], *, cased: bool) -> list[str]:
        return self.lexicon.hanta.tag_sent(list(words), taglevel=0, casesensitive=cased)

    def _letter(self, tag: str) -> str:
        return self.lexicon.parts[self.lexicon.hanta.tag2int[tag]]


class TextBlobTagger(Tagger):
    """TextBlob's pattern tagger: a lexicon of 94,000 words and Brill's rules, in its wheel."""

    LETTERS: ClassVar = {  # Penn Treebank
        "NN": "n", "NNS": "m", "NNP": "p", "NNPS": "p", "JJ": "a", "JJR": "a", "JJS": "a", "VBG": "g", "VBN": "d",
        "DT": "t", "PRP$": "t", "IN": "i", "TO": "x", "CD": "c", "CC": "&", "POS": "s", "VB": "v", "VBD": "v",
        "VBP": "v", "VBZ": "v", "MD": "v", ",": ",", ".": ",",
    }  # fmt: skip

    def __init__(self, lexicon: Lexicon) -> None:
        super().__init__(lexicon)
        from textblob.en import parser  # type: ignore[import-not-found, unused-ignore]

        self._tag = parser.find_tags

    def parts(self, sentences: Sequence[Sentence]) -> list[str]:
        """As `Tagger.parts`."""
        return [self._letters_of(words, cased=cased) for words, cased in sentences]

    def _letters_of(self, words: Sequence[str], *, cased: bool) -> str:
        shown = list(words) if cased else [word.lower() for word in words]
        tags = [tag for _, tag, *_ in self._tag(shown)]
        return "".join(
            Part.OF if word.lower() == "of" else Part.POSSESSIVE if word == "'s" else self.LETTERS.get(tag, Part.OTHER)
            for word, tag in zip(words, tags, strict=True)
        )


class CasedFilter:
    """The vocabulary filter of CaSED, which TAG took over, on one caption.

    In its published order: delete markup, URLs, other characters, file extensions, words of fewer than three letters
    and everything but letters; lower-case; strip plural -s; delete banned words; keep nouns, adjectives and
    participles. Two things differ, both in its favour: the tagger is ours, since its own is a download, and words that
    occur once stay, since counting them is meant for the ten captions of a picture.
    """

    BANNED = frozenset(
        "image photo picture thumbnail logo symbol clipart portrait painting illustration icon profile object".split()
    )
    DELETE = (r"<[^>]*>", r"http\S+", r"[^\w\s.'&-]", r"\.\w+")

    def __init__(self) -> None:
        self._tagger = Tagger(Lexicon(Language.ENGLISH))

    def extract_all(self, captions: Sequence[str]) -> list[list[Concept]]:
        """Of each caption the words that are left, all of them as nouns."""
        return [self._extract(caption) for caption in captions]

    def _extract(self, caption: str) -> list[Concept]:
        for pattern in self.DELETE:
            caption = re.sub(pattern, "", caption)
        words = [word for word in re.split(r"[\s_-]+", caption) if len(word) > 2]
        words = re.sub(r"[^A-Za-z\s]", "", " ".join(words)).lower().split()
        words = [word for word in map(self._singular, words) if word and word not in self.BANNED]
        (parts,) = self._tagger.parts([(words, True)]) if words else ("",)
        return [Concept(word, ConceptKind.NOUN) for word, part in zip(words, parts, strict=True) if part in "nmpagd"]

    @staticmethod
    def _singular(word: str) -> str:
        if not word.endswith("s") or word.endswith(("ss", "us", "is", "ies", "oes")):
            return word
        return word[:-2] if word.endswith(("sses", "shes", "ches", "xes")) else word[:-1]


def _with(tagger: type[Tagger]) -> Callable[[], Extract]:
    return lambda: ConceptExtractor(tagger=tagger(Lexicon(Language.ENGLISH))).extract_all


SYSTEMS: dict[str, Callable[[], Extract]] = {
    "ours (HanTa's model, LemmInflect)": _with(Tagger),
    "HanTa as it comes, our grammar": _with(PlainHantaTagger),
    "TextBlob's tagger, our grammar": _with(TextBlobTagger),
    "word by word, our grammar": _with(WordByWordTagger),
    "CaSED's filter": lambda: CasedFilter().extract_all,
}


# --- quality


def read_gold(captions: Path) -> list[Marked]:
    """The gold file with its captions looked up; an error where a caption is not the one that was marked."""
    columns: dict[str, Any] = {}
    marked = []
    for line in GOLD.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["corpus"] not in columns:
            columns[row["corpus"]] = _column(captions / row["corpus"])
        text = columns[row["corpus"]][row["row"]].as_py()
        if hashlib.sha256(text.encode()).hexdigest()[:16] != row["sha256"]:
            raise ValueError(f"{row['corpus']} row {row['row']}: not the caption that was marked")
        key = hashlib.sha256(f"{row['corpus']}:{row['row']}".encode()).digest()
        split = "test" if key[0] % 2 else "dev"
        marked.append(Marked(split, text, dict(row["must"]), frozenset(row["ok"])))
    return marked


def _column(path: Path) -> Any:
    table = pq.read_table(path)
    return table.column(next(name for name in COLUMNS if name in table.column_names))


class Score:
    """Hits and misses, added up over captions."""

    def __init__(self) -> None:
        self.right = self.made = self.found = self.wanted = 0

    def add(self, made: set[str], must: set[str], right: set[str]) -> None:
        """Count one caption: what was made, what had to be, and all that is right."""
        self.right += len(made & right)
        self.made += len(made)
        self.found += len(made & must)
        self.wanted += len(must)

    def __str__(self) -> str:
        precision = self.right / self.made if self.made else 0.0
        recall = self.found / self.wanted if self.wanted else 0.0
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return f"{precision:.3f} {recall:.3f} {f1:.3f}"


def score(extract: Extract, captions: Sequence[Marked]) -> tuple[Score, Score, Score]:
    """Precision, recall and F1 over all concepts, those of several words, and names."""
    overall, multi, names = Score(), Score(), Score()
    found = extract([caption.text for caption in captions])
    for caption, concepts in zip(captions, found, strict=True):
        made, must = {text for text, _ in concepts}, set(caption.must)
        right = must | caption.fine
        overall.add(made, must, right)
        multi.add({text for text in made if " " in text}, {text for text in must if " " in text}, right)
        proper = {text for text, kind in caption.must.items() if kind == "proper"}
        names.add({text for text, kind in concepts if kind is ConceptKind.PROPER}, set(), right)
        names.found += len(made & proper)
        names.wanted += len(proper)
    return overall, multi, names


# --- speed


def rows(captions: Path, *, every: int = 1, offset: int = 0) -> Iterator[str]:
    """Captions of the speed corpus, streamed."""
    place = 0
    for batch in pq.ParquetFile(captions / SPEED_CORPUS).iter_batches(columns=["text"], batch_size=8192):
        for text in batch.column(0).to_pylist():
            if place % every == offset:
                yield text
            place += 1


def measure(system: str, captions: Path, every: int) -> tuple[list[str], str]:
    """One system, in a process of its own: lines of quality, and a line of speed and memory."""
    started = time.perf_counter()
    extract = SYSTEMS[system]()
    loading = time.perf_counter() - started
    gold = read_gold(captions)
    lines = []
    for name in ("dev", "test", "all"):
        part = [caption for caption in gold if name in (caption.split, "all")]
        overall, multi, names = score(extract, part)
        lines.append(f"{name:5} {len(part):4}   {overall}   {multi}   {names}")
    return lines, f"{run(extract, captions, every, 0)}, loaded in {loading:.1f} s"


def run(extract: Extract, captions: Path, every: int, offset: int) -> str:
    """Extract from a part of the speed corpus and say how it went."""
    busy, wall = time.process_time(), time.perf_counter()
    done = found = 0
    texts = rows(captions, every=every, offset=offset)
    while some := list(islice(texts, CAPTIONS_PER_TASK)):
        found += sum(map(len, extract(some)))
        done += len(some)
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{done:,} captions, {found / done:.1f} concepts each, {done / busy:,.0f} captions per CPU second "
        f"({done / wall:,.0f} by the clock), peak {peak:.0f} MB"
    )


def half(captions: Path, offset: int) -> str:
    """Every second caption of the speed corpus, for `--whole`."""
    return run(ConceptExtractor().extract_all, captions, 2, offset)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, default=Path("../shared/data/captions"), metavar="DIR")
    parser.add_argument("--every", type=int, default=25, help="measure speed on every n-th caption (default: 25)")
    parser.add_argument("--whole", action="store_true", help="also run the whole corpus from two processes")
    arguments = parser.parse_args()
    if not (arguments.captions / SPEED_CORPUS).exists():
        print(f"{arguments.captions}: no {SPEED_CORPUS} here, so there is nothing to measure; see --captions")
        return 2
    print("split    n   all: P     R     F1   multi: P   R    F1   names: P   R    F1")
    for system in SYSTEMS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # its own peak memory
            try:
                lines, speed = pool.submit(measure, system, arguments.captions, arguments.every).result()
            except ImportError as error:
                print(f"\n{system}: left out, {error}")
                continue
        print(f"\n{system}\n" + "\n".join(lines) + f"\n{speed}")
    if arguments.whole:
        started = time.perf_counter()
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            halves = list(pool.map(half, [arguments.captions] * 2, (0, 1)))
        print(f"\nall of {SPEED_CORPUS} from two processes: {(time.perf_counter() - started) / 60:.1f} minutes")
        print("\n".join(halves))
    return 0


if __name__ == "__main__":
    sys.exit(main())
