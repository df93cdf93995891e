"""Functions that are compiled for the processor at hand when they are first called, and kept for the next time.

Numba takes half a second to load, so they stand in files of their own, which are imported where they are needed.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile by Numba; threads may run it side by side. Sums of floats may be taken in another order.

    The machine code is kept beside the source, or in the user's cache; where neither can be written to, it lives as
    long as the process.
    """
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        kept: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        kept = numba.njit(**options)(function)
    return kept
