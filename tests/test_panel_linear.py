"""Products of rows in panels, and what goes into them, against what is written in plain NumPy and torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from encoders import panel_linear, panel_rows
from encoders.fused_linear import Activation
from encoders.panel_linear import HIGHEST, PanelLinear, packed_weight
from encoders.panel_rows import GROUP, ROWS, Numbers, Panels, pack, pack_normed
from encoders.panel_sums import COLUMNS

pytestmark = pytest.mark.skipif(not panel_linear.possible(Numbers.FLOATS), reason="no AVX2")

SHAPES = [(1, 128, 128), (6, 128, 256), (7, 640, 128), (70, 256, 384), (300, 512, 128), (49, 1_152, 1_152)]
"""Rows, inputs and outputs: less than a panel, a whole one, several groups at once and left over, several blocks."""

each_kind = pytest.mark.parametrize("kind", Numbers)
each_shape = pytest.mark.parametrize("shape", SHAPES)

STEP = 1 / (2 * panel_rows.LENGTH)
"""What rounding moves a number by, as a share of the length of its group; of weights half of that."""

EXACT = {
    Activation.NONE: lambda sums: sums,
    Activation.GELU: lambda sums: sums * 0.5 * (1 + torch.erf(sums / 2**0.5)),
    Activation.SILU: lambda sums: sums / (1 + torch.exp(-sums)),
}


def tensors(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, weight, bias and residual; some inputs and weights are a hundred times as large as the others."""
    rows, width, outputs = shape
    generator = torch.Generator().manual_seed(rows)
    sizes = ((rows, width), (outputs, width), (outputs,), (rows, outputs))
    inputs, weight, bias, residual = (torch.randn(size, generator=generator) for size in sizes)
    inputs[::3, ::50] *= 100
    weight[::5, ::70] *= 100
    return inputs, weight / width**0.5, bias, residual


def integers_of(rows: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The twin of `pack`: integers [m, g, GROUP], and what each group is to be multiplied by, [m, g]."""
    groups = rows.double().numpy().reshape(len(rows), -1, GROUP)
    scales = np.linalg.norm(groups, axis=2) / panel_rows.LENGTH
    return np.rint(groups / np.where(scales, scales, 1)[..., None]).astype(np.int64), scales


def rows_of(packed: Panels) -> tuple[Tensor, Tensor]:
    """What panels hold, row by row: numbers [m, g, GROUP] and scales [m, g]."""
    numbers = packed.numbers.transpose(1, 2).reshape(-1, packed.width // GROUP, GROUP)[: packed.rows]
    return numbers, packed.scales.transpose(1, 2).reshape(len(packed.numbers) * ROWS, -1)[: packed.rows]


def products_of(inputs: Panels, weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
    """The twin of the product of rows of integers with a weight, as sums of integers, which are exact: [m, O]."""
    numbers, scales = packed_weight(weight, Numbers.INTEGERS)
    weights = numbers.permute(0, 2, 1, 3).reshape(len(scales), -1, GROUP).long()  # [O, g, GROUP]
    rows, of_rows = (each.double() for each in rows_of(inputs))
    sums = torch.einsum("mgi,ogi->mog", rows.long(), weights)
    assert sums.abs().max() < 2**31, "a sum that does not fit 32 bits"
    return ((sums * of_rows[:, None]).sum(dim=2) * scales.double() + bias.double()).numpy()


@each_shape
def test_rows_become_the_nearest_integers(shape: tuple[int, int, int]) -> None:
    rows = tensors(shape)[0]
    packed, (numbers, scales) = pack(rows, Numbers.INTEGERS), integers_of(rows)
    found, of_rows = rows_of(packed)
    assert np.abs(found.numpy() - numbers).max() <= 1, "float32 rounds some halves to the other side"
    assert (found.numpy() == numbers).mean() > 0.999
    np.testing.assert_allclose(of_rows.numpy(), scales, rtol=1e-6)
    assert (packed.rows, packed.width) == rows.shape
    lengths = rows.view(len(rows), -1, GROUP).norm(dim=2, keepdim=True)
    away = (packed.unpacked() - rows).view(len(rows), -1, GROUP).abs()
    assert (away <= 1.01 * STEP * lengths).all()


@each_shape
def test_floats_stay_what_they_are(shape: tuple[int, int, int]) -> None:
    rows = tensors(shape)[0]
    packed = pack(rows, Numbers.FLOATS)
    assert (packed.rows, packed.width) == rows.shape
    assert torch.equal(packed.unpacked(), rows)


@each_kind
def test_a_panel_is_read_from_one_end_to_the_other(kind: Numbers) -> None:
    """Sixty-four bytes of each row, and again."""
    packed, line = pack(torch.ones(ROWS, 2 * GROUP) * torch.arange(1, ROWS + 1)[:, None], kind), 64
    of_rows = packed.numbers.view(torch.uint8).reshape(-1, ROWS, line)
    assert packed.numbers.is_contiguous()
    assert all(torch.equal(each, of_rows[0]) for each in of_rows)


@each_kind
def test_what_fills_the_last_panel_is_nothing(kind: Numbers) -> None:
    packed = pack(torch.ones(ROWS + 1, GROUP), kind)
    assert len(packed.numbers) == 2
    assert packed.numbers[1, :, 0].all()
    assert not packed.numbers[1, :, 1:].any()
    assert not packed.scales[1, :, 1:].any()


def test_zeros_and_the_smallest_numbers_stay_what_they_are() -> None:
    rows = torch.zeros(3, GROUP)
    rows[1], rows[2] = 1e-20, -1e-10
    found = pack(rows, Numbers.INTEGERS).unpacked()
    assert torch.equal(found[0], rows[0])
    assert found[1].abs().max() <= 1e-15
    torch.testing.assert_close(found[2], rows[2], rtol=1e-3, atol=0)


@each_kind
def test_halves_are_packed_as_what_they_stand_for(kind: Numbers) -> None:
    rows = torch.randn(9, 2 * GROUP, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(pack(rows, kind).unpacked(), pack(rows.float(), kind).unpacked())


@each_kind
def test_norms_are_torchs(kind: Numbers) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(size, generator=generator) for size in ((13, 256), (256,), (256,)))
    wanted = F.layer_norm(hidden, (256,), weight, bias, 1e-5)
    found = pack_normed(hidden, weight, bias, 1e-5, kind).unpacked()
    step = STEP if kind is Numbers.INTEGERS else 0
    assert (found - wanted).abs().max() <= 1.01 * step * wanted.view(13, -1, GROUP).norm(dim=2).max()


@each_shape
def test_products_are_the_exact_sums_of_integers(shape: tuple[int, int, int]) -> None:
    inputs, weight, bias, residual = tensors(shape)
    packed, layer = pack(inputs, Numbers.INTEGERS), PanelLinear(weight, bias, kind=Numbers.INTEGERS)
    wanted = products_of(packed, weight, bias)
    close = 1e-6 * np.abs(wanted).max()  # groups are added up in float32
    np.testing.assert_allclose(layer(packed).numpy(), wanted, rtol=0, atol=close)
    added = residual.clone()
    assert layer.onto(added, packed) is added
    np.testing.assert_allclose(added.numpy() - residual.numpy(), wanted, rtol=0, atol=close + 1e-6)


@each_shape
def test_products_of_floats_are_right_to_the_last_digits(shape: tuple[int, int, int]) -> None:
    """The bound: a rounding of all terms for every sum that a term is in; and on average a fiftieth of it."""
    inputs, weight, bias, residual = tensors(shape)
    packed, layer = pack(inputs, Numbers.FLOATS), PanelLinear(weight, bias, kind=Numbers.FLOATS)
    exact = inputs.double() @ weight.double().T + bias.double()
    terms = inputs.double().abs() @ weight.double().abs().T + bias.double().abs()
    bound = (GROUP + shape[1] / GROUP + 2) * 2**-24 * terms
    away = (layer(packed) - exact).abs() / bound
    assert away.max() <= 1
    assert away.mean() <= 1 / 50
    added = residual.clone()
    assert layer.onto(added, packed) is added
    assert ((added - residual.double() - exact).abs() <= bound + 2**-23 * residual.abs()).all()


@each_shape
def test_products_of_integers_are_near_those_of_real_numbers(shape: tuple[int, int, int]) -> None:
    """The bound: every factor moved by its rounding, in the worst direction."""
    inputs, weight, bias, _ = tensors(shape)
    found = PanelLinear(weight, bias, kind=Numbers.INTEGERS)(pack(inputs, Numbers.INTEGERS)).double()
    exact = inputs.double() @ weight.double().T + bias.double()
    groups = [each.double().view(len(each), -1, GROUP) for each in (inputs, weight)]
    of_weights = packed_weight(weight, Numbers.INTEGERS)[1].double()[:, None, None] / 2
    moved = STEP * groups[0].norm(dim=2, keepdim=True), of_weights
    terms = [
        torch.einsum("mgi,ogi->mo", one.abs().expand(groups[0].shape), other.abs().expand(groups[1].shape))
        for one, other in ((moved[0], groups[1]), (groups[0], moved[1]))
    ]
    assert ((found - exact).abs() <= 1.02 * sum(terms) + 1e-6).all()
    assert (found - exact).std() <= 3e-4 * exact.std()


@each_kind
@pytest.mark.parametrize("activation", Activation)
@each_shape
def test_products_that_are_packed_again(activation: Activation, shape: tuple[int, int, int], kind: Numbers) -> None:
    inputs, weight, bias, _ = tensors(shape)
    packed = pack(inputs, kind)
    found = PanelLinear(weight, bias, activation, kind=kind, packs=True)(packed)
    wanted = EXACT[activation](PanelLinear(weight, bias, kind=kind)(packed).double())
    assert (found.rows, found.width) == wanted.shape
    step = STEP if kind is Numbers.INTEGERS else 1e-7
    lengths = wanted.view(len(wanted), -1, GROUP).norm(dim=2, keepdim=True)
    away = (found.unpacked().double() - wanted).view(len(wanted), -1, GROUP).abs()
    assert (away <= 1.01 * step * lengths + 2e-6).all()


@each_kind
def test_layers_one_after_the_other(kind: Numbers) -> None:
    """What one packs, the next reads: a perceptron whose rows fill no panel."""
    inputs, inward, bias, residual = tensors((40, 256, 640))
    outward = tensors((3, 640, 256))[1]
    expand = PanelLinear(inward, bias, Activation.GELU, kind=kind, packs=True)
    contract = PanelLinear(outward, torch.zeros(256), kind=kind)
    wanted = F.linear(F.gelu(F.linear(inputs, inward, bias)), outward)
    found = contract(expand(pack(inputs, kind)))
    assert (found - wanted).abs().max() <= (1e-3 if kind is Numbers.INTEGERS else 1e-5) * wanted.abs().max()
    assert residual.shape[0] % ROWS


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_fit(sign: int) -> None:
    """Rows and weights that point the same way, also all in one number."""
    flat, single = torch.ones(GROUP), torch.zeros(GROUP)
    single[3] = 1
    rows = torch.stack([flat, single, 1e4 * flat, 1e-4 * single])
    weight = sign * torch.stack([flat, single] * (GROUP // 2))
    found = PanelLinear(weight, torch.zeros(GROUP), kind=Numbers.INTEGERS)(pack(rows, Numbers.INTEGERS))
    torch.testing.assert_close(found, rows @ weight.T, rtol=2e-4, atol=1e-7)


def test_weights_are_the_nearest_integers() -> None:
    weight = tensors((1, 640, 128))[1]
    weight[7] = 0
    numbers, scales = packed_weight(weight, Numbers.INTEGERS)
    assert numbers.shape == (128 // COLUMNS, 320, COLUMNS, 2)
    again = numbers.permute(0, 2, 1, 3).reshape(128, 640).float() * scales[:, None]
    assert ((again - weight).abs() <= 0.501 * scales[:, None]).all()
    assert numbers.abs().max() <= HIGHEST


@each_kind
def test_the_same_on_any_number_of_threads_and_in_any_company(kind: Numbers) -> None:
    inputs, weight, bias, _ = tensors((300, 512, 384))
    layer, before, found = PanelLinear(weight, bias, kind=kind), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(layer(pack(inputs, kind)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, found[0]) for each in found)
    assert torch.equal(layer(pack(inputs[77:78], kind)), found[0][77:78])


@each_kind
def test_only_widths_that_fit(kind: Numbers) -> None:
    assert panel_linear.fits(kind, 128, 2_048)
    assert not panel_linear.fits(kind, 128, 192)


@each_kind
def test_what_is_wrong_is_not_used(kind: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    assert panel_linear.work(kind)
    for broken in (lambda _, inputs: torch.zeros(inputs.rows, 384), lambda *_: 1 / 0):
        panel_linear.work.cache_clear()
        monkeypatch.setattr(PanelLinear, "__call__", broken)
        assert not panel_linear.work(kind)
        assert not panel_linear.fits(kind, 128)
    panel_linear.work.cache_clear()


def test_a_processor_without_the_instructions_has_torch() -> None:
    """Compiled for a processor of long ago."""
    script = (
        "from encoders import panel_linear as p; from encoders.panel_rows import Numbers\n"
        "for kind in Numbers: print(p.possible(kind), p.worthwhile(kind), p.fits(kind, 128))"
    )
    environment = {**os.environ, "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False"] * 6


@each_kind
def test_without_torchs_threads_there_is_nothing_to_gain(kind: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_linear, "openmp", lambda: None)
    assert panel_linear.possible(kind)
    assert not panel_linear.worthwhile(kind)
