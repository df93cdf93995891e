"""Networks with their norms inside their convolutions, against the same networks as timm made them."""

from typing import Any

import numpy as np
import pytest
import torch
from convolutional import settled, timm_network
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from encoders.dense import EncoderConfig, load_encoders
from encoders.feature_map import FeatureMap
from encoders.folded_network import folded
from encoders.pixels import PixelSpec
from encoders.presets import CLIP_TRUNK
from encoders.weights import ClipSource, load_clip

PROBE = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(3))
PICTURE = np.random.default_rng(5).integers(0, 256, (90, 130, 3), np.uint8)


def map_of(network: Any, pictures: Tensor) -> Tensor:
    with torch.inference_mode():
        return network.forward_features(pictures)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18", "efficientnet_b0", "mobileone_s0", "repvit_m0_9"])
def test_a_folded_network_says_the_same(name: str) -> None:
    network = timm_network(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    quick = folded(network, PROBE)
    assert quick is not network
    assert norms(quick) < norms(network)
    other = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    wanted = map_of(network, other)
    torch.testing.assert_close(map_of(quick, other), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet18"])
def test_no_norm_is_left(name: str) -> None:
    assert norms(timm_network(name)) > 10
    assert not norms(folded(timm_network(name), PROBE))


def test_a_network_without_such_norms_stays_what_it_is() -> None:
    network = timm_network("convnext_atto")
    assert folded(network, PROBE) is network


class Twice(nn.Module):
    """Convolutions that are asked for more than what a norm makes of them."""

    def __init__(self, *, again: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.behind = nn.Conv2d(8, 8, 3, padding=1), BatchNormAct2d(8)
        self.again = again

    def forward(self, pictures: Tensor) -> Tensor:
        return self.forward_features(pictures)

    def forward_features(self, pictures: Tensor) -> Tensor:
        plain = self.first(pictures)
        hidden = self.norm(plain)
        for _ in range(2 if self.again else 1):
            hidden = self.behind(self.second(hidden))
        return hidden if self.again else hidden + plain


def test_where_folding_would_change_what_is_said_nothing_is_folded() -> None:
    """The first convolution is also added behind the norms."""
    network = settled(Twice(again=False))
    assert folded(network, PROBE) is network


def test_what_runs_twice_is_left_alone() -> None:
    network = settled(Twice(again=True))
    quick = folded(network, PROBE)
    assert isinstance(quick.norm, nn.Identity)
    assert isinstance(quick.behind, BatchNormAct2d)
    torch.testing.assert_close(map_of(quick, PROBE), map_of(network, PROBE), rtol=1e-4, atol=1e-5)


def test_feature_maps_are_made_by_it() -> None:
    encoder = FeatureMap(timm_network("mobilenetv2_100"), PixelSpec((0.5,) * 3, (0.2,) * 3), short_side=64)
    own = encoder.embed(PICTURE)
    encoder.fold()
    found = encoder.embed(PICTURE[:, ::-1].copy()), encoder.embed(PICTURE)  # another one, so that it is seen again
    assert not np.array_equal(found[1], own), "the network that was given saw it"
    np.testing.assert_allclose(found[1], own, rtol=0, atol=1e-4 * np.abs(own).max())


def test_the_pocket_pair_has_it_and_keeps_its_digest() -> None:
    visual = load_clip(ClipSource.parse("pocket")).network.visual
    encoders = load_encoders(visual, EncoderConfig(dino=CLIP_TRUNK, short_side=96))
    assert isinstance(encoders.features, FeatureMap)
    assert not norms(encoders.features._runs)
    assert norms(encoders.features.network)
    again = load_encoders(load_clip(ClipSource.parse("pocket")).network.visual, EncoderConfig(dino=CLIP_TRUNK))
    assert encoders.digest == again.digest
