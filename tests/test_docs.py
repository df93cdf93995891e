"""What the README promises: its commands parse, and the ones that need nothing are run as they stand."""

import json
import re
import shlex
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from build_index.config import BuildConfig
from build_index.search import SearchConfig
from evaluation.config import EvaluationConfig
from labeler.config import LabelConfig
from shards import commands

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
CONFIGS = {
    "build_index": BuildConfig,
    "build_index.search": SearchConfig,
    "evaluation": EvaluationConfig,
    "labeler": LabelConfig,
}

MOTORCYCLE = re.compile("motor|scooter", re.IGNORECASE)


def commands_of(text: str) -> list[list[str]]:
    """Every `python -m` line of the code blocks, split as a shell would, without its comment."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("python -m ")]
    return [shlex.split(line, comments=True) for line in lines]


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("command", commands_of(README), ids=" ".join)
def test_every_command_of_the_readme_parses(command: list[str]) -> None:
    module, arguments = command[2], command[3:]
    if module == "shards":
        assert arguments[0] in ("info", "verify", "remove", "compact")
    else:
        commands.parse(CONFIGS[module], arguments, module)


def run(command: list[str], folder: Path) -> None:
    finished = subprocess.run([sys.executable, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def said(folder: Path) -> str:
    """Everything that the labels of a run say, from labels to evidence."""
    files = [path for path in folder.glob("*.json") if path.name != "annotations.coco.json"]
    return " ".join(json.dumps(json.loads(path.read_text("utf-8"))["segments"]) for path in files)


def test_it_can_be_taught_new_words(tmp_path: Path) -> None:
    build, append, label = commands_of(section("Teach it new words"))[:3]
    sentences = files("build_index").joinpath("data/demo.txt").read_text("utf-8").splitlines()
    about = [sentence for sentence in sentences if MOTORCYCLE.search(sentence)]
    mine = [sentence for sentence in sentences if not MOTORCYCLE.search(sentence)]
    pq.write_table(pa.table({"caption": mine}), tmp_path / "mine.parquet")
    pq.write_table(pa.table({"caption": about}), tmp_path / "motorcycles.parquet")
    run([*build[:2], "labeler.demo", "pictures"], tmp_path)
    run(build, tmp_path)
    run([*label, "--out", "before"], tmp_path)
    assert not MOTORCYCLE.search(said(tmp_path / "before"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "shards/mine").glob("*-0000*")}
    run(append, tmp_path)
    after = {path.name: path.read_bytes() for path in (tmp_path / "shards/mine").glob("*-0000*")}
    assert {name: after[name] for name in before} == before
    assert pq.read_table(tmp_path / "shards/mine/captions-00001.parquet")["text"].to_pylist() == about
    run(label, tmp_path)
    assert re.search('"label": "motor(cycle|bike)", "score"', said(tmp_path / "labels"))
    remove, compact = commands_of(section("Teach it new words"))[3:]
    run(remove, tmp_path)
    run([*label, "--out", "removed"], tmp_path)
    assert not MOTORCYCLE.search(said(tmp_path / "removed"))
    run(compact, tmp_path)
    run([*label, "--out", "compacted"], tmp_path)
    assert said(tmp_path / "compacted") == said(tmp_path / "before")
