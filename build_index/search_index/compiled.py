"""Functions that are compiled for the processor at hand when they are first called, and kept for the next time."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile by Numba; threads may run it side by side. Sums of floats may be taken in another order.

    The machine code is kept beside the source, or in the user's cache; where neither can be written to, it lives as
    long as the process. It is made anew when the file of the function changes, but not when another one does: so what
    it calls stands in the same file, but for `pointer`.
    """
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place for a cache
        return numba.njit(**options)(function)


def instruction(function: Callable[..., Any]) -> Any:
    """What compiled functions call like a function and the machine code has in its place.

    Args:
        function: takes the types of the arguments, and gives the signature and what emits LLVM's instructions.
    """
    return intrinsic(function)


@instruction
def pointer(_: Any, address: Any) -> Any:
    """What `numba.carray` asks for instead of an address."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), emit
