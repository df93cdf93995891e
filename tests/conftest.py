"""Fakes that can be checked by hand, and small indexes built with them."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait sleep: a core serves several processes of tests

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from build_index.config import BuildConfig
from build_index.pipeline import BuildReport, build
from shards import EncoderIdentity, Manifest, layout, manifest
from shards.removal import remove

if TYPE_CHECKING:
    from pocket.checkpoints import Place
    from pocket.material import Material
    from pocket.tower import Tower

settings.register_profile("any machine", deadline=None)  # a busy one stalls at any example
settings.load_profile("any machine")

ALPHABET = "abcdefghijklmnopqrstuvwxyz"

SIX = ["a dog", "two cats", "A dog", "a café by the sea", "a dog", "zebra"]
"""Captions of `folder`, one of them twice."""


class Crash(Exception):
    """What the fake fails with: nothing that the code under test could know."""


class LetterCounter:
    """A text encoder that counts letters: "Abba!" is 2 a, 2 b and 1 of everything else, scaled to length 1.

    It remembers what it was asked, and can be told to crash at its n-th call, counted from 0.
    """

    def __init__(self, weights: str = "letters", *, crash_at: int | None = None) -> None:
        self.identity = EncoderIdentity(
            architecture="LetterCounter",
            pretrained=weights,
            checkpoint=None,
            text_digest=f"sha256:{weights}",
            tokenizer="str.lower",
            context_length=77,
            prompt="{}",
            concept_prompts=[],
            dimension=len(ALPHABET) + 1,
            precision="fp32",
        )
        self.calls: list[list[str]] = []
        self.crash_at = crash_at
        self.at_once = 1

    @property
    def seen(self) -> list[str]:
        """Every text that was embedded, in order."""
        return [text for call in self.calls for text in call]

    def encode(self, captions: Sequence[str], report: Any = None) -> NDArray[np.float32]:
        """Embed n captions: float32 [n, 27], unit rows."""
        if len(self.calls) == self.crash_at:
            raise Crash
        self.calls.append(list(captions))
        counts = np.zeros((len(captions), len(ALPHABET) + 1), np.float32)
        for row, caption in enumerate(captions):
            for letter in caption.lower():
                counts[row, ALPHABET.find(letter)] += 1  # find() says -1 for the rest: the last column
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def heed_interrupts() -> None:
    """For a child process: a shell that runs the tests in the background makes its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def letters(**counts: int) -> NDArray[np.float32]:
    """A vector by hand, scaled to length 1: for "a dog!" it is `letters(a=1, d=1, o=1, g=1, rest=2)`."""
    vector = np.zeros(len(ALPHABET) + 1, np.float32)
    for letter, count in counts.items():
        vector[-1 if letter == "rest" else ALPHABET.index(letter)] = count
    return vector / np.linalg.norm(vector)


def write_captions(path: Path, captions: Sequence[str | None], column: str = "caption") -> Path:
    """Write a parquet file as corpora come: a URL beside every caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"https://example.com/{number}.jpg" for number in range(len(captions))]
    pq.write_table(pa.table({"url": urls, column: pa.array(captions, pa.string())}), path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes, but for the lock, which belongs to whoever writes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != layout.LOCK}


def resealed(folder: Path, **changes: Any) -> Path:
    """Change a folder's manifest and give it the digest that belongs to it."""
    path = folder / "manifest.json"
    content = msgspec.convert(json.loads(path.read_bytes()), Manifest)
    path.write_bytes(manifest.to_bytes(msgspec.structs.replace(content, **changes).sealed()))
    return path


Builder = Callable[..., BuildReport]


@pytest.fixture(scope="session", autouse=True)
def nobody_pulls_the_plug() -> Iterator[None]:
    """No test of this process waits until its files are on the disk; what a killed process wrote is there as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def untrained_networks_are_drawn_once() -> Iterator[None]:
    """The preset's random weights, and CLIP's tokenizer: both take as long as all else that labels a small picture."""
    if "encoders.untrained" not in sys.modules:
        yield
        return
    from open_clip.tokenizer import SimpleTokenizer

    from encoders import untrained

    fill, drawn = untrained.fill_random, dict[type, dict[str, Any]]()
    make, made = SimpleTokenizer.__init__, dict[str, dict[str, Any]]()

    def fill_once(network: Any) -> None:
        if type(network) in drawn:
            network.load_state_dict(drawn[type(network)])
        else:
            fill(network)
            drawn[type(network)] = {name: value.clone() for name, value in network.state_dict().items()}

    def make_once(self: Any, *arguments: Any, **options: Any) -> None:
        told = repr((arguments, sorted(options.items())))
        if told not in made:
            make(self, *arguments, **options)
            made[told] = dict(vars(self))
        vars(self).update(made[told])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(untrained, "fill_random", fill_once)
        patch.setattr(SimpleTokenizer, "__init__", make_once)
        yield


def built(
    room: Path,
    captions: Sequence[str | None],
    name: str = "corpus",
    encoder: LetterCounter | None = None,
    rows_per_part: int = 32_768,
    limit: int = 0,
) -> BuildReport:
    """Write captions to a parquet file and build an index of them in `room`."""
    corpus = write_captions(room / "captions" / f"{name}.parquet", captions)
    config = BuildConfig(
        corpus=(str(corpus),), name=name, out=room / "shards", rows_per_part=rows_per_part, limit=limit
    )
    return build(config, lambda _: encoder or LetterCounter())


@pytest.fixture
def build_index_of(tmp_path: Path) -> Builder:
    """A function that writes captions to a parquet file and builds an index of them."""
    return partial(built, tmp_path)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index that `folder` is a copy of."""
    return built(tmp_path_factory.mktemp("once"), SIX, rows_per_part=2).folder


@pytest.fixture(scope="session")
def thinned_once(built_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index that `thinned` is a copy of."""
    folder = shutil.copytree(built_once, tmp_path_factory.mktemp("thinned") / built_once.name)
    remove(folder, None, "zebra")
    return folder


@pytest.fixture
def folder(built_once: Path, tmp_path: Path) -> Path:
    """A small index in three parts."""
    return shutil.copytree(built_once, tmp_path / "shards" / built_once.name)


@pytest.fixture
def thinned(thinned_once: Path, tmp_path: Path) -> Path:
    """An index that has every kind of file there is."""
    return shutil.copytree(thinned_once, tmp_path / "shards" / thinned_once.name)


# What the pocket pair is trained with; torch loads only where a test asks for it.


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> "Material":
    """Tiny pools: 21 pictures in each with masks, 4 in the others."""
    from pocket_material import write_pools

    from pocket.material import read_material

    folder = tmp_path_factory.mktemp("pool")
    write_pools(folder, marked=21, others=4)
    return read_material(folder)


@pytest.fixture
def place(tmp_path: Path) -> "Place":
    """A work folder with a list of labels in place of the teachers."""
    from pocket_material import IMAGENET

    from pocket.checkpoints import Place

    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers/imagenet_labels.txt").write_text("\n".join(IMAGENET) + "\n")
    return Place(tmp_path / "teachers", tmp_path, lambda step, line: None)


@pytest.fixture(scope="module")
def evaluated_tower() -> "Tower":
    """A tower that does not learn, whose answer to a picture does not depend on the others in the batch."""
    from pocket_material import new_tower

    return new_tower()
