"""What is computed apart from the products, against torch and against the formulas in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from encoders import compiling, elementwise, torch_threads
from encoders.elementwise import add_norm, silu_


def every_half() -> torch.Tensor:
    """All finite bfloat16, in their order as integers."""
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
    values = bits.view(torch.bfloat16)
    return values[values.isfinite()]


def test_silu_of_every_number_there_is() -> None:
    """Half a step from the exact value, and nothing where there is next to nothing."""
    values = every_half()
    values = torch.cat([values, values[: -len(values) % elementwise.LANES]])
    exact = values.double() * torch.sigmoid(values.double())
    found = silu_(values.clone()).double()
    seen = (values > elementwise.LEAST) & (exact.abs() > 1e-30)
    step = 2.0 ** (torch.frexp(exact[seen].abs()).exponent - 8)
    assert ((found - exact)[seen].abs() / step).max() < 0.51
    assert found[~seen].abs().max() < 1e-29
    assert silu_(torch.full((16,), torch.nan).bfloat16()).isnan().all()


@pytest.mark.parametrize("shape", [(1, 16), (33, 48), (64, 512)])
def test_adding_and_normalising(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(shape, generator=generator) * 5 + 3
    more = torch.randn(shape, generator=generator).bfloat16()
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    total = hidden + more
    exact = F.layer_norm(total.double(), shape[1:], weight.double(), bias.double(), 1e-5)
    normed = add_norm(hidden, more, weight, bias, 1e-5)
    torch.testing.assert_close(hidden, total, rtol=0, atol=0)
    assert normed.dtype is torch.bfloat16
    assert ((normed.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-5).all()


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where torch's OpenMP is not found, one thread does all."""
    values = torch.randn(999, 16 * 37, generator=torch.Generator().manual_seed(2)).bfloat16()
    expected = silu_(values.clone())
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(silu_(values.clone()), expected)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(torch_threads, "threadpool_info", list)
    torch_threads._parallel.cache_clear()
    assert torch.equal(silu_(values.clone()), expected)
    torch_threads._parallel.cache_clear()


def test_a_numba_that_keeps_machine_code_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be made anew at the right time is not kept."""

    def elsewhere(*_: object) -> None:
        raise AttributeError

    values = torch.randn(64, 16, generator=torch.Generator().manual_seed(3)).bfloat16()
    expected = silu_(values.clone())
    monkeypatch.setattr(compiling, "renew_with", elsewhere)
    elementwise._silu_kernel.cache_clear()
    assert torch.equal(silu_(values), expected)
    elementwise._silu_kernel.cache_clear()


def test_what_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert elementwise.work()
    for broken in (lambda values: values.fill_(np.nan), lambda _: 1 / 0):
        elementwise.work.cache_clear()
        monkeypatch.setattr(elementwise, "silu_", broken)
        assert not elementwise.work()
    elementwise.work.cache_clear()
