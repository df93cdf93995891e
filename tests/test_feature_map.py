"""Feature maps against what timm itself computes, and finer grids against the trained network run at every shift."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
from convolutional import timm_network
from numpy.typing import NDArray
from torch import nn

from encoders.dinov2 import pixels_of
from encoders.errors import UnsupportedTower
from encoders.feature_map import FeatureMap, with_stride
from encoders.pixels import PixelSpec, to_network_input

PIXELS = PixelSpec((0.48, 0.46, 0.41), (0.23, 0.22, 0.22))
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}  # float32 sums in another order through fifty layers


def noise(height: int, width: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def map_of(network: Any, network_input: torch.Tensor) -> NDArray[np.float32]:
    """What timm gives, as [rows, cols, C]."""
    with torch.inference_mode():
        return network.forward_features(network_input)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("name", "stride", "channels"),
    [("mobilenetv2_100", 32, 1280), ("resnet18", 32, 512), ("convnext_atto", 32, 320), ("mobilenetv2_100", 16, 1280)],
)
def test_equals_timms_own_map_location_by_location(name: str, stride: int, channels: int) -> None:
    network = timm_network(name)
    picture = noise(2 * stride, 3 * stride)
    encoder = FeatureMap(network, PIXELS, output_stride=stride, short_side=2 * stride)
    features = encoder.embed(picture)
    assert (encoder.patch, encoder.dimension) == (stride, channels)
    assert (features.shape, features.dtype) == ((2, 3, channels), np.float32)
    assert features.flags.c_contiguous
    same = timm_network(name, output_stride=stride)  # the seed gives it the same weights
    same.load_state_dict(network.state_dict())
    with torch.inference_mode():
        expected = same.forward_features(torch.from_numpy(to_network_input(picture, 2, 3, stride, PIXELS))[None])
    for row in range(2):
        for col in range(3):
            np.testing.assert_allclose(features[row, col], expected[0, :, row, col].numpy(), **TOLERANCE)
    assert features.std(axis=(0, 1)).max() > 0.1  # locations differ: nothing above compared zeros


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        *[(name, 16) for name in ("mobilenetv2_100", "resnet18", "convnext_atto", "mobileone_s0")],
        *[(name, 8) for name in ("mobilenetv2_100", "resnet18")],
    ],
)
def test_a_finer_grid_passes_through_the_trained_one(name: str, stride: int) -> None:
    """Locations that the trained network computes are the same numbers, those at the borders included."""
    network = timm_network(name)
    network_input = torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    coarse, fine = map_of(network, network_input), map_of(with_stride(network, stride), network_input)
    every = 32 // stride
    assert fine.shape == (4 * every, 6 * every, coarse.shape[2])
    np.testing.assert_allclose(fine[::every, ::every], coarse, **TOLERANCE)


def endless(network: nn.Module) -> nn.Module:
    """The same network on a picture whose borders touch, so that a shift of the picture only shifts the map."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
    return network


@pytest.mark.parametrize("stride", [16, 8])
def test_a_finer_grid_is_the_trained_network_at_every_shift(stride: int) -> None:
    """The slow twin, shift and stitch: the trained network sees the picture once for each phase of its grid."""
    network = timm_network("mobilenetv2_100")
    network_input = torch.randn(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    fine = map_of(endless(with_stride(network, stride)), network_input)
    endless(network)
    every = 32 // stride
    stitched = np.full_like(fine, np.nan)
    for down in range(every):
        for right in range(every):
            shifted = torch.roll(network_input, (-down * stride, -right * stride), dims=(2, 3))
            stitched[down::every, right::every] = map_of(network, shifted)
    np.testing.assert_allclose(fine, stitched, **TOLERANCE)


def test_a_finer_grid_costs_no_second_copy_of_the_weights() -> None:
    network = timm_network("mobilenetv2_100")
    ours = {name: tensor.data_ptr() for name, tensor in with_stride(network, 16).state_dict().items()}
    assert ours == {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "repvit_m0_9", "starnet_s1", "ghostnet_100"])
def test_an_architecture_without_other_strides_keeps_its_own(name: str) -> None:
    network = timm_network(name)
    assert with_stride(network, 16) is network
    encoder = FeatureMap(network, PIXELS, short_side=64)
    assert encoder.patch == 32
    assert encoder.embed(noise(64, 96)).shape == (2, 3, encoder.dimension)


def test_a_network_that_cannot_be_made_again_is_refused_or_kept() -> None:
    network = timm_network("convnext_atto", depths=(1, 1, 1, 1))
    with pytest.raises(UnsupportedTower, match=r"this ConvNeXt was made with other options than timm's convnext_atto"):
        FeatureMap(network, PIXELS)
    assert FeatureMap(network, PIXELS, output_stride=None).patch == 32
    with pytest.raises(UnsupportedTower, match="Conv2d does not say its timm name"):
        FeatureMap(nn.Conv2d(3, 8, 3), PIXELS)
    with pytest.raises(UnsupportedTower, match=r"torch's Conv2d gives no features.*mobilenetv2_100"):
        FeatureMap(nn.Conv2d(3, 8, 3), PIXELS, output_stride=None)


@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        ("vit_tiny_patch16_224", {"depth": 1}, "VisionTransformer gives no features of a picture of 128x192"),
        ("vit_tiny_patch16_224", {"depth": 1, "dynamic_img_size": True}, r"VisionTransformer gives \[1, 97, 192\] for"),
        (
            "mambaout_femto",
            {"depths": (1, 1, 1, 1)},
            r"MambaOut gives \[1, 4, 6, 288\] for.*not \[1, 288, rows, cols\]",
        ),
    ],
)
def test_networks_without_a_feature_map_are_refused(name: str, options: dict[str, Any], found: str) -> None:
    with torch.random.fork_rng():
        network = timm.create_model(name, num_classes=0, **options)
    with pytest.raises(UnsupportedTower, match=found):
        FeatureMap(network, PIXELS, output_stride=None)


def test_the_last_picture_is_not_computed_again() -> None:
    network = timm_network("mobilenetv2_100")
    encoder = FeatureMap(network, PIXELS, short_side=64)
    runs: list[int] = []
    encoder.network.conv_stem.register_forward_hook(lambda *_: runs.append(1))
    picture = noise(64, 64)
    first = encoder.embed(picture)
    kept = first.copy()
    first[:] = 0  # the caller's own array
    np.testing.assert_array_equal(encoder.embed(picture.copy()), kept)
    assert len(runs) == 1
    picture[:32] = 0
    assert np.abs(encoder.embed(picture) - kept).max() > 0.01  # painted over: seen anew
    assert len(runs) == 2
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.embed(picture.astype(np.float32))


def test_same_picture_same_bytes() -> None:
    encoder = FeatureMap(timm_network("mobilenetv2_100"), PIXELS, short_side=70)
    picture = noise(97, 131)
    first = encoder.embed(picture)
    encoder.embed(picture[:50])
    assert first.tobytes() == encoder.embed(picture).tobytes()
    tiny = FeatureMap(timm_network("mobilenetv2_100"), PIXELS, short_side=16)
    tiny.embed(picture[:16, :16])[:] = 7  # one location: nothing is transposed, so nothing is copied on the way
    assert tiny.embed(picture[:16, :16]).max() != 7


def test_pixels_come_from_the_network() -> None:
    assert pixels_of(timm_network("mobilenetv2_100")).mean == (0.485, 0.456, 0.406)
