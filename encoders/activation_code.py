"""Activations of a transformer, sixteen numbers at a time, in the terms of LLVM (`encoders.vector_code`).

Each is computed either as finely as float32 has it, or as finely as bfloat16 does, in half the time.
"""

from typing import Any

from numba.core.registry import cpu_target

from encoders.compiling import has
from encoders.fused_linear import Activation
from encoders.vector_code import FLOATS, INT16, LANES, called, declared, every, highest, polynomial, times_plus, two_to

LOG2_E = 1.4426950408889634

TERMS = {True: 7, False: 5}
"""Of the polynomial in 2^x, in float32 and for bfloat16."""

ERF = 0.3275911, (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""p and the coefficients of Abramowitz and Stegun's 7.1.26: with t = 1 / (1 + p z), erf z is
1 - (a1 t + a2 t^2 + ...) exp(-z^2) to 1.5e-7, for z >= 0."""

FARTHEST = 4.2
PHI = (
    *(0.398465875, -0.0655282055, 0.00929823154, -0.00095065813),
    *(6.68907851e-05, -3.03793833e-06, 7.94136532e-08, -9.01757178e-10),
)
"""Coefficients of x, x^3, ...: with 1/2 they are the normal distribution's integral, of which x times is GELU, between
-4.2 and 4.2, fitted so that GELU is off by 8e-5 at most and the last values are 0 and 1."""


def activated(builder: Any, value: Any, activation: Activation, *, fine: bool) -> Any:
    """An activation of a vector."""
    if activation is Activation.GELU:
        return gelu(builder, value, fine=fine)
    return silu(builder, value, fine=fine) if activation is Activation.SILU else value


def silu(builder: Any, value: Any, *, fine: bool) -> Any:
    """SiLU, x / (1 + exp(-x))."""
    grown = two_to(builder, builder.fmul(value, every(FLOATS, -LOG2_E)), TERMS[fine])
    return builder.fmul(value, reciprocal(builder, builder.fadd(grown, every(FLOATS, 1.0)), fine=fine))


def gelu(builder: Any, value: Any, *, fine: bool) -> Any:
    """GELU, x (1 + erf(x / sqrt 2)) / 2, as max(x, 0) - |x| (1 - erf(|x| / sqrt 2)) / 2."""
    if not fine:
        return _coarse_gelu(builder, value)
    size = called(builder, f"llvm.fabs.v{LANES}f32", FLOATS, value)
    root = builder.fmul(size, every(FLOATS, 0.5**0.5))
    share, coefficients = ERF
    part = reciprocal(builder, times_plus(builder, root, every(FLOATS, share), every(FLOATS, 1.0)), fine=True)
    fallen = builder.fmul(builder.fmul(root, root), every(FLOATS, -LOG2_E))
    rest = builder.fmul(builder.fmul(polynomial(builder, part, coefficients), part), two_to(builder, fallen))
    half = builder.fmul(size, every(FLOATS, -0.5))
    return times_plus(builder, half, rest, highest(builder, value, every(FLOATS, 0.0)))


def _coarse_gelu(builder: Any, value: Any) -> Any:
    above = highest(builder, value, every(FLOATS, -FARTHEST))
    near = called(builder, f"llvm.minnum.v{LANES}f32", FLOATS, above, every(FLOATS, FARTHEST))
    sums = polynomial(builder, builder.fmul(near, near), PHI)
    return builder.fmul(above, times_plus(builder, near, sums, every(FLOATS, 0.5)))


def reciprocal(builder: Any, value: Any, *, fine: bool) -> Any:
    """1 / x, by AVX-512's estimate, whose relative error is 2^-14; in float32 by a step of Newton's more.

    Processors that cannot estimate it divide.
    """
    if not has(cpu_target.target_context, "avx512f"):
        return builder.fdiv(every(FLOATS, 1.0), value)
    function = declared(builder, "llvm.x86.avx512.rcp14.ps.512", FLOATS, [FLOATS, FLOATS, INT16])
    near = builder.call(function, [value, every(FLOATS, 0.0), INT16(-1)])
    if not fine:
        return near
    left = builder.fsub(every(FLOATS, 2.0), builder.fmul(value, near))
    return builder.fmul(near, left)
