"""Fused products against the formula in float64, and the way round where a processor does not have them."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from encoders import fused_linear
from encoders.fused_linear import Activation, FusedLinear, works

KINDS = [(dtype, activation) for dtype in (torch.float32, torch.bfloat16) for activation in Activation]
ERROR = {torch.float32: 3e-6, torch.bfloat16: 2**-6}
"""Of sums of 96 terms that come to about 1. A bfloat16 number of 2 to 4 is right to 2**-7, and the sum, the activation
and the residual are rounded one after the other."""


def tensors(dtype: torch.dtype, rows: int = 70) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, weight, bias and residual; 70 rows and 40 outputs fill no block."""
    generator = torch.Generator().manual_seed(3)
    shapes = ((rows, 96), (40, 96), (40,), (rows, 40))
    inputs, weight, bias, residual = (torch.randn(shape, generator=generator) for shape in shapes)
    return inputs.to(dtype), (weight / 96**0.5).to(dtype), bias.to(dtype), residual.to(dtype)


def slow(inputs: Tensor, weight: Tensor, bias: Tensor, activation: Activation) -> Tensor:
    """a(x W^T + b), written out in float64."""
    sums = (inputs.double()[:, None] * weight.double()).sum(dim=2) + bias.double()
    if activation is Activation.GELU:
        return sums * 0.5 * (1 + torch.erf(sums / 2**0.5))
    return sums / (1 + torch.exp(-sums)) if activation is Activation.SILU else sums


@pytest.fixture(params=["fused where it can be", "never fused"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "never fused":
        monkeypatch.setattr(fused_linear, "works", lambda *_: False)
    return str(request.param)


@pytest.mark.parametrize(("dtype", "activation"), KINDS)
def test_equals_the_formula(way: str, dtype: torch.dtype, activation: Activation) -> None:
    inputs, weight, bias, _ = tensors(dtype)
    layer = FusedLinear(weight, bias, activation)
    assert layer.is_fused is (works(dtype, activation) and way != "never fused")
    found, right = layer(inputs), slow(inputs, weight, bias, activation)
    assert found.dtype is dtype
    torch.testing.assert_close(found.double(), right, rtol=ERROR[dtype], atol=ERROR[dtype])
    torch.testing.assert_close(layer(inputs[:1]), found[:1], rtol=ERROR[dtype], atol=ERROR[dtype])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("residual_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("dtype", "activation"), KINDS)
def test_adds_to_a_residual(dtype: torch.dtype, activation: Activation, residual_dtype: torch.dtype) -> None:
    inputs, weight, bias, residual = tensors(dtype)
    residual = residual.to(residual_dtype)
    right = residual.double() + slow(inputs, weight, bias, activation)
    found = FusedLinear(weight, bias, activation).onto(residual, inputs)
    assert found.dtype is residual_dtype
    error = max(ERROR[dtype], ERROR[residual_dtype])
    torch.testing.assert_close(found.double(), right, rtol=error, atol=error)


@pytest.mark.parametrize("dtype", ERROR)
def test_this_torch_has_what_it_is_asked_for(dtype: torch.dtype) -> None:
    """Where the operators exist, not finding them is a fault: a torch that renamed them would only be slower."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this torch or this processor has no fused products")
    assert all(works(dtype, activation) for activation in Activation)


def test_a_layer_that_is_not_on_a_processor_is_not_fused() -> None:
    _, weight, bias, _ = tensors(torch.float32)
    assert not FusedLinear(weight.to("meta"), bias.to("meta")).is_fused


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing was found out about this torch yet, and what this test finds out is forgotten."""
    works.cache_clear()
    yield
    works.cache_clear()


def missing(*_: object) -> Tensor:
    raise RuntimeError("operator does not exist")


def wrong(inputs: Tensor, weight: Tensor, *_: object) -> Tensor:
    return inputs @ weight.T


@pytest.mark.parametrize("operator", [missing, wrong])
def test_operators_that_are_missing_or_wrong_are_not_used(
    operator: Callable[..., Tensor], fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pointwise(*inputs: Any) -> Tensor:
        return operator(*inputs)

    pointwise.binary = operator  # type: ignore[attr-defined]
    found = SimpleNamespace(_reorder_linear_weight=lambda weight: weight, _linear_pointwise=pointwise)
    monkeypatch.setattr(fused_linear, "_operators", lambda: found)
    assert not works(torch.float32, Activation.NONE)


def test_a_torch_without_the_operators(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_linear, "_operators", SimpleNamespace)
    assert not works(torch.float32, Activation.NONE)


def test_torch_can_be_told_not_to(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not works(torch.float32, Activation.NONE)
