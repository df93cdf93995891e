"""Networks whose linear layers are packed, against the same networks by torch alone."""

import copy
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from torch import nn

from encoders import packed_network
from encoders.clip_dense import ClipDense, clip_pixels
from encoders.dinov2 import PatchFeatures, pixels_of
from encoders.packed_network import LEAST_ROWS, PACKED, PackedLayer, pack_layers
from encoders.packing import FLOATS, INTEGERS, TILES, Packing

WAYS = [
    pytest.param(TILES, 1e-4, id="tiles", marks=pytest.mark.skipif(not TILES.fits(), reason="no tiles (AMX)")),
    pytest.param(FLOATS, 1e-5, id="floats", marks=pytest.mark.skipif(not FLOATS.fits(), reason="no AVX2")),
    pytest.param(INTEGERS, 1e-3, id="integers", marks=pytest.mark.skipif(not INTEGERS.fits(), reason="no AVX2")),
]
"""And how far numbers may be off, as a share of the largest: a few times what single terms are."""

each_way = pytest.mark.parametrize(("way", "error"), WAYS)


def choose(way: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this processor would choose by itself."""
    monkeypatch.setattr(packed_network, "packing_for_pictures", lambda *widths: way if way.fits(*widths) else None)


PICTURE = np.random.default_rng(4).integers(0, 256, (70, 90, 3), np.uint8)


def dino() -> Any:
    torch.manual_seed(1)
    return timm.create_model("vit_small_patch16_224", depth=3, num_classes=0, dynamic_img_size=True).eval()


def clip() -> Any:
    torch.manual_seed(1)
    vision = {"image_size": 64, "layers": 3, "width": 128, "head_width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 99, "width": 64, "heads": 1, "layers": 1}
    return open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text).visual.eval()


@each_way
def test_patch_features_stay_what_they_are(way: Packing, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(way, monkeypatch)
    network = dino()
    own = PatchFeatures(copy.deepcopy(network), pixels_of(network), short_side=64).embed(PICTURE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pack_layers(network)
    found = PatchFeatures(network, pixels_of(network), short_side=64).embed(PICTURE)
    assert found.any()
    assert not np.array_equal(found, own), "nothing was multiplied as packed"
    np.testing.assert_allclose(found, own, atol=2 * error * np.abs(own).max())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@each_way
def test_so_do_clips_dense_vectors(way: Packing, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(way, monkeypatch)
    visual = clip()
    own = ClipDense(copy.deepcopy(visual), clip_pixels(visual), short_side=64)
    expected, whole = own.embed(PICTURE), own.embed_whole(PICTURE)
    pack_layers(visual)
    tower = ClipDense(visual, clip_pixels(visual), short_side=64)
    assert hasattr(visual.transformer.resblocks[0].attn, PACKED)
    found = tower.embed(PICTURE)
    assert not np.array_equal(found, expected), "nothing was multiplied as packed"
    np.testing.assert_allclose(found, expected, atol=error)
    np.testing.assert_allclose(tower.embed_whole(PICTURE), whole, atol=error)


@each_way
def test_what_torch_does_itself(way: Packing, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients, other precisions and few rows."""
    choose(way, monkeypatch)
    torch.manual_seed(2)
    layer = nn.Linear(384, 256, bias=False)
    network = nn.Sequential(layer, nn.Linear(256, 7))
    weight = layer.weight
    pack_layers(network)
    assert type(layer) is PackedLayer
    assert type(network[1]) is nn.Linear, "its outputs fill no block"
    rows = torch.randn(3, 40, 384)
    exact = rows @ weight.T
    assert torch.equal(layer(rows), exact)
    assert layer(rows).requires_grad
    with torch.inference_mode():
        found = layer(rows)
        assert found.shape == exact.shape
        assert not torch.equal(found, exact)
        torch.testing.assert_close(found, exact, atol=error, rtol=0)
        few = rows[0, : LEAST_ROWS - 1]
        assert torch.equal(layer(few), few @ weight.T)


def test_where_none_gains_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_network, "packing_for_pictures", lambda *_: None)
    network = dino()
    pack_layers(network)
    assert not any(isinstance(module, PackedLayer) or hasattr(module, PACKED) for module in network.modules())
