"""Networks whose linear layers are multiplied in tiles, against the same networks by torch alone."""

import copy
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from torch import nn

from encoders import packed_linear, tiled_network
from encoders.clip_dense import ClipDense, clip_pixels
from encoders.dinov2 import PatchFeatures, pixels_of
from encoders.tiled_network import LEAST_ROWS, PACKED, TiledLinear, multiply_in_tiles

needs_tiles = pytest.mark.skipif(not packed_linear.fits(), reason="no tiles of bfloat16 (AMX)")

PICTURE = np.random.default_rng(4).integers(0, 256, (70, 90, 3), np.uint8)


def dino() -> Any:
    torch.manual_seed(1)
    return timm.create_model("vit_tiny_patch16_224", depth=3, num_classes=0, dynamic_img_size=True).eval()


def clip() -> Any:
    torch.manual_seed(1)
    vision = {"image_size": 64, "layers": 3, "width": 128, "head_width": 64, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 99, "width": 64, "heads": 1, "layers": 1}
    return open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text).visual.eval()


@needs_tiles
def test_patch_features_stay_what_they_are() -> None:
    network = dino()
    own = PatchFeatures(copy.deepcopy(network), pixels_of(network), short_side=64).embed(PICTURE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    multiply_in_tiles(network)
    found = PatchFeatures(network, pixels_of(network), short_side=64).embed(PICTURE)
    assert found.any()
    assert not np.array_equal(found, own), "nothing was multiplied in tiles"
    np.testing.assert_allclose(found, own, atol=2e-4 * np.abs(own).max())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@needs_tiles
def test_so_do_clips_dense_vectors() -> None:
    visual = clip()
    own = ClipDense(copy.deepcopy(visual), clip_pixels(visual), short_side=64)
    expected, whole = own.embed(PICTURE), own.embed_whole(PICTURE)
    multiply_in_tiles(visual)
    tower = ClipDense(visual, clip_pixels(visual), short_side=64)
    assert hasattr(visual.transformer.resblocks[0].attn, PACKED)
    found = tower.embed(PICTURE)
    assert not np.array_equal(found, expected), "nothing was multiplied in tiles"
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(tower.embed_whole(PICTURE), whole, atol=1e-4)


@needs_tiles
def test_what_torch_does_itself() -> None:
    """Gradients, other precisions and few rows."""
    torch.manual_seed(2)
    layer = nn.Linear(64, 96, bias=False)
    network = nn.Sequential(layer, nn.Linear(96, 7))
    weight = layer.weight
    multiply_in_tiles(network)
    assert type(layer) is TiledLinear
    assert type(network[1]) is nn.Linear, "its outputs fill no block"
    rows = torch.randn(3, 40, 64)
    exact = rows @ weight.T
    assert torch.equal(layer(rows), exact)
    assert layer(rows).requires_grad
    with torch.inference_mode():
        found = layer(rows)
        assert found.shape == exact.shape
        assert not torch.equal(found, exact)
        torch.testing.assert_close(found, exact, atol=1e-4, rtol=0)
        few = rows[0, : LEAST_ROWS - 1]
        assert torch.equal(layer(few), few @ weight.T)


def test_without_tiles_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_network, "fits", lambda *_: False)
    network = dino()
    multiply_in_tiles(network)
    assert not any(isinstance(module, TiledLinear) or hasattr(module, PACKED) for module in network.modules())
