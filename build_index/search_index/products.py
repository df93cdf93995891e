"""Products of small integers, exact, as fast as the processor has them.

The one file here that knows torch: its 8-bit product runs on the processor's own instructions for it (VNNI and the
like). Without that operator, float32 products of the same integers give the same numbers, several times slower.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

CODE, FACTOR = 255, 127
"""The highest value of a code, and of a factor beside it."""

EXACT = 1 << 24
"""Up to here float32 holds every integer."""

Product = Callable[[NDArray[np.uint8], NDArray[np.int8], NDArray[np.int32]], object]


def highest_factor(length: int) -> int:
    """The factors that may stand beside so many codes: what they sum to stays exact in float32 as well.

    >>> highest_factor(256), highest_factor(1024)
    (127, 64)
    """
    return max(min(FACTOR, EXACT // (CODE * length)), 1)


def multiply_by_torch(codes: NDArray[np.uint8], factors: NDArray[np.int8], out: NDArray[np.int32]) -> None:
    """By torch's 8-bit product; arguments as of what `integer_product` returns."""
    torch._int_mm(torch.from_numpy(codes), torch.from_numpy(factors).T, out=torch.from_numpy(out))


def multiply_by_floats(codes: NDArray[np.uint8], factors: NDArray[np.int8], out: NDArray[np.int32]) -> None:
    """By NumPy's product of float32, which is exact below `EXACT`; arguments as of what `integer_product` returns."""
    out[...] = codes.astype(np.float32) @ factors.astype(np.float32).T


@cache
def integer_product() -> Product:
    """What multiplies here: takes codes uint8 [n, d] and factors int8 [m, d], and fills out, int32 [n, m].

    torch's operator is private, so it is asked first whether it is there and still multiplies bytes without a sign.
    """
    codes, factors = np.full((3, 64), CODE, np.uint8), np.full((2, 64), FACTOR, np.int8)
    out = np.empty((3, 2), np.int32)
    try:
        multiply_by_torch(codes, factors, out)
    except (RuntimeError, TypeError, AttributeError):
        return multiply_by_floats
    return multiply_by_torch if (out == CODE * FACTOR * 64).all() else multiply_by_floats


def on_this_thread_alone() -> None:
    """To be called once in a thread that is one of several: its 8-bit products use no further threads.

    Not by `torch.set_num_threads`, which would change MKL's products in all threads.
    """
    _open_mp().limit(limits=1)


@cache
def _open_mp() -> Any:
    return ThreadpoolController().select(user_api="openmp")
