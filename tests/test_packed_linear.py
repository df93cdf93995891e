"""Products in the processor's tiles, and what goes into them, against the formulas in float64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from encoders import amx, packed_linear
from encoders.fused_linear import Activation
from encoders.packed_linear import PackedLinear, packed_weight
from encoders.packed_rows import SIDE, Packed, pack, pack_normed

HAVE_TILES = amx.allowed("amx-bf16", "avx512bf16")
pytestmark = pytest.mark.skipif(not HAVE_TILES, reason="no tiles of bfloat16 (AMX)")

KINDS = [torch.float32, torch.bfloat16]
OF_A_NUMBER = {torch.float32: 2**-17, torch.bfloat16: 2**-8}
"""What rounding to two bfloat16 or to one changes a number by, as a share of it."""

SHAPES = [(1, 32, 32), (32, 32, 64), (33, 160, 96), (70, 96, 160), (300, 512, 32), (64, 1_056, 1_056)]
"""Rows, inputs and outputs: less than a block, and several steps, rows of blocks and pieces."""

EXACT = {
    Activation.NONE: lambda sums: sums,
    Activation.GELU: lambda sums: sums * 0.5 * (1 + torch.erf(sums / 2**0.5)),
    Activation.SILU: lambda sums: sums / (1 + torch.exp(-sums)),
}


def tensors(dtype: torch.dtype, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs, weight, bias and residual, float32."""
    rows, width, outputs = shape
    generator = torch.Generator().manual_seed(rows)
    sizes = ((rows, width), (outputs, width), (outputs,), (rows, outputs))
    inputs, weight, bias, residual = (torch.randn(size, generator=generator) for size in sizes)
    return inputs.to(dtype), (weight / width**0.5).to(dtype), bias.to(dtype), residual


def allowed(inputs: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """How far sums may be off: three roundings of every term in float32, none but the last one in bfloat16; [m, O]."""
    terms = inputs.double().abs() @ weight.double().abs().T
    return terms * (3 * OF_A_NUMBER[torch.float32] if dtype is torch.float32 else 1e-6) + 1e-6


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_products(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    inputs, weight, bias, residual = tensors(dtype, shape)
    exact = inputs.double() @ weight.double().T + bias.double()
    error = allowed(inputs, weight, dtype)
    layer, packed = PackedLinear(weight, bias), pack(inputs)
    rows = layer(packed)
    assert rows.dtype is dtype
    assert rows.shape == exact.shape
    assert ((rows.double() - exact).abs() <= error + OF_A_NUMBER[dtype] * exact.abs()).all()
    added = residual.clone()
    assert layer.onto(added, packed) is added
    assert ((added.double() - residual.double() - exact).abs() <= error + 1e-6 * residual.abs()).all()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("activation", Activation)
@pytest.mark.parametrize("shape", SHAPES)
def test_products_that_are_packed_again(
    dtype: torch.dtype, activation: Activation, shape: tuple[int, int, int]
) -> None:
    inputs, weight, bias, _ = tensors(dtype, shape)
    sums = inputs.double() @ weight.double().T + bias.double()
    found = PackedLinear(weight, bias, activation, packs=True)(pack(inputs))
    exact = EXACT[activation](sums)
    assert (found.rows, found.width) == exact.shape
    error = 1.2 * allowed(inputs, weight, dtype) + OF_A_NUMBER[dtype] * exact.abs()  # no slope is above 1.13
    assert ((found.unpacked().double() - exact).abs() <= error + (1e-4 if dtype is torch.bfloat16 else 1e-6)).all()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("activation", [Activation.GELU, Activation.SILU])
def test_activations_of_all_sizes(dtype: torch.dtype, activation: Activation) -> None:
    """Through the product with nothing: the values are the biases."""
    values = torch.cat([torch.linspace(-30, 30, 5_000), torch.tensor([-1e4, -1e3, -100.0, 0.0, 100.0, 1e3, 1e4])])
    values = F.pad(values, (0, -len(values) % SIDE)).to(dtype)
    layer = PackedLinear(torch.zeros(len(values), SIDE, dtype=dtype), values, activation, packs=True)
    found = layer(pack(torch.ones(3, SIDE, dtype=dtype))).unpacked().double()
    exact = EXACT[activation](values.double()).nan_to_num()
    coarse, fine = (1e-4, 2**-8) if dtype is torch.bfloat16 else (1e-6, 2**-17)
    assert ((found - exact).abs() <= coarse + fine * exact.abs()).all()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(1, 32), (32, 64), (77, 512)])
def test_packing(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    rows = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 7).to(dtype)
    packed = pack(rows)
    assert packed.blocks.shape[2] == packed.parts == (1 if dtype is torch.bfloat16 else 2)
    error = 0 if dtype is torch.bfloat16 else OF_A_NUMBER[dtype]
    assert ((packed.unpacked() - rows.float()).abs() <= error * rows.float().abs()).all()
    for row, column in ((0, 0), (shape[0] - 1, shape[1] - 1)):
        first = packed.blocks[row // SIDE, column // SIDE, 0, row % SIDE, column % SIDE]
        assert first == rows[row, column].bfloat16()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(1, 32), (33, 96), (64, 512)])
def test_packing_what_is_normalised(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(shape, generator=generator) * 5 + 3
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    exact = F.layer_norm(hidden.double(), shape[1:], weight.double(), bias.double(), 1e-5)
    found = pack_normed(hidden, weight, bias, 1e-5, dtype).unpacked()
    assert ((found.double() - exact).abs() <= OF_A_NUMBER[dtype] * exact.abs() + 1e-5).all()


def test_weights_lie_as_the_processor_takes_them() -> None:
    """Pairs of inputs by outputs, in halves of 16 outputs."""
    weight = torch.arange(64.0 * 96).view(64, 96).remainder(251)  # exact in bfloat16
    tiles = packed_weight(weight.bfloat16())
    assert tiles.shape == (2, 3, 1, 2, 16, 16, 2)
    for output, put in ((0, 0), (63, 95), (17, 33), (40, 64)):
        pair, which = divmod(put % 32, 2)
        assert tiles[output // 32, put // 32, 0, output % 32 // 16, pair, output % 16, which] == weight[output, put]
    near, rest = packed_weight(weight / 3).unbind(dim=2)
    assert torch.equal(near, packed_weight((weight / 3).bfloat16())[:, :, 0])
    assert (rest.abs() <= near.abs() * 2**-8).all()


def test_threads_change_nothing() -> None:
    inputs, weight, bias, _ = tensors(torch.float32, (1_000, 128, 96))
    expected, before = PackedLinear(weight, bias)(pack(inputs)), torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert torch.equal(PackedLinear(weight, bias)(pack(inputs)), expected)
    finally:
        torch.set_num_threads(before)


def test_where_it_fits() -> None:
    assert packed_linear.fits(512, 2048)
    assert not packed_linear.fits(512, 2049)


def test_what_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packed_linear.work()
    for broken in (lambda _, inputs: torch.zeros(inputs.rows, 160), lambda *_: 1 / 0):
        packed_linear.work.cache_clear()
        monkeypatch.setattr(PackedLinear, "__call__", broken)
        assert not packed_linear.work()
    packed_linear.work.cache_clear()


def test_on_a_processor_without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba compiles for another one there; nothing of tiles is tried."""
    program = "from encoders import amx, packed_linear; print(amx.allowed('amx-bf16'), packed_linear.fits(512))"
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_threads_whose_memory_comes_from_one_place_have_room_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of them frees, the next one gets; glibc's threads have places of their own otherwise."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    program = "from encoders import packed_linear; print(packed_linear.fits(512))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"]


def test_machine_code_is_kept_for_the_next_process(tmp_path: Path) -> None:
    """All of it: a second process writes nothing."""
    program = (
        "from encoders import packed_linear, path_attention; assert packed_linear.work() and path_attention.work()"
    )
    program = f"from encoders import amx; assert amx.allowed('amx-bf16'); {program}"
    kept = []
    for _ in range(2):
        surroundings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", program], env=surroundings, check=True)
        kept.append(sorted(path.name for path in tmp_path.rglob("*.nbc")))
    assert kept[0] == kept[1] != []


def test_room_is_for_whole_blocks() -> None:
    packed = Packed.empty(33, 64, 2)
    assert packed.blocks.shape == (2, 2, 2, SIDE, SIDE)
    assert packed.unpacked().shape == (33, 64)
