"""The commands from the outside: help at once and without heavy libraries, exit codes, errors as one line."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import Builder, write_captions

from labeler.config import LabelConfig
from shards import commands

COMMANDS = ["build_index", "build_index.search", "evaluation", "evaluation compare", "labeler", "shards"]
HEAVY = {"torch", "open_clip", "timm", "transformers", "sentence_transformers", "faiss", "numba"}
HEAVY |= {"datasets", "scipy", "sklearn", "pandas"}
SECONDS = 1.0


def python(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def run(module: str, *arguments: str | Path) -> int:
    """What `python -m` runs, in this process."""
    code: int = import_module(module if module == "build_index.search" else f"{module}.__main__").main(
        [str(each) for each in arguments]
    )
    return code


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_at_once_and_loads_nothing_heavy(command: str) -> None:
    """By the processor's time, which depends less than the clock on what else the machine does."""
    before = os.times()
    answer = python("-X", "importtime", "-m", *command.split(), "--help")
    after = os.times()
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"usage: python -m {command} ")
    loaded = [line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if line.startswith("import time:")]
    assert len(loaded) == len(answer.stderr.splitlines())  # and nothing else was said
    assert "shards.commands" in loaded
    assert HEAVY.isdisjoint(loaded)
    spent = sum(after[2:4]) - sum(before[2:4])  # of children
    assert spent < SECONDS


def test_the_actions_of_shards_have_help(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("info", "verify", "remove", "compact"):
        with pytest.raises(SystemExit) as stop:
            run("shards", action, "--help")
        assert stop.value.code == 0
        said = capsys.readouterr().out
        assert said.startswith(f"usage: python -m shards {action} [-h]")
        assert "an index, or a folder of them" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build_index"], "nothing to build from: give --corpus, --append, --words or --merge"),
        (["build_index", "--corpus", "x", "--limit", "-3"], "--limit -3: must be 0 or more"),
        (
            ["build_index", "caps.txt"],
            "unrecognized arguments: caps.txt; captions are given with a flag, --corpus caps.t",
        ),
        (
            ["build_index", "--corpus", "x", "--preset", "tag", "--clip", "ViT-B-32/openai"],
            "--preset tag has its own CLIP, and --clip ViT-B-32/openai is another; give one",
        ),
        (["build_index", "caps.txt", "--corpu5"], "unrecognized arguments: caps.txt --corpu5; see"),
        (
            ["build_index", "--corpus", "x", "--preset", "huge"],
            "--preset: 'huge' is none of default, tag, pocket, untr",
        ),
        (["build_index.search", "shards/"], "the following arguments are required: TEXT"),
        (["build_index.search", "shards/", "a", "dog"], 'dog; a text of several words goes in quotes, "… dog"'),
        (["build_index.search", "shards/", "a dog", "--k", "-1"], "--k -1: must be 1 or more"),
        (["labeler", "images/", "--method", "tga"], "--method: 'tga' is none of default, tag, zero-guidance"),
        (["labeler", "images/", "--short-side", "-5"], "--short-side -5: must be 1 to 4096"),
        (["labeler"], "the following arguments are required: PICTURES"),
        (["labeler", "images/", "--out", "s3://b/l"], "--out: found s3://b/l, expected a path on this machine; an ad"),
        (["labeler", "https://a.b/c.jpg"], "PICTURES: found https://a.b/c.jpg, expected a path on this machine"),
        (["build_index", "--corpus", "x", "--out", "gs://b"], "--out: found gs://b, expected a path on this machine"),
        (["build_index", "--merge", "s3://b/i", "--name", "x"], "--merge: found s3://b/i, expected a path on this"),
        (["build_index.search", "hf://b", "a dog"], "INDEX: found hf://b, expected a path on this machine"),
        (["shards", "info", "s3://b/i"], "folder: found s3://b/i, expected a path on this machine"),
        (["labeler", "images/", "--k", "many"], "argument --k: invalid int value: 'many'"),
        (["shards"], "the following arguments are required: info|verify|remove|compact"),
        (["shards", "check", "shards/"], "invalid choice: 'check'"),
    ],
)
def test_a_line_that_is_no_command(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build_index", "--corpus", "none.parquet"], "--corpus none.parquet: no such file, folder or glob, and no pr"),
        (["build_index.search", "none", "a dog"], "none: no such folder; build an index with: python -m build_index"),
        (["shards", "info", "none"], "none: no such folder; build an index with: python -m build_index"),
        (["shards", "verify", "."], ".: no index here (no manifest.json); build one"),
        (["shards", "remove", "none", "--matching", "dog"], "none: no such folder; build an index with: python -m bui"),
        (["shards", "remove", ".", "--matching", "dog"], ".: no index here (no manifest.json); build one"),
        (["shards", "remove", "none"], "remove what? Give --source FILE, --matching REGEX, or both"),
        (["shards", "compact", "none"], "none: no such folder; build an index with: python -m build_index"),
        (["shards", "compact", "."], ".: no index here (no manifest.json); build one"),
    ],
)
def test_a_refusal_to_start_is_one_line(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {message}")
    assert list(tmp_path.iterdir()) == []


def test_the_help_begins_with_the_commands_own_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """Of an inheriting config the finer settings come last: most readers need none of them."""
    with pytest.raises(SystemExit):
        commands.parse(LabelConfig, ["--help"], "labeler")
    told = capsys.readouterr().out.partition("options:")[2]
    assert sorted(("--out PATH", "--index PATH", "--method", "--gate", "--k INT"), key=told.index)[:3] == [
        "--out PATH",
        "--index PATH",
        "--method",
    ]


def test_what_is_on_can_be_switched_off() -> None:
    assert commands.parse(LabelConfig, ["images/"], "labeler").join_apart
    assert not commands.parse(LabelConfig, ["images/", "--no-join-apart"], "labeler").join_apart
    assert not commands.parse(LabelConfig, ["images/"], "labeler").overwrite


def test_looking_into_an_index(build_index_of: Builder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build_index_of(["a dog", "two cats", "a dog"]).folder
    capsys.readouterr()
    assert run("shards", "info", folder.parent) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "read       3 = 2 kept + 1 duplicates + 0 refused" in said.out
    assert run("shards", "verify", folder) == 0
    assert capsys.readouterr() == (f"{folder}: sound (2 rows, 11 files)\n", "")
    (folder / "counts.0001.npy").unlink()
    assert run("shards", "verify", folder) == 1
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"damaged: {folder / 'counts.0001.npy'}: ")


def test_data_beside_the_command_does_not_hide_the_package(build_index_of: Builder, tmp_path: Path) -> None:
    """Commands are run where the data lies, in a folder named like the package that reads it."""
    build_index_of(["a dog", "two cats"], name="cc3m")
    answer = python("-m", "shards", "verify", "shards", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (0, "shards/cc3m: sound (2 rows, 11 files)\n")


def test_building_from_the_outside(tmp_path: Path) -> None:
    """As users run it, with networks that need no download."""
    write_captions(tmp_path / "mine.parquet", ["a dog", None, "two cats"])
    answer = python("-m", "build_index", "--corpus", "mine.parquet", "--preset", "untrained", cwd=tmp_path)
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout.startswith("shards/mine: 2 captions, 2 embedded now")
    assert "refused 1 rows, null, for example: mine.parquet row 1" in answer.stdout
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "shards" / "mine" / "manifest.json").exists()
