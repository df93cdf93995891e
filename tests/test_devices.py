"""Which devices are computed on, seen without a GPU: two are made up, of which the second is too old for this torch."""

from typing import Any

import pytest
import torch

from encoders import loading
from encoders.errors import EncoderError
from encoders.loading import pick_device, pick_devices, pick_precision
from encoders.presets import Precision

TOO_OLD = "CUDA error: no kernel image is available for execution on the device\nCompile with `TORCH_USE_CUDA_DSA`."


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two GPUs of a new kind."""
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: (9, 0))
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape))
    return monkeypatch


@pytest.fixture
def one_old(two: pytest.MonkeyPatch) -> None:
    """The second of them takes memory, and runs nothing."""
    ones = torch.ones

    def refusing(*shape: int, device: str) -> Any:
        if device == "cuda:1":
            raise RuntimeError(TOO_OLD)
        return ones(*shape, device=device)

    two.setattr(torch, "ones", refusing)
    two.setattr(torch.cuda, "get_device_capability", lambda name: (5, 0) if name == "cuda:1" else (9, 0))


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("auto", ["cuda:0", "cuda:1"]),
        ("cuda", ["cuda:0", "cuda:1"]),
        ("cuda:1", ["cuda:1"]),
        ("cuda:1, cuda:0", ["cuda:1", "cuda:0"]),
        ("cuda:0,cuda:0", ["cuda:0"]),
        ("cuda:1,cuda", ["cuda:1", "cuda:0"]),
        ("cpu,cpu:0", ["cpu"]),
        ("mps:0", ["mps:0"]),
    ],
)
@pytest.mark.usefixtures("two")
def test_every_device_once(asked: str, got: list[str]) -> None:
    assert pick_devices(asked) == got


@pytest.mark.usefixtures("two")
def test_a_number_that_there_is_not() -> None:
    for pick in (pick_device, pick_devices):
        with pytest.raises(EncoderError, match="--device cuda:2: torch sees 2 CUDA devices here, numbered from 0"):
            pick("cuda:2")


@pytest.mark.usefixtures("one_old")
@pytest.mark.parametrize("asked", ["cuda:1", "cuda", "auto"])
def test_a_gpu_that_torch_cannot_use(asked: str) -> None:
    with pytest.raises(
        EncoderError, match=r"compute on cuda:1: CUDA error: no kernel .* on the device; use --device cpu"
    ):
        pick_devices(asked)
    assert pick_devices("cuda:0") == ["cuda:0"]


def test_no_gpu_for_whoever_leaves_it_open(two: pytest.MonkeyPatch) -> None:
    def full(*_: int, device: str) -> Any:
        raise RuntimeError(f"CUDA out of memory on {device}.")

    two.setattr(torch, "ones", full)
    with pytest.raises(EncoderError, match="--device auto: torch cannot compute on cuda: CUDA out of memory"):
        pick_device("auto")


@pytest.mark.usefixtures("one_old")
@pytest.mark.parametrize(
    ("devices", "got"),
    [(["cuda:0"], Precision.BF16), (["cuda:0", "cuda:1"], Precision.FP32), (["cuda:0", "cpu"], Precision.FP32)],
)
def test_all_devices_compute_alike(devices: list[str], got: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "has", lambda *_: False)  # the processor
    assert pick_precision(Precision.AUTO, *devices) is got
