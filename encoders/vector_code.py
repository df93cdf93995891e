"""Numbers sixteen at a time, in the terms of LLVM, which fits them to the vectors that a processor has.

Every function writes instructions through a builder, and takes and gives what they compute with: vectors of float32,
and addresses. bfloat16 is the upper half of a float32.
"""

from typing import Any

from llvmlite import ir

LANES = 16

INT16, INT32, INT64, FLOAT = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
HALVES, INTEGERS, FLOATS = (ir.VectorType(kind, LANES) for kind in (INT16, INT32, FLOAT))

ROUNDS = 1.5 * 2**23
"""What is added to it, in float32, has no bits behind the point."""

HIGHEST_POWER = 120.0

POWER_OF_TWO = (1.0, 0.69314718, 0.24022651, 0.05550411, 0.00961813, 0.00133336, 0.00015404)
"""Taylor's coefficients of 2^x. From -1/2 to 1/2 all of them are within 2e-7 of it, five within 5e-5."""


def every(kind: Any, value: Any) -> Any:
    """A vector of one number."""
    return ir.Constant(kind, [value] * LANES)


def declared(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """One of LLVM's own functions, by the kinds of its result and of its arguments."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def called(builder: Any, name: str, kind: Any, *arguments: Any) -> Any:
    """One of them, of values of a kind to one of that kind."""
    return builder.call(declared(builder, name, kind, [kind] * len(arguments)), arguments)


def load(builder: Any, address: Any, kind: Any) -> Any:
    """From an address that need not be a multiple of anything."""
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 1
    return loaded


def store(builder: Any, value: Any, address: Any) -> None:
    """To an address that need not be a multiple of anything."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 1


def widened(builder: Any, halves: Any) -> Any:
    """bfloat16 [LANES] to float32."""
    return builder.bitcast(builder.shl(builder.zext(halves, INTEGERS), every(INTEGERS, 16)), FLOATS)


def rounded(builder: Any, values: Any) -> Any:
    """To the nearest bfloat16, of two the even one, in the upper halves of int32 [LANES]; the lower mean nothing."""
    bits = builder.bitcast(values, INTEGERS)
    odd = builder.and_(builder.lshr(bits, every(INTEGERS, 16)), every(INTEGERS, 1))
    return builder.add(builder.add(bits, every(INTEGERS, 0x7FFF)), odd)


def times_plus(builder: Any, one: Any, other: Any, more: Any) -> Any:
    """One * other + more."""
    return called(builder, f"llvm.fma.v{LANES}f32", FLOATS, one, other, more)


def highest(builder: Any, one: Any, other: Any) -> Any:
    """The higher of two, lane by lane."""
    return called(builder, f"llvm.maxnum.v{LANES}f32", FLOATS, one, other)


def polynomial(builder: Any, value: Any, coefficients: tuple[float, ...]) -> Any:
    """The first coefficient, the second times x, the third times x^2, ..."""
    *lower, last = coefficients
    sums = every(FLOATS, last)
    for coefficient in reversed(lower):
        sums = times_plus(builder, sums, value, every(FLOATS, coefficient))
    return sums


def two_to(builder: Any, power: Any, terms: int = len(POWER_OF_TWO)) -> Any:
    """2^x: the whole part goes into the exponent, the rest into a polynomial of so many terms.

    Beyond `HIGHEST_POWER`, to either side, it is what it is there.
    """
    power = highest(builder, power, every(FLOATS, -HIGHEST_POWER))
    power = called(builder, f"llvm.minnum.v{LANES}f32", FLOATS, power, every(FLOATS, HIGHEST_POWER))
    whole = builder.fadd(power, every(FLOATS, ROUNDS))
    rest = builder.fsub(power, builder.fsub(whole, every(FLOATS, ROUNDS)))
    sums = polynomial(builder, rest, POWER_OF_TWO[:terms])
    exponent = builder.shl(builder.bitcast(whole, INTEGERS), every(INTEGERS, 23))
    return builder.bitcast(builder.add(builder.bitcast(sums, INTEGERS), exponent), FLOATS)


def over_lanes(builder: Any, values: Any, join: Any) -> Any:
    """One number of all lanes, joined by halves: of the upper and the lower eight, then of four, two, one."""
    count = LANES
    while count > 1:
        count //= 2
        places = ir.Constant(INTEGERS, [(lane + count) % LANES for lane in range(LANES)])
        values = join(values, builder.shuffle_vector(values, values, places))
    return builder.extract_element(values, INT32(0))


def spread(builder: Any, value: Any) -> Any:
    """A float32 to all lanes."""
    one = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), value, INT32(0))
    return builder.shuffle_vector(one, one, every(INTEGERS, 0))
