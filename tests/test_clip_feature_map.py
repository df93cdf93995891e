"""Dense vectors of convolutional towers against open_clip's own, and which class sees what."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from convolutional import timm_network, timm_tower
from open_clip.model import set_model_preprocess_cfg
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from safetensors.torch import save_file
from test_feature_map import PIXELS, TOLERANCE, noise

from encoders.attention import METHODS
from encoders.clip_dense import ClipDense, clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.dense import clip_vectors, patch_features
from encoders.dinov2 import PatchFeatures
from encoders.errors import EncoderError, UnsupportedTower
from encoders.feature_map import FeatureMap
from encoders.pixels import Interpolation, PixelSpec, to_network_input
from encoders.presets import CLIP_TRUNK, UNTRAINED, DenseMethod


def transformer() -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VisionTransformer(
            image_size=64, patch_size=16, width=32, layers=2, heads=2, mlp_ratio=2.0, output_dim=8
        ).eval()


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "proj"),
    [("mobilenetv2_100", "linear"), ("mobilenetv2_100", "none"), ("resnet18", "linear"), ("resnet18", "")],
)
def test_the_mean_over_the_trained_grid_is_what_the_tower_gives_the_picture(name: str, proj: str) -> None:
    visual = timm_tower(name, proj=proj)
    picture = noise(64, 96)
    encoder = ClipFeatureMap(visual, PIXELS, output_stride=None, short_side=64)
    vectors = encoder.embed(picture)
    assert vectors.shape == (2, 3, encoder.dimension)
    with torch.inference_mode():
        pooled = visual(torch.from_numpy(to_network_input(picture, 2, 3, 32, PIXELS))[None])[0].numpy()
    np.testing.assert_allclose(vectors.mean(axis=(0, 1)), pooled, **TOLERANCE)
    assert vectors.std(axis=(0, 1)).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "proj", "stride"),
    [
        ("mobilenetv2_100", "linear", 16),
        ("mobilenetv2_100", "mlp", 16),
        ("convnext_atto", "linear", 16),  # a norm behind the average
        ("convnext_atto", "mlp", 16),
        ("mobilenetv4_conv_small", "", 32),  # a convolution, a norm and an activation behind the average
        ("mobilenetv4_conv_small", "none", 32),
    ],
)
def test_every_location_passes_the_head_alone(name: str, proj: str, stride: int) -> None:
    visual = timm_tower(name, proj=proj)
    encoder = ClipFeatureMap(visual, PIXELS, short_side=2 * stride)
    picture = noise(2 * stride, 3 * stride)
    vectors = encoder.embed(picture)
    assert (encoder.patch, encoder.method) == (stride, "feature-map")
    assert (vectors.shape, vectors.dtype) == ((2, 3, encoder.dimension), np.float32)
    assert vectors.flags.c_contiguous
    features = torch.from_numpy(encoder.trunk.embed(picture))
    for row in range(2):
        for col in range(3):
            with torch.inference_mode():
                alone = visual.head(visual.trunk.forward_head(features[row, col][None, :, None, None]))[0]
            np.testing.assert_allclose(vectors[row, col], alone.numpy(), **TOLERANCE)


def test_a_linear_head_by_hand() -> None:
    visual = timm_tower("mobilenetv2_100")
    encoder = ClipFeatureMap(visual, PIXELS, short_side=64)
    weight = visual.head.proj.weight.detach().numpy().astype(np.float64)  # [D, C]
    picture = noise(70, 110)
    expected = encoder.trunk.embed(picture).astype(np.float64) @ weight.T
    np.testing.assert_allclose(encoder.embed(picture), expected, **TOLERANCE)


def test_the_whole_picture_is_what_the_tower_says_itself() -> None:
    visual = timm_tower("convnext_atto", proj="mlp")  # a norm and two layers behind the average
    picture = noise(64, 96)
    whole = ClipFeatureMap(visual, PIXELS, output_stride=None, short_side=64).embed_whole(picture)
    assert (whole.shape, whole.dtype) == ((8,), np.float32)
    with torch.inference_mode():
        said = visual(torch.from_numpy(to_network_input(picture, 2, 3, 32, PIXELS))[None])[0].numpy()
    np.testing.assert_allclose(whole, said / np.linalg.norm(said), rtol=0, atol=1e-5)


def test_the_whole_picture_costs_no_second_run() -> None:
    encoder = ClipFeatureMap(timm_tower("mobilenetv2_100"), PIXELS, short_side=64)
    runs: list[int] = []
    encoder.trunk.network.conv_stem.register_forward_hook(lambda *_: runs.append(1))
    picture = noise(64, 96)
    mean = encoder.embed(picture).mean(axis=(0, 1))  # the head is linear
    np.testing.assert_allclose(encoder.embed_whole(picture), mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)
    assert len(runs) == 1


def test_a_segment_is_its_mean_less_a_share_of_the_picture() -> None:
    encoder = ClipFeatureMap(timm_tower("mobilenetv2_100"), PIXELS, short_side=64)
    picture = noise(64, 96)
    weights = np.random.default_rng(0).random((3, 4, 6)).astype(np.float32)
    weights[0] = 0
    weights[0, 1, 2] = 0.3  # a segment smaller than a cell
    vectors = encoder.embed_segments(picture, weights)
    assert (vectors.shape, vectors.dtype) == ((3, 8), np.float32)
    dense = encoder.embed(picture).astype(np.float64)
    whole = sum(dense[row, col] for row in range(4) for col in range(6)) / 24
    for segment in range(3):
        mean = sum(weights[segment, row, col] * dense[row, col] for row in range(4) for col in range(6))
        mean = mean / weights[segment].sum()
        cosine = mean @ whole / np.linalg.norm(mean) / np.linalg.norm(whole)
        expected = mean - np.exp(-((cosine + 1) ** 2) / 5) * whole
        np.testing.assert_allclose(vectors[segment], expected / np.linalg.norm(expected), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected \[S, 4, 6\]"):
        encoder.embed_segments(picture, weights[:, :3])


def test_half_precision_weights_give_nearly_the_same_directions() -> None:
    picture = noise(64, 96)
    full = ClipFeatureMap(timm_tower("resnet18"), PIXELS, short_side=64).embed(picture).reshape(-1, 8)
    half = (
        ClipFeatureMap(timm_tower("resnet18").to(torch.bfloat16), PIXELS, short_side=64).embed(picture).reshape(-1, 8)
    )
    assert half.dtype == np.float32
    cosines = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert cosines.min() > 0.99


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("resnet18", {"pool": "max"}, "around a ResNet whose head does not begin with an average"),
        (
            "resnet18",
            {"pool": "catavgmax", "proj": "none"},
            "around a ResNet whose head does not begin with an average",
        ),
        ("resnet18", {"pool": "abs_attn", "proj": ""}, "around a ResNet whose head"),
        ("mobilenetv4_conv_small", {"proj": "linear"}, "around a MobileNetV3 whose head cannot be run"),
        ("vit_tiny_patch16_224", {"pool": "max"}, "around a VisionTransformer with pooling 'max'"),
    ],
)
def test_towers_whose_locations_mean_nothing_alone_are_refused(name: str, options: dict[str, Any], found: str) -> None:
    with torch.random.fork_rng():
        visual = TimmModel(name, **{"embed_dim": 8, "image_size": 224, "pretrained": False, **options})
    with pytest.raises(UnsupportedTower, match=rf"the vision tower is open_clip's TimmModel.*{found}") as caught:
        clip_vectors(visual)
    for supported in ("ViT-B-16", "mobilenetv2_100"):
        assert supported in str(caught.value)


def test_the_refusals_of_both_classes_say_what_is_supported() -> None:
    with torch.random.fork_rng():
        plain = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=24, num_heads=2, num_classes=0)
    for build in (
        lambda: ClipFeatureMap(plain, PIXELS),
        lambda: ClipDense(plain, PIXELS),
    ):
        with pytest.raises(UnsupportedTower, match="the vision tower is timm's VisionTransformer") as caught:
            build()
        assert "VisionTransformer with square patches" in str(caught.value)
        assert "ViT-B-16-SigLIP" in str(caught.value)
        assert "TimmModel around a convolutional network with average pooling" in str(caught.value)


# --- which class sees what -------------------------------------------------------------------------------------------


def test_a_transformer_gets_gem_unless_told_otherwise() -> None:
    picture = noise(64, 80)
    by_default = clip_vectors(transformer(), short_side=64)
    assert isinstance(by_default, ClipDense)
    assert by_default.method == "gem"
    for method in METHODS:
        asked = clip_vectors(transformer(), method, short_side=64)
        assert asked.method == method.value
        plain = ClipDense(transformer(), clip_pixels(transformer()), method, short_side=64)
        assert asked.embed(picture).tobytes() == plain.embed(picture).tobytes()
    plain = ClipDense(transformer(), clip_pixels(transformer()), DenseMethod.GEM, short_side=64)
    assert by_default.embed(picture).tobytes() == plain.embed(picture).tobytes()


def test_a_convolutional_tower_takes_no_method() -> None:
    tower = clip_vectors(timm_tower("mobilenetv2_100"), short_side=64)
    assert isinstance(tower, ClipFeatureMap)
    assert (tower.method, tower.patch) == ("feature-map", 16)
    for method in METHODS:
        with pytest.raises(UnsupportedTower, match=rf"--dense {method.value}.*EfficientNet.*leave --dense out"):
            clip_vectors(timm_tower("mobilenetv2_100"), method)


def test_pixels_are_those_that_open_clip_recorded() -> None:
    visual = timm_tower("mobilenetv2_100")
    recorded = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "interpolation": "bilinear", "size": 224}
    set_model_preprocess_cfg(visual, recorded)
    pixels = PixelSpec((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), Interpolation.BILINEAR)
    picture = noise(100, 150)
    expected = ClipFeatureMap(timm_tower("mobilenetv2_100"), pixels, short_side=64).embed(picture)
    np.testing.assert_array_equal(clip_vectors(visual, short_side=64).embed(picture), expected)


def test_outlines_from_the_clips_own_network_cost_no_second_run() -> None:
    clip = clip_vectors(timm_tower("mobilenetv2_100"), short_side=64)
    assert isinstance(clip, ClipFeatureMap)
    outlines = patch_features(CLIP_TRUNK, clip, short_side=64)
    runs: list[int] = []
    clip.trunk.network.conv_stem.register_forward_hook(lambda *_: runs.append(1))
    picture, other = noise(64, 80), noise(64, 80, seed=2)
    assert outlines.embed(picture).shape == (4, 5, 1280)
    assert clip.embed(picture).shape == (4, 5, 8)
    assert len(runs) == 1
    alone = clip_vectors(timm_tower("mobilenetv2_100"), short_side=64)
    assert clip.embed(other).tobytes() == alone.embed(other).tobytes()
    assert clip.embed(picture).tobytes() == alone.embed(picture).tobytes()


def test_a_transformer_has_no_trunk_to_share() -> None:
    with pytest.raises(UnsupportedTower, match=r"--dino clip-trunk: this CLIP's image tower is a transformer"):
        patch_features(CLIP_TRUNK, clip_vectors(transformer()))
    with pytest.raises(EncoderError, match=r"--dino-checkpoint dino\.safetensors.*give --clip-checkpoint"):
        patch_features(CLIP_TRUNK, clip_vectors(timm_tower("resnet18")), Path("dino.safetensors"))


def test_outlines_by_name_are_patches_or_a_feature_map(tmp_path: Path) -> None:
    clip = clip_vectors(transformer())
    assert isinstance(patch_features(UNTRAINED, clip), PatchFeatures)
    resnet = timm_network("resnet18")
    save_file(resnet.state_dict(), tmp_path / "resnet.safetensors")
    outlines = patch_features("resnet18.a1_in1k", clip, tmp_path / "resnet.safetensors", short_side=64)
    assert isinstance(outlines, FeatureMap)
    picture = noise(64, 80)
    by_hand = FeatureMap(resnet, outlines._pixels, short_side=64)
    np.testing.assert_array_equal(outlines.embed(picture), by_hand.embed(picture))
