"""Functions that are compiled for the processor at hand when they are first called, and kept for the next time."""

from pathlib import Path
from typing import Any

from llvmlite import ir
from numba.core import types

import encoders
from encoders import compiling
from encoders.compiling import Function, instruction

FOLDERS = Path(__file__).parent, Path(encoders.__file__).parent
"""Whose functions are compiled together."""


def compiled(function: Function) -> Function:
    """Compile by Numba; threads may run it side by side. Sums of floats may be taken in another order.

    Functions call those of other files, so machine code is made anew when any file of this folder or of `encoders`
    changes.
    """
    return compiling.compiled(function, *FOLDERS, fastmath={"reassoc", "contract", "nsz"})


@instruction
def pointer(_: Any, address: Any) -> Any:
    """What `numba.carray` asks for instead of an address."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), emit
