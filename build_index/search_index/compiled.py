"""Functions that are compiled for the processor at hand when they are first called, and kept for the next time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.core import types

import encoders
from encoders.compiling import PRIVATE, instruction, renew_with

FOLDERS = Path(__file__).parent, Path(encoders.__file__).parent
"""Whose functions are compiled together."""

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile by Numba; threads may run it side by side. Sums of floats may be taken in another order.

    The machine code is kept beside the source, or in the user's cache; where neither can be written to, it lives as
    long as the process. Numba makes it anew when the file of the function changes; here, when any file of this folder
    or of `encoders` does, since functions call those of others.
    """
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        kept: Any = numba.njit(cache=True, **options)(function)
        renew_with(kept, *FOLDERS)
    except PRIVATE:
        return numba.njit(**options)(function)
    return kept


@instruction
def pointer(_: Any, address: Any) -> Any:
    """What `numba.carray` asks for instead of an address."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), emit
