"""Compiled functions in the threads that torch has already: others would put these to sleep (`encoders.device_thread`).

A kernel is a function of one address, of a block of int64: a counter, from which every thread takes the next piece of
work, how many pieces there are, and arguments.
"""

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from threadpoolctl import threadpool_info
from torch import Tensor

from encoders.compiling import instruction

TORCH = Path(torch.__file__).parent

_INT64 = ir.IntType(64)


def run(kernel: Any, pieces: int, *arguments: Any) -> None:
    """Do all pieces of work.

    Args:
        kernel: of `compiling.kernel`.
        pieces: how many there are.
        arguments: integers, and tensors and arrays, which are contiguous and of which the kernel is given the address.
    """
    given = [
        each.data_ptr() if isinstance(each, Tensor) else each.ctypes.data if isinstance(each, np.ndarray) else each
        for each in arguments
    ]
    block = np.array([0, pieces, *given], np.int64)
    (openmp() or _alone)(kernel.address, block.ctypes.data, torch.get_num_threads(), 0)


@functools.cache
def openmp() -> Callable[[int, int, int, int], None] | None:
    """OpenMP's call, of the library that torch uses, or None where that is not known."""
    loaded = [Path(library["filepath"]) for library in threadpool_info() if library["user_api"] == "openmp"]
    own = [path for path in loaded if TORCH in path.parents] or (loaded if len(loaded) == 1 else [])
    for path in own:
        call: Any = getattr(ctypes.CDLL(str(path)), "GOMP_parallel", None)
        if call is not None:
            call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
            return call
    return None


def _alone(kernel: int, block: int, _threads: int, _flags: int) -> None:
    """This thread does all."""
    ctypes.CFUNCTYPE(None, ctypes.c_int64)(kernel)(block)


@instruction
def taken(_: Any, block: Any) -> Any:
    """For kernels: the next number from the counter of a block, 0 for the first thread that asks."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        place = builder.inttoptr(arguments[0], _INT64.as_pointer())
        return builder.atomic_rmw("add", place, _INT64(1), "monotonic")

    return types.int64(types.int64), emit


@instruction
def number(_: Any, block: Any, place: Any) -> Any:
    """For kernels: one of the numbers at an address, int64; of a block, 1 is how many pieces there are."""

    def emit(_: Any, builder: Any, __: Any, arguments: list[Any]) -> Any:
        block, place = arguments
        return builder.load(builder.inttoptr(builder.add(block, builder.mul(place, _INT64(8))), _INT64.as_pointer()))

    return types.int64(types.int64, types.int64), emit


@instruction
def keep(_: Any, array: Any) -> Any:
    """For kernels: an array is in use until here.

    Numba frees one behind the last line that names it. If its address were used after that, another thread could have
    been given the memory.
    """

    def emit(context: Any, _: Any, __: Any, ___: list[Any]) -> Any:
        return context.get_dummy_value()

    return types.void(array), emit
