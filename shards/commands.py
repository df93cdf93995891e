"""What all commands share: flags made from a frozen dataclass, progress bars, errors as one line, exit codes.

A default, a type and a help text exist once, in the dataclass. A field's metadata may hold:

- `help`: one line, required;
- `positional`: True for an argument without dashes;
- `metavar`: what stands for the value in the help;
- `strays`: what to do, where words are left over that no flag stands before; they come for its `{}`.
"""

import errno
import inspect
import numbers
import os
import re
import sys
import types
import typing
from argparse import Action, ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, Field, fields
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from shards.errors import UserError

DONE = 0
FINISHED_WITH_REFUSALS = 1
REFUSED_TO_START = 2
INTERRUPTED = 130

_ROOM = "make room, then run the same command again"
_RIGHTS = "choose another folder, or change its permissions"
OF_THE_MACHINE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow a program more open files (ulimit -n)",
}
"""A full disk, folders that may not be read or written, names too long, too many open files: no bugs of ours, wherever
they are met; what to do."""

Config = TypeVar("Config")


class Parser(ArgumentParser):
    """A parser that refuses in one line, without the list of all flags before it."""

    def error(self, message: str) -> NoReturn:
        """Say what does not fit, and exit with code 2."""
        self.exit(REFUSED_TO_START, f"{self.prog}: error: {message}; see {self.prog} --help\n")

    def refuse(self, message: str) -> NoReturn:
        """Say which value cannot be, and exit with code 2."""
        self.exit(REFUSED_TO_START, f"{self.prog}: error: {message}\n")


def parse(config_type: type[Config], arguments: Sequence[str] | None, command: str) -> Config:
    """Turn command-line arguments into a config; the first line of its docstring heads the help.

    Exits with code 2 and a line on stderr where the arguments do not fit.
    """
    parser = Parser(prog=f"python -m {command}", description=(config_type.__doc__ or "").split("\n")[0])
    hints = typing.get_type_hints(config_type)
    for field in _own_first(config_type):
        _add_flag(parser, field, hints[field.name])
    values, left_over = parser.parse_known_args(arguments)
    if left_over:
        parser.error(f"unrecognized arguments: {' '.join(left_over)}{_advice(config_type, left_over)}")
    try:
        return config_type(**vars(values))
    except ValueError as error:
        parser.refuse(str(error))


def _advice(config_type: type, left_over: list[str]) -> str:
    """What may have been meant by words that no flag stands before; empty where flags are among them."""
    if any(word.startswith("-") for word in left_over):
        return ""
    strays = [field.metadata["strays"] for field in fields(config_type) if "strays" in field.metadata]
    return "".join("; " + advice.format(" ".join(left_over)) for advice in strays)


def _own_first(config_type: type) -> "list[Field[Any]]":
    """Fields in the order of the help: a command's own before those that it inherits, which are finer settings."""
    kinds = list(enumerate(config_type.__mro__))
    return sorted(
        fields(config_type),
        key=lambda field: next(depth for depth, kind in kinds if field.name in inspect.get_annotations(kind)),
    )


def _add_flag(parser: ArgumentParser, field: "Field[Any]", hint: Any) -> None:
    options: dict[str, Any] = {"help": field.metadata["help"], **_conversion(hint)}
    if "metavar" in field.metadata:
        options["metavar"] = field.metadata["metavar"]
    default = None if field.default is MISSING else field.default
    if default not in (None, (), "") and not isinstance(default, bool):
        options["help"] += f" (default: {_shown(default)})"
    if typing.get_origin(hint) is tuple:
        options.update(action=_Collect, nargs="+")
    if field.metadata.get("positional"):
        parser.add_argument(field.name, **options)
        return
    if default is True:
        options["action"] = BooleanOptionalAction  # --no-FLAG switches it off
    flag = "--" + field.name.replace("_", "-")
    parser.add_argument(flag, required=field.default is MISSING, default=default, **options)


def _shown(default: Any) -> Any:
    """A default as a user would write it."""
    if isinstance(default, tuple) and all(isinstance(each, Enum) for each in default):
        return " ".join(str(each.value) for each in default)
    return default.value if isinstance(default, Enum) else default


def _conversion(hint: Any) -> dict[str, Any]:
    """How argparse makes a value of a type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    if hint is bool:
        return {"action": "store_true"}
    if issubclass(hint, Enum):
        return {"type": _said(partial(member_of, hint)), "metavar": "|".join(str(member.value) for member in hint)}
    if hint is Path:
        return {"type": path_argument, "metavar": "PATH"}
    return {"type": hint, "metavar": hint.__name__.upper() if hint is not str else "NAME"}


def _said(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same, whose refusals argparse shows as they are."""

    def convert_or_say(value: str) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return convert_or_say


def local_path(value: str | os.PathLike[str]) -> Path:
    """A path on this machine. Of an address pathlib would make a folder called `s3:`, and all would go there.

    Raises:
        ValueError: it is an address.
    """
    if isinstance(value, str) and _ADDRESS.match(value):
        raise ValueError(f"found {value}, expected a path on this machine; an address has to be mounted or copied")
    return Path(value)


_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

path_argument = _said(local_path)
"""`local_path` for argparse."""


def member_of(enum: type[Enum], value: Any) -> Enum:
    """A choice by its name.

    Raises:
        ValueError: there is none of that name; the message lists those that there are.
    """
    try:
        return enum(value)
    except ValueError:
        raise ValueError(f"{value!r} is none of {', '.join(str(member.value) for member in enum)}") from None


def config_of(config_type: type[Config], options: dict[str, Any]) -> Config:
    """A config from values as people write them in Python: strings for paths and choices, one value for a tuple of one.

    Args:
        config_type: a frozen dataclass.
        options: values by the names of its fields.

    Raises:
        TypeError: there is no such field.
        ValueError: a value cannot be; the message says which.
    """
    hints = typing.get_type_hints(config_type)
    return config_type(**{name: _converted(name, value, hints.get(name, Any)) for name, value in options.items()})


def _converted(name: str, value: Any, hint: Any) -> Any:
    if hint is Any:
        return value
    if typing.get_origin(hint) is tuple:
        return _several(name, value, typing.get_args(hint)[0])
    kinds = typing.get_args(hint) or (hint,)  # Path | None has two
    if value is None and type(None) in kinds:
        return None
    (kind,) = (kind for kind in kinds if kind is not type(None))
    try:
        return member_of(kind, value) if issubclass(kind, Enum) else _plain(kind, value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: {error}{' or None' if type(None) in kinds else ''}") from error


def _several(name: str, value: Any, kind: type) -> tuple[Any, ...]:
    if not isinstance(value, (str, os.PathLike, Iterable)):
        raise ValueError(f"{name}: found {value!r}, expected one value or a list of them")
    values = (value,) if isinstance(value, (str, os.PathLike)) else tuple(value)
    paths = kind is str  # what is a text on the command line may come as a path
    return tuple(
        _converted(name, str(each) if paths and isinstance(each, os.PathLike) else each, kind) for each in values
    )


def _plain(kind: type, value: Any) -> Any:
    """A value of a type that is no choice.

    Raises:
        ValueError: it is of another type; the message says which was expected.
    """
    allowed, expected = _PLAIN[kind]
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"found {value!r}, expected {expected}")
    make: Callable[[Any], Any] = local_path if kind is Path else kind
    return make(value)


_PLAIN: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "True or False"),
    int: ((numbers.Integral,), "a whole number"),
    float: ((numbers.Real,), "a number"),
    str: ((str,), "a text"),
    Path: ((str, os.PathLike), "a path"),
}
"""For each type of an option, the types that it is made from, and what it is called."""


class _Collect(Action):
    """Gathers values over repeated flags: `--corpus a b --corpus c` gives ("a", "b", "c")."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        seen = getattr(namespace, self.dest)
        earlier = () if seen is self.default else seen
        setattr(namespace, self.dest, (*earlier, *values))


def run(command: Callable[[], int]) -> int:
    """Run a command; what the user can put right becomes one line on stderr and exit code 2."""
    try:
        return command()
    except UserError as error:
        return refused(error)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        where, what_to_do = error.filename or "writing", OF_THE_MACHINE[error.errno]
        print(f"error: {where}: {error.strerror or error}; {what_to_do}", file=sys.stderr)  # noqa: T201
        return REFUSED_TO_START
    except MemoryError as error:
        print(f"error: not enough memory ({error or 'none left'}); use smaller pictures or batches", file=sys.stderr)  # noqa: T201
        return REFUSED_TO_START
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED


def refused(error: UserError) -> int:
    """Say on stderr what the user can put right; returns the exit code."""
    print(f"error: {error}", file=sys.stderr)  # noqa: T201
    return REFUSED_TO_START
