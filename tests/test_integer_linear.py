"""Products in integers of 16 bits, and what goes into them, against what is written in plain NumPy."""

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

from encoders import integer_linear, integer_rows
from encoders.fused_linear import Activation
from encoders.integer_linear import HIGHEST, IntegerLinear, packed_weight
from encoders.integer_products import COLUMNS
from encoders.integer_rows import GROUP, ROWS, Integers, pack, pack_normed

pytestmark = pytest.mark.skipif(not integer_linear.possible(), reason="no AVX2")

SHAPES = [(1, 128, 128), (6, 128, 256), (7, 640, 128), (70, 256, 384), (300, 512, 128), (49, 1_152, 1_152)]
"""Rows, inputs and outputs: less than a panel, a whole one, several groups at once and left over, several blocks."""

STEP = 1 / (2 * integer_rows.LENGTH)
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
    scales = np.linalg.norm(groups, axis=2) / integer_rows.LENGTH
    return np.rint(groups / np.where(scales, scales, 1)[..., None]).astype(np.int64), scales


def products_of(inputs: Integers, layer: tuple[Tensor, Tensor], bias: Tensor) -> NDArray[np.float64]:
    """The twin of the product of rows of integers with packed weights, as sums of integers, which are exact: [m, O]."""
    numbers, scales = layer
    weights = numbers.permute(0, 2, 1, 3).reshape(len(scales), -1, GROUP).long()  # [O, g, GROUP]
    rows = inputs.numbers.transpose(1, 2).reshape(-1, *weights.shape[1:])[: inputs.rows].long()
    sums = torch.einsum("mgi,ogi->mog", rows, weights)
    assert sums.abs().max() < 2**31, "a sum that does not fit 32 bits"
    of_rows = inputs.scales.transpose(1, 2).reshape(-1, weights.shape[1])[: inputs.rows].double()
    return ((sums * of_rows[:, None]).sum(dim=2) * scales.double() + bias.double()).numpy()


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_become_the_nearest_integers(shape: tuple[int, int, int]) -> None:
    rows = tensors(shape)[0]
    packed, (numbers, scales) = pack(rows), integers_of(rows)
    found = packed.numbers.transpose(1, 2).reshape(-1, rows.shape[1] // GROUP, GROUP)[: len(rows)]
    assert np.abs(found.numpy() - numbers).max() <= 1, "float32 rounds some halves to the other side"
    assert (found.numpy() == numbers).mean() > 0.999
    of_rows = packed.scales.transpose(1, 2).reshape(-1, scales.shape[1])[: len(rows)]
    np.testing.assert_allclose(of_rows.numpy(), scales, rtol=1e-6)
    assert (packed.rows, packed.width) == rows.shape
    lengths = rows.view(len(rows), -1, GROUP).norm(dim=2, keepdim=True)
    away = (packed.unpacked() - rows).view(len(rows), -1, GROUP).abs()
    assert (away <= 1.01 * STEP * lengths).all()


def test_what_fills_the_last_panel_is_nothing() -> None:
    packed = pack(torch.ones(ROWS + 1, GROUP))
    assert packed.numbers.shape == (2, 1, ROWS, GROUP)
    assert not packed.numbers[1, :, 1:].any()
    assert not packed.scales[1, :, 1:].any()


def test_zeros_and_the_smallest_numbers_stay_what_they_are() -> None:
    rows = torch.zeros(3, GROUP)
    rows[1], rows[2] = 1e-20, -1e-10
    found = pack(rows).unpacked()
    assert torch.equal(found[0], rows[0])
    assert found[1].abs().max() <= 1e-15
    torch.testing.assert_close(found[2], rows[2], rtol=1e-3, atol=0)


def test_halves_are_packed_as_what_they_stand_for() -> None:
    rows = torch.randn(9, 2 * GROUP, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(pack(rows).unpacked(), pack(rows.float()).unpacked())


def test_norms_are_torchs() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(size, generator=generator) for size in ((13, 256), (256,), (256,)))
    wanted = F.layer_norm(hidden, (256,), weight, bias, 1e-5)
    found = pack_normed(hidden, weight, bias, 1e-5, torch.float32).unpacked()
    assert (found - wanted).abs().max() <= 1.01 * STEP * wanted.view(13, -1, GROUP).norm(dim=2).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_the_exact_sums_of_integers(shape: tuple[int, int, int]) -> None:
    inputs, weight, bias, residual = tensors(shape)
    packed, layer = pack(inputs), IntegerLinear(weight, bias)
    wanted = products_of(packed, packed_weight(weight), bias)
    close = 1e-6 * np.abs(wanted).max()  # groups are added up in float32
    np.testing.assert_allclose(layer(packed).numpy(), wanted, rtol=0, atol=close)
    added = residual.clone()
    assert layer.onto(added, packed) is added
    np.testing.assert_allclose(added.numpy() - residual.numpy(), wanted, rtol=0, atol=close + 1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_near_those_of_real_numbers(shape: tuple[int, int, int]) -> None:
    """The bound: every factor moved by its rounding, in the worst direction."""
    inputs, weight, bias, _ = tensors(shape)
    found = IntegerLinear(weight, bias)(pack(inputs)).double()
    exact = inputs.double() @ weight.double().T + bias.double()
    groups = [each.double().view(len(each), -1, GROUP) for each in (inputs, weight)]
    moved = STEP * groups[0].norm(dim=2, keepdim=True), packed_weight(weight)[1].double()[:, None, None] / 2
    terms = [
        torch.einsum("mgi,ogi->mo", one.abs().expand(groups[0].shape), other.abs().expand(groups[1].shape))
        for one, other in ((moved[0], groups[1]), (groups[0], moved[1]))
    ]
    assert ((found - exact).abs() <= 1.02 * sum(terms) + 1e-6).all()
    assert (found - exact).std() <= 3e-4 * exact.std()


@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_that_are_packed_again(activation: Activation, shape: tuple[int, int, int]) -> None:
    inputs, weight, bias, _ = tensors(shape)
    packed = pack(inputs)
    found = IntegerLinear(weight, bias, activation, packs=True)(packed)
    wanted = EXACT[activation](IntegerLinear(weight, bias)(packed).double())
    assert (found.rows, found.width) == wanted.shape
    lengths = wanted.view(len(wanted), -1, GROUP).norm(dim=2, keepdim=True)
    away = (found.unpacked().double() - wanted).view(len(wanted), -1, GROUP).abs()
    assert (away <= 1.01 * STEP * lengths + 2e-6).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_fit(sign: int) -> None:
    """Rows and weights that point the same way, also all in one number."""
    flat, single = torch.ones(GROUP), torch.zeros(GROUP)
    single[3] = 1
    rows = torch.stack([flat, single, 1e4 * flat, 1e-4 * single])
    weight = sign * torch.stack([flat, single] * (GROUP // 2))
    found = IntegerLinear(weight, torch.zeros(GROUP))(pack(rows))
    torch.testing.assert_close(found, rows @ weight.T, rtol=2e-4, atol=1e-7)


def test_weights_are_the_nearest_integers() -> None:
    weight = tensors((1, 640, 128))[1]
    weight[7] = 0
    numbers, scales = packed_weight(weight)
    assert numbers.shape == (128 // COLUMNS, 320, COLUMNS, 2)
    again = numbers.permute(0, 2, 1, 3).reshape(128, 640).float() * scales[:, None]
    assert ((again - weight).abs() <= 0.501 * scales[:, None]).all()
    assert numbers.abs().max() <= HIGHEST


def test_the_same_on_any_number_of_threads() -> None:
    inputs, weight, bias, _ = tensors((300, 512, 384))
    layer, before, found = IntegerLinear(weight, bias), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(layer(pack(inputs)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, found[0]) for each in found)


def test_only_widths_that_fit() -> None:
    assert integer_linear.fits(128, 2_048)
    assert not integer_linear.fits(128, 192)


def test_what_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert integer_linear.work()
    for broken in (lambda _, inputs: torch.zeros(inputs.rows, 384), lambda *_: 1 / 0):
        integer_linear.work.cache_clear()
        monkeypatch.setattr(IntegerLinear, "__call__", broken)
        assert not integer_linear.work()
        assert not integer_linear.fits(128)
    integer_linear.work.cache_clear()


def test_a_processor_without_the_instructions_has_torch() -> None:
    """Compiled for a processor of long ago."""
    script = "from encoders import integer_linear as i; print(i.possible(), i.worthwhile(), i.fits(128))"
    environment = {**os.environ, "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False"] * 3


def test_without_torchs_threads_there_is_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_linear, "openmp", lambda: None)
    assert integer_linear.possible()
    assert not integer_linear.worthwhile()
