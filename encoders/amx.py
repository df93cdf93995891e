"""The processor's tiles (AMX), 16 lines of 64 bytes, for what Numba compiles, and whether this process may use them.

Nothing that works with tiles may be called before `allowed` said so.
"""

import ctypes
import platform
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from encoders.compiling import has, instruction
from encoders.vector_code import INT64, declared

ARCH_PRCTL, ASK_FOR_STATE, STATE_OF_TILES = 158, 0x1023, 18
"""Linux's call, and what is asked of it (ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)."""

INT8 = ir.IntType(8)

LINES, BYTES_OF_LINE, TILES = 16, 64, 8


def whole_tiles() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What `begin_tiles` reads for eight tiles of full size: one palette, bytes of a line, and lines."""
    shapes = np.zeros(64, np.uint8)
    shapes[0] = 1
    shapes[16 : 16 + 2 * TILES].view(np.uint16)[:] = BYTES_OF_LINE
    shapes[48 : 48 + TILES] = LINES
    return shapes


@cache
def allowed(*kinds: str) -> bool:
    """Whether this process may use tiles of all of some kinds: there are some, and Linux grants room to keep them."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64") or not has(cpu_target.target_context, *kinds):
        return False
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, ASK_FOR_STATE, STATE_OF_TILES) == 0


def emitter(name: str, arguments: str, kind: str) -> Callable[..., None]:
    """What emits one of the processor's instructions for tiles, or nothing where it has no such tiles.

    Args:
        name: of the instruction.
        arguments: "t" for each tile's number, "a" for an address, "n" for a number of bytes.
        kind: of tiles, such as `amx-int8`.
    """
    kinds = {"t": INT8, "a": INT8.as_pointer(), "n": INT64}
    wanted = [kinds[each] for each in arguments]

    def emit(context: Any, builder: Any, *given: Any) -> None:
        if not has(context, kind):
            return
        builder.call(
            declared(builder, f"llvm.x86.{name}", ir.VoidType(), wanted),
            [
                kind(each) if isinstance(each, int) else builder.inttoptr(each, kind) if kind.is_pointer else each
                for kind, each in zip(wanted, given, strict=True)
            ],
        )

    return emit


_configure, _release = emitter("ldtilecfg", "a", "amx-tile"), emitter("tilerelease", "", "amx-tile")
zero, read = emitter("tilezero", "t", "amx-tile"), emitter("tileloadd64", "tan", "amx-tile")
read_once, write = emitter("tileloaddt164", "tan", "amx-tile"), emitter("tilestored64", "tan", "amx-tile")


@instruction
def begin_tiles(_: Any, shapes: Any) -> Any:
    """Set the shapes of the tiles, which stand at an address; this thread has them until it releases them."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        _configure(context, builder, *arguments)
        return context.get_dummy_value()

    return types.void(types.intp), emit


@instruction
def end_tiles(_: Any) -> Any:
    """Release this thread's tiles."""

    def emit(context: Any, builder: Any, _: Any, __: list[Any]) -> Any:
        _release(context, builder)
        return context.get_dummy_value()

    return types.void(), emit
