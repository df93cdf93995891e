"""Flags made from a dataclass, and what a command leaves behind: one line and an exit code."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest

from build_index.config import BuildConfig
from labeler.config import LabelConfig
from shards import NoIndex, ShardDamaged, commands


class Colour(Enum):
    """For the flags below."""

    RED = "red"
    DARK_BLUE = "dark-blue"


@dataclass(frozen=True, kw_only=True)
class PaintConfig:
    """Paint a wall.

    This line is for readers of the code.
    """

    wall: Path = field(metadata={"help": "what is painted", "positional": True})
    owner: str = field(metadata={"help": "whose it is"})
    bucket: tuple[str, ...] = field(default=(), metadata={"help": "where paint is; repeatable", "metavar": "BUCKET"})
    colour: Colour = field(default=Colour.RED, metadata={"help": "which paint"})
    second_colour: Colour | None = field(default=None, metadata={"help": "for the edges"})
    layers: int = field(default=2, metadata={"help": "how often"})
    thickness: float = field(default=0.5, metadata={"help": "in millimetres"})
    sketch: Path | None = field(default=None, metadata={"help": "a picture of it"})
    dry: bool = field(default=False, metadata={"help": "wait between layers"})

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"--layers {self.layers}: must be at least 1")


def parse(*arguments: str) -> PaintConfig:
    return commands.parse(PaintConfig, ["wall", "--owner", "me", *arguments], "paint")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused command line leaves on stderr."""
    with pytest.raises(SystemExit) as caught:
        commands.parse(PaintConfig, arguments, "paint")
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# --- values ----------------------------------------------------------------------------------------------------------


def test_defaults_come_from_the_dataclass() -> None:
    assert parse() == PaintConfig(wall=Path("wall"), owner="me")


def test_every_type() -> None:
    given = parse(
        "--colour", "dark-blue", "--second-colour", "red", "--layers", "3", "--thickness", "1.5",
        "--sketch", "a b.png", "--dry", "--bucket", "x",
    )  # fmt: skip
    assert given == PaintConfig(
        wall=Path("wall"),
        owner="me",
        bucket=("x",),
        colour=Colour.DARK_BLUE,
        second_colour=Colour.RED,
        layers=3,
        thickness=1.5,
        sketch=Path("a b.png"),
        dry=True,
    )
    assert given.colour is Colour.DARK_BLUE


def test_tuples_gather_over_repeated_flags() -> None:
    assert parse("--bucket", "a", "b", "--layers", "1", "--bucket", "c").bucket == ("a", "b", "c")
    assert parse("--bucket", "a").bucket == ("a",)  # and nothing is left of the line before


def test_a_positional_argument_may_stand_anywhere() -> None:
    assert commands.parse(PaintConfig, ["--owner", "me", "wall"], "paint") == parse()


def test_positional_arguments_of_which_there_may_be_several() -> None:
    @dataclass(frozen=True)
    class Config:
        """Walls."""

        walls: tuple[Path, ...] = field(metadata={"help": "walls", "positional": True})
        layers: int = field(default=2, metadata={"help": "how often"})

    assert commands.parse(Config, ["a", "b", "--layers", "1"], "x") == Config((Path("a"), Path("b")), 1)
    assert commands.parse(Config, ["--layers", "1", "a"], "x") == Config((Path("a"),), 1)


def test_a_default_that_is_not_empty_is_replaced_and_not_added_to() -> None:
    @dataclass(frozen=True)
    class Config:
        """Two defaults."""

        names: tuple[str, ...] = field(default=("a", "b"), metadata={"help": "names"})

    assert commands.parse(Config, [], "x").names == ("a", "b")
    assert commands.parse(Config, ["--names", "c", "--names", "d"], "x").names == ("c", "d")


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_value_that_the_config_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "wall", "--owner", "me", "--layers", "0")
    assert said == "python -m paint: error: --layers 0: must be at least 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wall"], "the following arguments are required: --owner"),
        (["--owner", "me"], "the following arguments are required: PATH"),
        (["wall", "--owner", "me", "--layers", "two"], "argument --layers: invalid int value: 'two'"),
        (["wall", "--owner", "me", "--colour", "green"], "argument --colour: 'green' is none of red, dark-blue"),
        (["wall", "--owner", "me", "--bucket"], "argument --bucket: expected at least one argument"),
        (["wall", "--owner", "me", "--brush", "x"], "unrecognized arguments: --brush x"),
    ],
)
def test_arguments_that_do_not_fit(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert refused(capsys, *arguments) == f"python -m paint: error: {message}; see python -m paint --help"


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal so wide that nothing is broken at a hyphen."""
    monkeypatch.setenv("COLUMNS", "1000")


def help_of(config_type: type, capsys: pytest.CaptureFixture[str]) -> str:
    """The help, with single spaces."""
    with pytest.raises(SystemExit) as caught:
        commands.parse(config_type, ["--help"], "paint")
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.usefixtures("wide")
def test_the_help_has_the_first_line_of_the_docstring_each_flag_and_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = help_of(PaintConfig, capsys)
    assert "Paint a wall." in said
    assert "readers of the code" not in said
    for part in (
        "usage: python -m paint",
        "--bucket BUCKET [BUCKET ...] where paint is; repeatable --colour",
        "--colour red|dark-blue which paint (default: red)",
        "--second-colour red|dark-blue for the edges --layers",
        "--layers INT how often (default: 2)",
        "--thickness FLOAT in millimetres (default: 0.5)",
        "--sketch PATH a picture of it --dry",
    ):
        assert part in said


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("config_type", [BuildConfig, LabelConfig])
def test_every_flag_of_our_commands_is_in_its_help(config_type: type, capsys: pytest.CaptureFixture[str]) -> None:
    said = help_of(config_type, capsys)
    for spec in dataclasses.fields(config_type):
        assert spec.metadata["help"] in said
        if not spec.metadata.get("positional"):
            assert f"--{spec.name.replace('_', '-')} " in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "-1"], "--limit -1: must be 0 or more"),
        (["--rows-per-part", "0"], "--rows-per-part 0: must be 1 or more"),
        (["--name", "a/b"], "--name a/b: must be a plain folder name"),
        (["--name", ".."], "--name ..: must be a plain folder name"),
    ],
)
def test_values_that_a_build_refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.parse(BuildConfig, ["--corpus", "x", *arguments], "build_index")
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


# --- exit codes ------------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize("code", [0, 1])
def test_a_command_that_returns(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(lambda: code) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [NoIndex("x: no index"), ShardDamaged("x: no index")])
def test_what_the_user_can_put_right(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(lambda: raising(error)) == 2
    assert capsys.readouterr() == ("", "error: x: no index\n")


def test_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(lambda: raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_a_reader_that_has_seen_enough() -> None:
    """As in `python -m shards info shards/ | head -1`."""
    program = "from shards import commands; raise SystemExit(commands.run(lambda: print('x' * 1_000_000) or 0))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        commands.run(lambda: 1 // 0)
