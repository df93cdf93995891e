"""Patch features against what timm itself computes, with small random networks."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from encoders.dinov2 import PatchFeatures, pixels_of
from encoders.errors import EncoderError, UnsupportedTower
from encoders.pixels import Interpolation, PixelSpec, to_network_input

PIXELS = PixelSpec((0.48, 0.46, 0.41), (0.23, 0.22, 0.22))
SMALL = {"img_size": 56, "depth": 2, "embed_dim": 64, "num_heads": 2}
REGISTERS = "vit_small_patch14_reg4_dinov2"
PLAIN = "vit_small_patch14_dinov2"


def network(name: str = REGISTERS, **options: Any) -> nn.Module:
    """A small timm network with every parameter random, registers and layer scales included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = timm.create_model(name, pretrained=False, **{"num_classes": 0, "dynamic_img_size": True, **options})
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


@pytest.mark.parametrize(("name", "prefix"), [(REGISTERS, 5), (PLAIN, 1)])
@pytest.mark.parametrize("grid", [(4, 4), (5, 3), (2, 8)], ids=["trained", "tall", "as many patches"])
def test_equals_timms_own_features(name: str, prefix: int, grid: tuple[int, int]) -> None:
    vit = network(name, **SMALL)
    rows, cols = grid
    picture = np.random.default_rng(1).integers(0, 256, (rows * 14, cols * 14, 3), np.uint8)
    encoder = PatchFeatures(vit, PIXELS, short_side=min(grid) * 14)
    features = encoder.embed(picture)
    assert (encoder.patch, encoder.dimension) == (14, 64)
    assert features.shape == (rows, cols, 64)
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    with torch.inference_mode():
        tokens = vit.forward_features(torch.from_numpy(to_network_input(picture, rows, cols, 14, PIXELS))[None])
    assert tokens.shape == (1, prefix + rows * cols, 64)
    for row in range(rows):
        for col in range(cols):
            expected = tokens[0, prefix + row * cols + col].numpy()
            np.testing.assert_allclose(features[row, col], expected, rtol=1e-5, atol=1e-6)


def test_features_have_passed_the_final_norm() -> None:
    vit = network(**SMALL)
    torch.nn.init.constant_(vit.norm.weight, 0.0)
    torch.nn.init.constant_(vit.norm.bias, 3.0)
    features = PatchFeatures(vit, PIXELS, short_side=28).embed(np.zeros((30, 30, 3), np.uint8))
    np.testing.assert_array_equal(features, 3.0)


def test_a_feature_stands_where_its_patch_is() -> None:
    # No blocks and no positions: what is left of the network sees each patch alone.
    vit = network(**SMALL)
    vit.blocks = torch.nn.Sequential()
    torch.nn.init.zeros_(vit.pos_embed)
    picture = np.zeros((42, 70, 3), np.uint8)
    picture[14:28, 42:56] = 255  # row 1, column 3
    features = PatchFeatures(vit, PIXELS, short_side=42).embed(picture)
    differs = np.abs(features - features[0, 0]).max(axis=-1) > 1e-6
    assert np.argwhere(differs).tolist() == [[1, 3]]


def test_other_transformers_of_timm_work_too() -> None:
    vit = network(
        "vit_small_patch16_dinov3", img_size=64, depth=2, embed_dim=64, num_heads=2
    )  # rotary positions, another class
    picture = np.random.default_rng(1).integers(0, 256, (48, 80, 3), np.uint8)
    features = PatchFeatures(vit, PIXELS, short_side=48).embed(picture)
    with torch.inference_mode():
        tokens = vit.forward_features(torch.from_numpy(to_network_input(picture, 3, 5, 16, PIXELS))[None])
    np.testing.assert_allclose(features.reshape(15, 64), tokens[0, 5:].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "cell"), [("vit_tiny_r_s16_p8_224", 32), ("vitamin_small_224", 16)])
def test_a_transformer_behind_convolutions_has_cells_of_both_strides(name: str, cell: int) -> None:
    options: dict[str, Any] = {"embed_dim": 24} if name.startswith("vit_") else {}
    vit: Any = network(name, img_size=64, depth=1, **options)
    picture = np.random.default_rng(1).integers(0, 256, (2 * cell, 3 * cell, 3), np.uint8)
    encoder = PatchFeatures(vit, PIXELS, short_side=2 * cell)
    with torch.inference_mode():
        tokens = vit.forward_features(torch.from_numpy(to_network_input(picture, 2, 3, cell, PIXELS))[None])
    assert encoder.patch == cell
    expected = tokens[0, vit.num_prefix_tokens :].reshape(2, 3, -1).numpy()
    np.testing.assert_allclose(encoder.embed(picture), expected, rtol=1e-5, atol=1e-6)


def test_same_picture_same_bytes() -> None:
    encoder = PatchFeatures(network(**SMALL), PIXELS, short_side=70)
    picture = np.random.default_rng(1).integers(0, 256, (97, 131, 3), np.uint8)
    first = encoder.embed(picture)
    encoder.embed(picture[:50])
    assert first.tobytes() == encoder.embed(picture).tobytes()


def test_the_last_picture_is_not_computed_again() -> None:
    encoder = PatchFeatures(network(**SMALL), PIXELS, short_side=56)
    runs: list[int] = []
    encoder.network.patch_embed.register_forward_hook(lambda *_: runs.append(1))
    picture = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    first = encoder.embed(picture)
    kept = first.copy()
    first[:] = 0  # the caller's own array
    np.testing.assert_array_equal(encoder.embed(picture.copy()), kept)
    assert len(runs) == 1
    picture[:30] = 0
    assert np.abs(encoder.embed(picture) - kept).max() > 0.01  # painted over: seen anew
    assert len(runs) == 2
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.embed(picture.astype(np.float32))


def test_every_network_has_its_own_pixels() -> None:
    assert pixels_of(network(**SMALL)) == PixelSpec((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), Interpolation.BICUBIC)
    augreg = network("vit_tiny_patch16_224.augreg_in21k", depth=1, embed_dim=24, num_heads=2)
    assert pixels_of(augreg) == PixelSpec((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), Interpolation.BICUBIC)
    dino = network(**SMALL)
    dino.pretrained_cfg = {**dino.pretrained_cfg, "interpolation": "bilinear"}
    assert pixels_of(dino).interpolation is Interpolation.BILINEAR
    dino.pretrained_cfg = {**dino.pretrained_cfg, "interpolation": "nearest"}
    with pytest.raises(EncoderError, match="nearest"):
        pixels_of(dino)


def test_networks_without_patch_tokens_are_refused() -> None:
    with torch.random.fork_rng():
        resnet = timm.create_model("resnet18", pretrained=False, num_classes=0)
        swin = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, depths=(1, 1), embed_dim=24)
    for other, name in ((resnet, "ResNet"), (swin, "SwinTransformer")):
        with pytest.raises(UnsupportedTower, match=f"{name} has no patch tokens"):
            PatchFeatures(other, PIXELS)


def test_a_network_of_one_size_is_refused() -> None:
    with pytest.raises(UnsupportedTower, match=r"name another timm model, such as .*dynamic_img_size=True"):
        PatchFeatures(network(dynamic_img_size=False, **SMALL), PIXELS)


def test_patches_that_are_not_square_are_refused() -> None:
    with pytest.raises(UnsupportedTower, match="14x7"):
        PatchFeatures(network(patch_size=(14, 7), **SMALL), PIXELS)


def test_a_picture_of_another_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        PatchFeatures(network(**SMALL), PIXELS).embed(np.zeros((32, 32), np.uint8))
