"""That everything a network needs is where the network is, seen without a GPU.

torch's meta device has shapes but no numbers, and refuses, as a GPU does, to compute with what lies in the processor's
memory. Here it stands for a GPU: what is brought back from it is made up, the way there is the real one.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from test_clip_text import CAUSAL, PADDED, network_of
from test_feature_map import noise
from test_masked_attention import random_shares
from test_towers import CONVOLUTIONAL, OPEN_CLIP, TIMM_ATTENTION, TIMM_TOKEN, shrunk
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from encoders import clip_text
from encoders.attention import METHODS
from encoders.clip_text import ClipText
from encoders.dense import EncoderConfig, clip_vectors, load_encoders
from encoders.identity import identify
from encoders.presets import CLIP_TRUNK, UNTRAINED, DenseMethod, Precision
from encoders.weights import ClipSource, clip_tokenizer, load_clip

FAR = "meta"
MOVES = {torch.ops.aten.copy_, torch.ops.aten._to_copy}
INDEXED = {torch.ops.aten.index, torch.ops.aten.index_put_}
"""A GPU takes indices from anywhere."""


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, as GPUs do; the meta device by itself lets some pass.

    And copies that nobody waits for: Apple's GPUs read memory then that may have been given to something else.
    """

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Called for every operation."""
        checked = (arguments[0], *arguments[2:]) if function.overloadpacket in INDEXED else arguments
        assert not (options or {}).get("non_blocking"), f"{function} that nobody waits for"
        tensors = [each for each in tree_leaves((checked, options)) if isinstance(each, torch.Tensor) and each.ndim]
        devices = {each.device for each in tensors}
        assert len(devices) < 2 or function.overloadpacket in MOVES, f"{function} of {devices}"
        return function(*arguments, **(options or {}))


@pytest.fixture(autouse=True)
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Numbers for what comes back, ones, and no for every question; all of it in this thread, which is watched."""

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        return torch.ones(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor

    there = torch.Tensor.__bool__
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which this device does not have
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: not tensor.is_meta and there(tensor))
    monkeypatch.setattr(clip_text, "in_thread_of", lambda _, work: work())
    with OneDevice():
        yield


def test_what_lies_elsewhere_is_refused() -> None:
    """Without this the other tests would show nothing."""
    far, near = torch.ones(3, 3, device=FAR), torch.ones(3, 3)
    for wrong in (lambda: far + near, lambda: far @ near, lambda: far.masked_fill_(near > 0, 1)):
        with pytest.raises((AssertionError, RuntimeError), match="device"):
            wrong()
    with pytest.raises(TypeError, match="meta"):
        far.numpy()
    assert (far * near.sum()).is_meta
    assert far[torch.arange(2)].is_meta
    with pytest.raises(AssertionError, match="waits"):
        near.to(FAR, non_blocking=True)
    assert near.to(FAR).is_meta


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("name", [*CAUSAL, *PADDED])
def test_captions(name: str, precision: Precision) -> None:
    family = {**CAUSAL, **PADDED}[name]
    clip = network_of(
        family, {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3, **family.text}
    )
    encoder = ClipText(clip, family.tokenizer, (FAR,), precision)
    assert encoder.encode(["a dog", "a dog on a beach", "two cats"]).shape == (3, encoder.dimension)


@pytest.mark.parametrize("name", list(PADDED))
def test_an_image_tower_takes_no_memory_where_captions_are_read(name: str) -> None:
    def copied(_: object) -> None:
        raise AssertionError("it was copied")

    family = PADDED[name]
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3, **family.text}
    clip = network_of(family, text)
    clip.network.visual.__deepcopy__ = copied
    assert ClipText(clip, family.tokenizer, (FAR,)).encode(["a dog"]).shape[0] == 1
    assert not next(clip.network.visual.parameters()).is_meta


def test_weights_are_read_before_they_go_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of an image tower never do, and the digest of the others needs none of them back."""
    monkeypatch.setattr(clip_text, "pick_devices", lambda _: [FAR])
    source = ClipSource.parse(UNTRAINED)
    far, near = ClipText.from_pretrained(source, "cuda"), identify(load_clip(source), clip_tokenizer(source))
    assert far.identity.text_digest == near.text_digest


@pytest.mark.parametrize("name", [OPEN_CLIP[0], *TIMM_TOKEN, TIMM_ATTENTION[0], *CONVOLUTIONAL[:2]])
def test_pictures(name: str) -> None:
    picture = noise(100, 150)
    clip = clip_vectors(shrunk(name), short_side=96, device=FAR)
    rows, cols = clip.grid_of(picture)
    assert clip.embed(picture).shape == (rows, cols, clip.dimension)
    assert clip.embed_whole(picture).shape == (clip.dimension,)
    assert clip.embed_segments(picture, random_shares(3, (rows, cols))).shape == (3, clip.dimension)


@pytest.mark.parametrize(
    ("name", "dino", "window"),
    [(OPEN_CLIP[0], UNTRAINED, None), (OPEN_CLIP[0], UNTRAINED, 96), (CONVOLUTIONAL[0], CLIP_TRUNK, None)],
)
def test_two_networks(name: str, dino: str, window: int | None) -> None:
    config = EncoderConfig(dino=dino, dense=DenseMethod.PROXY, window=window, short_side=96, device=FAR)
    encoders, picture = load_encoders(shrunk(name), config), noise(100, 150)
    grid = encoders.features.embed(picture).shape[:2]
    assert encoders.dense.embed(picture).shape == (*grid, encoders.clip.dimension)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [OPEN_CLIP[0], TIMM_TOKEN[0], TIMM_ATTENTION[0]])
def test_rewritten_blocks(name: str, method: DenseMethod) -> None:
    clip = clip_vectors(shrunk(name), method, short_side=96, device=FAR)
    assert clip.embed(noise(100, 150)).shape == (*clip.grid_of(noise(100, 150)), clip.dimension)
