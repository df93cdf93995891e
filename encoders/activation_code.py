"""Activations of a transformer, sixteen numbers at a time, in the terms of LLVM (`encoders.vector_code`).

Each is computed either as finely as float32 has it, or as finely as bfloat16 does, in half the time.
"""

from typing import Any

from llvmlite import ir

from encoders.fused_linear import Activation
from encoders.vector_code import FLOATS, INT16, LANES, called, every, highest, times_plus, two_to

LOG2_E = 1.4426950408889634

TERMS = {True: 7, False: 5}
"""Of the polynomial in 2^x, in float32 and for bfloat16."""

ERF = {
    True: (0.3275911, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)),
    False: (0.47047, (0.3480242, -0.0958798, 0.7478556)),
}
"""p and the coefficients of Abramowitz and Stegun's 7.1.26 and 7.1.25: with t = 1 / (1 + p z), erf z is
1 - (a1 t + a2 t^2 + ...) exp(-z^2) to 1.5e-7 and 2.5e-5, for z >= 0."""


def activated(builder: Any, value: Any, activation: Activation, *, fine: bool) -> Any:
    """An activation of a vector."""
    if activation is Activation.GELU:
        return gelu(builder, value, fine=fine)
    return silu(builder, value, fine=fine) if activation is Activation.SILU else value


def silu(builder: Any, value: Any, *, fine: bool) -> Any:
    """X / (1 + exp(-x))."""
    grown = two_to(builder, builder.fmul(value, every(FLOATS, -LOG2_E)), TERMS[fine])
    return builder.fmul(value, reciprocal(builder, builder.fadd(grown, every(FLOATS, 1.0)), fine=fine))


def gelu(builder: Any, value: Any, *, fine: bool) -> Any:
    """X (1 + erf(x / sqrt 2)) / 2, which is max(x, 0) - |x| (1 - erf(|x| / sqrt 2)) / 2."""
    share, coefficients = ERF[fine]
    size = called(builder, f"llvm.fabs.v{LANES}f32", FLOATS, value)
    root = builder.fmul(size, every(FLOATS, 0.5**0.5))
    part = reciprocal(builder, times_plus(builder, root, every(FLOATS, share), every(FLOATS, 1.0)), fine=fine)
    sums = every(FLOATS, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        sums = times_plus(builder, sums, part, every(FLOATS, coefficient))
    fallen = builder.fmul(builder.fmul(root, root), every(FLOATS, -LOG2_E))
    rest = builder.fmul(builder.fmul(sums, part), two_to(builder, fallen, TERMS[fine]))
    half = builder.fmul(size, every(FLOATS, -0.5))
    return times_plus(builder, half, rest, highest(builder, value, every(FLOATS, 0.0)))


def reciprocal(builder: Any, value: Any, *, fine: bool) -> Any:
    """1 / x, by AVX-512's estimate, whose relative error is 2^-14; in float32 by a step of Newton's more."""
    module, name = builder.module, "llvm.x86.avx512.rcp14.ps.512"
    kinds = [FLOATS, FLOATS, INT16]
    function = module.globals.get(name) or ir.Function(module, ir.FunctionType(FLOATS, kinds), name)
    near = builder.call(function, [value, every(FLOATS, 0.0), INT16(-1)])
    if not fine:
        return near
    left = builder.fsub(every(FLOATS, 2.0), builder.fmul(value, near))
    return builder.fmul(near, left)
