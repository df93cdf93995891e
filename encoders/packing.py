"""How the linear layers of a network are laid out to be multiplied, on the processor at hand.

float32 and bfloat16 in the processor's tiles where it has them (AMX), float32 and integers of 16 bits in panels where
AVX2 is all there is, all else by torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from encoders import packed_linear, packed_rows, panel_linear, panel_rows
from encoders.panel_rows import Numbers
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


def _panels(kind: Numbers) -> Packing:
    """Rows in panels, of a kind of numbers."""
    pack = partial(panel_rows.pack, kind=kind)
    return Packing(
        partial(panel_linear.fits, kind),
        pack,
        lambda hidden, weight, bias, epsilon, _: panel_rows.pack_normed(hidden, weight, bias, epsilon, kind),
        partial(panel_linear.PanelLinear, kind=kind),
        lambda paths, *given: pack(paths.attend(*given)),
    )


INTEGERS, FLOATS = _panels(Numbers.INTEGERS), _panels(Numbers.FLOATS)


def packing_of(precision: Precision, *widths: int) -> Packing | None:
    """How layers of some widths are laid out on a processor; None where torch multiplies them as they are."""
    if precision is Precision.INT16:
        way = INTEGERS
    elif precision is Precision.FP32 and panel_linear.worthwhile(Numbers.FLOATS):
        way = FLOATS
    else:
        way = TILES
    return way if way.fits(*widths) else None


def packing_for_pictures(*widths: int) -> Packing | None:
    """The same for float32 of networks that see pictures, which take integers where a processor gains by them."""
    return packing_of(Precision.INT16 if panel_linear.worthwhile(Numbers.INTEGERS) else Precision.FP32, *widths)
