"""How the linear layers of a network are laid out to be multiplied, on the processor at hand.

float32 and bfloat16 in the processor's tiles where it has them (AMX), integers of 16 bits by AVX2, all else by torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from encoders import integer_linear, integer_rows, packed_linear, packed_rows
from encoders.path_attention import Paths
from encoders.presets import Precision


@dataclass(frozen=True)
class Packing:
    """A way to lay out rows and weights.

    Attributes:
        fits: whether layers of some widths can be packed so, on this processor.
        pack: rows [m, I] to packed ones.
        pack_normed: the same of torch's LayerNorm of rows: hidden [m, I], weight, bias, epsilon, and the precision.
        linear: a layer, of a weight [O, I], a bias [O] and an activation; `packs` says whether its results are packed.
        attend: attention along paths, whose results are packed.
    """

    fits: Callable[..., bool]
    pack: Callable[[Tensor], Any]
    pack_normed: Callable[[Tensor, Tensor, Tensor, float, torch.dtype], Any]
    linear: Callable[..., Any]
    attend: Callable[..., Any]


TILES = Packing(
    packed_linear.fits,
    packed_rows.pack,
    packed_rows.pack_normed,
    packed_linear.PackedLinear,
    Paths.attend_packed,
)

INTEGERS = Packing(
    integer_linear.fits,
    integer_rows.pack,
    integer_rows.pack_normed,
    integer_linear.IntegerLinear,
    lambda paths, *given: integer_rows.pack(paths.attend(*given)),
)


def packing_of(precision: Precision, *widths: int) -> Packing | None:
    """How layers of some widths are laid out on a processor; None where torch multiplies them as they are."""
    way = INTEGERS if precision is Precision.INT16 else TILES
    return way if way.fits(*widths) else None


def packing_for_pictures(*widths: int) -> Packing | None:
    """The same for float32 of networks that see pictures, which take integers where a processor gains by them."""
    return packing_of(Precision.INT16 if integer_linear.worthwhile() else Precision.FP32, *widths)
