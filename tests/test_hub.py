"""Corpora and weights by their usual names, from a hub: one on this machine, which answers as Hugging Face's does."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
from conftest import write_captions
from hub import Hub, served
from PIL import Image
from safetensors.torch import save_file
from shell import Shell
from test_weights import SMALL

from build_index.corpora import CORPORA
from encoders.untrained import fill_random
from shards import open_index

ON_HUB = [name for name, preset in CORPORA.items() if preset.hub]
DINO = "vit_tiny_patch16_224.augreg_in21k"
"""The smallest transformer that timm has weights of."""


class Machine:
    """A machine whose hub is ours, and whose cache is empty."""

    def __init__(self, folder: Path, handler: type[Hub], shell: Shell) -> None:
        self.folder, self.hub, self.handler = folder, folder / "hub", handler
        self._shell = shell

    def run(self, *command: str, exits: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one of our commands."""
        answer = self._shell.run(*command, folder=self.folder)
        assert answer.returncode == exits, answer.stderr
        return answer

    def captions(self, index: str) -> list[str]:
        """What is in an index."""
        opened = open_index(self.folder / "shards" / index)
        return opened.captions(range(opened.manifest.rows))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[type[Hub], Shell, Path]]:
    """A hub, commands that know no other, and their cache."""
    cache = tmp_path_factory.mktemp("cache")
    with served(cache) as (address, handler):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings = {"HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
        path = os.pathsep.join([str(Path(__file__).parent.parent), inherited.get("PYTHONPATH", "")])
        shell = Shell(inherited | settings | {"PYTHONPATH": path})
        yield handler, shell, cache
        shell.close()


@pytest.fixture
def machine(tmp_path: Path, network: tuple[type[Hub], Shell, Path]) -> Machine:
    handler, shell, cache = network
    for kept in cache.iterdir():
        shutil.rmtree(kept)
    handler.root, handler.lost = tmp_path / "hub", range(0)
    handler.root.mkdir()
    return Machine(tmp_path, handler, shell)


def place_of(pattern: str, root: Path) -> Path:
    """A file that a preset's pattern finds: `OWNER/NAME@REVISION/a*.parquet` is OWNER/NAME/REVISION/a0.parquet."""
    owner, name, *below = pattern.split("/")
    name, _, revision = name.partition("@")
    file = "/".join(below).replace("**", "a").replace("*", "0")
    return root / "datasets" / owner / name / (revision or "main") / file


def test_every_preset_finds_its_files_and_its_column(machine: Machine) -> None:
    wanted = []
    for name in ON_HUB:
        column = CORPORA[name].columns[0]
        write_captions(place_of(CORPORA[name].hub, machine.hub), [f"a dog of {name}"], column)
        wanted.append(f"a dog of {name}")
    write_captions(machine.hub / "datasets/me/mine/main/data/train-0.parquet", ["a dog of mine"])
    command = ("build_index", "--corpus", *ON_HUB, "hf:me/mine", "--name", "all", "--preset", "untrained")
    machine.run(*command)
    assert machine.captions("all") == [*wanted, "a dog of mine"]
    assert "nothing new" in machine.run(*command).stdout


def test_a_connection_that_breaks_off_is_taken_up_again(machine: Machine) -> None:
    """Rows that were not reached are not lost, as those of a damaged row group are: they are there the next time."""
    path = place_of(CORPORA["cc3m"].hub, machine.hub)
    path.parent.mkdir(parents=True)
    captions = ["a dog", "two cats", "a zebra", "a fish", "a house", "a tree"]
    pixels = np.random.default_rng(0).bytes(6_000_000)  # what lies between the captions is not read
    table = pa.table({"caption": captions, "image": [b"", pixels] * 3})
    pq.write_table(table, path, row_group_size=2, compression="none")
    whole = pq.ParquetFile(path).metadata
    starts = [whole.row_group(group).column(0).data_page_offset for group in range(3)]
    machine.handler.lost = range(starts[1] - 10, starts[1] + 100)
    command = ("build_index", "--corpus", "cc3m", "--preset", "untrained")
    answer = machine.run(*command, exits=1)
    assert re.search(r"refused 0.*after row 2: .*410", answer.stdout + answer.stderr, re.DOTALL)
    assert machine.captions("cc3m") == captions[:2]
    machine.handler.lost = range(0)
    machine.run(*command)
    assert machine.captions("cc3m") == captions
    assert open_index(machine.folder / "shards" / "cc3m").manifest.tally.read == 6


def test_weights_are_fetched_by_name(machine: Machine, tmp_path: Path) -> None:
    clip, dino = machine.hub / "models/me/tiny/main", machine.hub / f"models/timm/{DINO}/main"
    for folder in (clip, dino):
        folder.mkdir(parents=True)
    (clip / "open_clip_config.json").write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": {}}))
    network = open_clip.CLIP(**SMALL)
    fill_random(network, seed=1)
    save_file(network.state_dict(), clip / "open_clip_model.safetensors")
    save_file(timm.create_model(DINO.partition(".")[0]).state_dict(), dino / "model.safetensors")
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 64, 3), np.uint8)).save(tmp_path / "a.png")
    misspelt = machine.run("build_index", "--corpus", "demo", "--clip", "hf-hub:me/tinny", exits=2)
    assert "the hub answered 404 when asked for me/tinny/open_clip_config.json. Check the name" in misspelt.stderr
    machine.run("build_index", "--corpus", "demo", "--clip", "hf-hub:me/tiny")
    machine.run("labeler", "a.png", "--index", "shards/demo", "--dino", DINO, "--short-side", "64")
    made_by = json.loads((tmp_path / "labels" / "a.json").read_text())["made_by"]
    assert made_by["clip"].startswith("hf-hub:me/tiny, 16-d, text weights sha256:")
    assert made_by["dino"] == DINO
