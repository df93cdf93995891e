"""What Numba compiles for the processor at hand, and how it is kept for the next time. No torch here."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

KERNEL = "void(int64)"
"""Of kernels: functions of one address."""

PRIVATE = (RuntimeError, AttributeError, TypeError)
"""Raised where there is no place for a cache, and where another Numba keeps it otherwise."""


def instruction(function: Callable[..., Any]) -> Any:
    """What compiled functions call like a function and the machine code has in its place.

    Machine code is kept for the next time where instructions are global names of a module. One that a function makes
    for another to call is a new one in every process, and all that calls it is compiled again.

    Args:
        function: takes the types of the arguments, and gives the signature and what emits LLVM's instructions. The
            type of a number that is known when it is compiled has it as its `literal_value`.
    """
    return intrinsic(prefer_literal=True)(function)


def compiled(function: Function, *folders: Path, **options: Any) -> Function:
    """Compile by Numba when it is first called; threads may run it side by side.

    The machine code is kept beside the source, or in the user's cache; where neither can be written to, it lives as
    long as the process.

    Args:
        function: what is compiled.
        folders: machine code is made anew when any file of these changes, and not only the function's own.
        options: of `numba.njit`.
    """
    try:
        kept: Any = numba.njit(cache=True, nogil=True, **options)(function)
        if folders:
            renew_with(kept, *folders)
    except PRIVATE:
        return numba.njit(nogil=True, **options)(function)
    return kept


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function for others than Python to call, now: it has an `address`, and is of the kind `KERNEL`."""
    try:
        compiled = CFunc(function, sigutils.normalize_signature(KERNEL), locals={}, options={})
        compiled.enable_caching()
        renew_with(compiled, Path(__file__).parent)
        compiled.compile()
    except PRIVATE:
        return numba.cfunc(KERNEL)(function)
    return compiled


def has(context: Any, *features: str) -> bool:
    """Whether the processor that is compiled for has all of some features, by LLVM's names, such as `avx512f`."""
    known = context.codegen().magic_tuple()[2].split(",")
    return all(f"+{feature}" in known for feature in features)


def renew_with(compiled: Any, *folders: Path) -> None:
    """Have machine code made anew when any file of some folders changes, and not only the function's own."""
    file = compiled._cache._cache_file
    file._source_stamp = file._source_stamp, *map(sources, folders)


@cache
def sources(folder: Path) -> str:
    """A digest of every file of Python in a folder."""
    digests = (hashlib.sha256(file.read_bytes()).digest() for file in sorted(folder.glob("*.py")))
    return hashlib.sha256(b"".join(digests)).hexdigest()
