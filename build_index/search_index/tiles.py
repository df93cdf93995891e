"""The processor's whole tiles (AMX), 16 lines of 64 bytes, where it has them: instructions for `kernels`.

Nothing of this may be called before `tiles_allowed` said that it may.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from build_index.search_index.compiled import has_tiles
from build_index.search_index.instructions import (
    BYTES_AT_ONCE,
    INT8,
    INT64,
    LANES,
    SUMS,
    counted,
    declared,
    load,
    moved,
    write_where,
)
from encoders.compiling import instruction

ROWS = 16
"""Rows that are multiplied at a time."""

VECTORS = 4
"""Vectors of queries that a tile of rows is multiplied with at a time; the processor has eight tiles."""


def _tiles(name: str, arguments: str) -> Any:
    """What emits one of the processor's instructions for tiles, or nothing where it has none.

    Args:
        name: of the instruction.
        arguments: "t" for each tile's number, "a" for an address, "n" for a number of bytes.
    """
    kinds = {"t": INT8, "a": INT8.as_pointer(), "n": INT64}

    def emit(context: Any, builder: Any, *given: Any) -> None:
        if not has_tiles(context):
            return
        wanted = [kinds[each] for each in arguments]
        instruction = declared(builder, f"llvm.x86.{name}", ir.VoidType(), wanted)
        builder.call(
            instruction,
            [
                kind(each) if isinstance(each, int) else builder.inttoptr(each, kind) if kind.is_pointer else each
                for kind, each in zip(wanted, given, strict=True)
            ],
        )

    return emit


_configure, _release, _zero = _tiles("ldtilecfg", "a"), _tiles("tilerelease", ""), _tiles("tilezero", "t")
_read, _write, _plus = _tiles("tileloadd64", "tan"), _tiles("tilestored64", "tan"), _tiles("tdpbusd", "ttt")


@instruction
def begin_tiles(_: Any, shapes: Any) -> Any:
    """Set the shapes of the tiles, as `kernels` has them; this thread has them until it releases them."""

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


def _multiply_tiles(vectors: int) -> Any:
    """An instruction: the sums of ROWS rows with so many vectors of queries, int32 [vectors, ROWS, LANES]."""

    @instruction
    def multiply(  # noqa: PLR0913
        _: Any, codes: Any, stride: Any, factors: Any, apart: Any, block: Any, steps: Any, out: Any
    ) -> Any:
        """Codes in blocks of so many bytes, and factors as `above_one` has them."""

        def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
            codes, stride, factors, apart, block, steps, out = arguments
            row = VECTORS  # the tile of codes; those of sums stand before it, and those of factors behind it
            for vector in range(vectors):
                _zero(context, builder, vector)
            with cgutils.for_range(builder, steps) as loop:
                column = builder.mul(loop.index, block)
                _read(context, builder, row, builder.add(codes, column), stride)
                here = builder.add(factors, builder.mul(column, INT64(LANES)))
                for vector in range(vectors):
                    lanes = row + 1 + vector % (7 - row)
                    start = builder.add(here, builder.mul(apart, INT64(vector)))
                    _read(context, builder, lanes, start, BYTES_AT_ONCE)
                    _plus(context, builder, vector, row, lanes)
            for vector in range(vectors):
                place = builder.add(out, INT64(vector * ROWS * BYTES_AT_ONCE))
                _write(context, builder, vector, place, BYTES_AT_ONCE)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 7), emit

    return multiply


multiply_one, multiply_four = _multiply_tiles(1), _multiply_tiles(VECTORS)


@instruction
def pick(_: Any, sums: Any, least: Any, place: Any, out: Any) -> Any:
    """Of the sums of ROWS rows with one vector of queries, what `above_one` writes."""

    def emit(context: Any, builder: Any, _: Any, arguments: list[Any]) -> Any:
        sums, least, place, out = arguments
        bound, first = load(builder, least, SUMS), counted(builder, place)
        for row in range(ROWS):
            each = load(builder, builder.add(sums, INT64(row * BYTES_AT_ONCE)), SUMS)
            above = builder.icmp_signed(">", each, bound)
            out = write_where(context, builder, above, moved(builder, first, row), out)
        return out

    return types.intp(*(types.intp,) * 4), emit
