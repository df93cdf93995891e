"""The processor's whole tiles (AMX), 16 lines of 64 bytes, where it has them: instructions for `kernels`.

Nothing of this may be called before `encoders.amx.allowed` said that it may.
"""

from typing import Any

from numba.core import cgutils, types

from build_index.search_index.instructions import (
    BYTES_AT_ONCE,
    INT64,
    LANES,
    SUMS,
    counted,
    moved,
    write_where,
)
from encoders.amx import emitter, read, write, zero
from encoders.compiling import instruction
from encoders.vector_code import load

ROWS = 16
"""Rows that are multiplied at a time."""

VECTORS = 4
"""Vectors of queries that a tile of rows is multiplied with at a time; the processor has eight tiles."""


_plus = emitter("tdpbusd", "ttt", "amx-int8")


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
                zero(context, builder, vector)
            with cgutils.for_range(builder, steps) as loop:
                column = builder.mul(loop.index, block)
                read(context, builder, row, builder.add(codes, column), stride)
                here = builder.add(factors, builder.mul(column, INT64(LANES)))
                for vector in range(vectors):
                    lanes = row + 1 + vector % (7 - row)
                    start = builder.add(here, builder.mul(apart, INT64(vector)))
                    read(context, builder, lanes, start, BYTES_AT_ONCE)
                    _plus(context, builder, vector, row, lanes)
            for vector in range(vectors):
                place = builder.add(out, INT64(vector * ROWS * BYTES_AT_ONCE))
                write(context, builder, vector, place, BYTES_AT_ONCE)
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
