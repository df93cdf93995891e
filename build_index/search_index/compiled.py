"""Functions that are compiled for the processor at hand when they are first called, and kept for the next time.

And whether that processor multiplies whole tiles, and this process may have it do so.
"""

import ctypes
import platform
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from encoders.compiling import PRIVATE, instruction, renew_with

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile by Numba; threads may run it side by side. Sums of floats may be taken in another order.

    The machine code is kept beside the source, or in the user's cache; where neither can be written to, it lives as
    long as the process. Numba makes it anew when the file of the function changes; here, when any file of this folder
    does, since functions call those of others.
    """
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        kept: Any = numba.njit(cache=True, **options)(function)
        renew_with(kept, Path(__file__).parent)
    except PRIVATE:
        return numba.njit(**options)(function)
    return kept


@instruction
def pointer(_: Any, address: Any) -> Any:
    """What `numba.carray` asks for instead of an address."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), emit


ARCH_PRCTL, ASK_FOR_STATE, STATE_OF_TILES = 158, 0x1023, 18
"""Linux's call, and what is asked of it (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)."""


def has_tiles(context: Any) -> bool:
    """Whether the processor that is compiled for multiplies tiles of 8 bits (AMX)."""
    return "+amx-int8" in context.codegen().magic_tuple()[2]


@cache
def tiles_allowed() -> bool:
    """Whether this process may use the processor's tiles: it has some, and Linux grants the room to keep them."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64") or not has_tiles(cpu_target.target_context):
        return False
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, ASK_FOR_STATE, STATE_OF_TILES) == 0
