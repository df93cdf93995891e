"""Makes `nouns.txt`, the frozen list of nouns that the lexical mapping reads, from Open English WordNet.

    python -m evaluation.mappings.make_nouns CHECKOUT

`CHECKOUT` is a checkout of github.com/globalwordnet/english-wordnet; the header of `nouns.txt` names the commit that
ours was made from. The same checkout gives the same bytes. Only nouns for things that can be seen are kept, and of
their relations only "is a kind of" and "is a part, member or substance of".
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.mappings.nouns import NOUNS_FILE
from shards.commands import DONE, run
from shards.errors import UserError
from shards.files import write_bytes

VISIBLE = (
    "Tops", "animal", "artifact", "body", "communication", "food", "group", "location", "object", "person",
    "phenomenon", "plant", "shape", "substance",
)  # fmt: skip
"""WordNet's files of nouns that name something to be seen: signs and crowds are, feelings and dates are not."""

WHOLE_TO_PART = ("mero_part", "mero_member", "mero_substance")

TITLE = """\
# Nouns for visible things: an extract of Open English WordNet at commit {commit}.
# Copyright (c) 2019-present, The Open English WordNet Team, CC BY 4.0; derived from Princeton WordNet 3.1, copyright
# 2011 by Princeton University. Changed: other parts of speech, definitions and abstract nouns were left out. The
# licences are in NOTICE.md. A line is a meaning: its words (with #n where it is the n-th meaning of a word),
# the lines of what it is a kind of, and the lines of what it is a part, member or substance of, counted from 0.
"""

Synset = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Write `nouns.txt` from the checkout named on the command line."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        raise UserError(f"make_nouns takes one argument, the checkout of english-wordnet; found {len(given)}")
    source = Path(given[0])
    commit = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    lines = extract(synsets(source), ranks(source))
    text = TITLE.format(commit=commit.stdout.strip()) + "".join(line + "\n" for line in lines)
    written = write_bytes(NOUNS_FILE, text.encode())
    print(f"{written.name}: {len(lines):,} meanings, {written.bytes:,} bytes, sha256:{written.sha256}")  # noqa: T201
    return DONE


def extract(meanings: Mapping[str, Synset], order: Mapping[str, list[str]]) -> list[str]:
    """The lines of `nouns.txt` below its header.

    Args:
        meanings: synsets by id, as Open English WordNet's YAML has them.
        order: for each word its synsets, the most frequent first.
    """
    number = {synset: at for at, synset in enumerate(meanings)}
    rank = {
        (word, synset): place
        for word, listed in order.items()
        for place, synset in enumerate((synset for synset in listed if synset in number), start=1)
    }
    wholes: dict[str, list[int]] = {synset: [] for synset in meanings}
    for synset, meaning in meanings.items():
        for part in (part for kind in WHOLE_TO_PART for part in meaning.get(kind, ()) if part in number):
            wholes[part].append(number[synset])
    return ["\t".join(_fields(synset, meanings[synset], number, rank, wholes)) for synset in meanings]


def _fields(
    synset: str, meaning: Synset, number: dict[str, int], rank: dict[tuple[str, str], int], wholes: dict[str, list[int]]
) -> Iterator[str]:
    words = [(word, rank.get((word, synset), 1)) for word in meaning["members"]]
    yield "|".join(word if place == 1 else f"{word}#{place}" for word, place in words)
    yield ",".join(str(number[kind]) for kind in meaning.get("hypernym", ()) if kind in number)
    yield ",".join(str(whole) for whole in sorted(set(wholes[synset])))


def synsets(source: Path) -> dict[str, Synset]:
    """The meanings of visible nouns by id, in the order of their ids."""
    found: dict[str, Synset] = {}
    for name in VISIBLE:
        found |= _load(source / "src" / "yaml" / f"noun.{name}.yaml")
    return dict(sorted(found.items()))


def ranks(source: Path) -> dict[str, list[str]]:
    """For each noun the ids of its meanings, the most frequent first."""
    found: dict[str, list[str]] = {}
    for path in sorted((source / "src" / "yaml").glob("entries-*.yaml")):
        for word, entry in _load(path).items():
            nouns = [part for part in entry if part.split("-")[0] == "n"]  # n-1 and n-2 are words of different origin
            found[word] = [sense["synset"] for part in nouns for sense in entry[part]["sense"]]
    return found


def _load(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    if not path.is_file():
        raise UserError(f"{path}: no such file; give the checkout of github.com/globalwordnet/english-wordnet")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content: dict[str, Any] = yaml.load(path.read_text("utf-8"), loader)
    return content


if __name__ == "__main__":
    sys.exit(run(main))
