"""Every family of image towers that open_clip knows, shrunk, with random weights, at sizes it was not made for."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from functools import cache
from threading import Barrier, BrokenBarrierError
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from convolutional import settled
from numpy.typing import NDArray
from open_clip.model import _build_vision_tower
from test_dinov2 import SMALL, network
from test_feature_map import noise
from test_masked_attention import attention_map, masked_map, random_shares
from timm.models.eva import Eva
from torch import nn

from encoders.attention import METHODS
from encoders.clip_dense import ClipDense, clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.dense import clip_vectors
from encoders.dinov2 import PatchFeatures, pixels_of
from encoders.errors import UnsupportedTower
from encoders.pixels import PixelSpec, to_network_input
from encoders.presets import DenseMethod
from encoders.proxy import ProxyDense
from encoders.tower import tower_of

LAYERS = 2
PIXELS = PixelSpec((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

OPEN_CLIP = ["ViT-B-16", "ViT-B-32", "ViT-L-14", "ViT-H-14", "ViT-L-14-CLIPA"]
TIMM_TOKEN = ["EVA02-B-16", "EVA02-E-14", "MobileCLIP-B"]
TIMM_ATTENTION = ["ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "PE-Core-T-16-384"]
TIMM_AVERAGE = ["vit_medium_patch16_gap_256"]
TRANSFORMERS = [*OPEN_CLIP, *TIMM_TOKEN, *TIMM_ATTENTION, *TIMM_AVERAGE]
CONVOLUTIONAL = ["convnext_base", "MobileCLIP-S1", "MobileCLIP-S2"]


def shrunk(name: str) -> nn.Module:
    """open_clip's image tower by its name, two blocks deep, no gain neutral and no bias zero."""
    return deepcopy(built(name))  # a tower is changed by whoever takes it over


@cache
def built(name: str) -> nn.Module:
    config = deepcopy(open_clip.get_model_config(name))
    vision = config["vision_cfg"]
    if isinstance(vision.get("layers"), int):
        vision["layers"] = LAYERS
    with torch.random.fork_rng():
        torch.manual_seed(0)
        visual: Any = slim_eva(config) if name == "EVA02-E-14" else _build_vision_tower(config["embed_dim"], vision)
        if hasattr(visual, "trunk") and hasattr(visual.trunk, "blocks"):
            visual.trunk.blocks = visual.trunk.blocks[:LAYERS]
        if name in CONVOLUTIONAL:
            return settled(visual)
        with torch.no_grad():
            for label, parameter in visual.named_parameters():
                if parameter.ndim == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
                elif "pos" not in label:
                    parameter.normal_(std=parameter[0].numel() ** -0.5)  # patches that differ stay different
    return visual.eval()


def slim_eva(config: dict[str, Any]) -> Any:
    """EVA02-E-14 has four thousand million weights: its kind of blocks in a small trunk, with patches of 16."""
    visual: Any = _build_vision_tower(config["embed_dim"], open_clip.get_model_config("EVA02-B-16")["vision_cfg"])
    sizes: dict[str, Any] = {"patch_size": 16, "embed_dim": 48, "num_heads": 3, "depth": LAYERS}
    visual.trunk = Eva(**sizes, use_post_norm=True, global_pool="token", num_classes=config["embed_dim"])
    return visual


def outlines() -> PatchFeatures:
    vit = network(**SMALL)
    return PatchFeatures(vit, pixels_of(vit), short_side=70)


def check_everything(encoder: ClipDense | ClipFeatureMap, picture: NDArray[np.uint8], dimension: int) -> None:
    """Shapes and finite, different values from every method that a tower must serve."""
    rows, cols = encoder.grid_of(picture)
    dense = encoder.embed(picture)
    whole = encoder.embed_whole(picture)
    segments = encoder.embed_segments(picture, np.clip(random_shares(3, (rows, cols)) + 0.01, 0, 1))
    proxy = ProxyDense(encoder, outlines(), window=96).embed(picture)
    assert dense.shape == (rows, cols, dimension)
    assert whole.shape == (dimension,)
    assert segments.shape == (3, dimension)
    assert proxy.shape == (*outlines().embed(picture).shape[:2], dimension)
    for vectors in (dense, whole, segments, proxy):
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
        assert np.abs(vectors).max() > 1e-4
    assert (np.ptp(dense.reshape(-1, dimension), axis=0) > 0).any()
    np.testing.assert_allclose(np.linalg.norm(segments, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", [*TRANSFORMERS, *CONVOLUTIONAL])
def test_every_family_serves_every_method(name: str) -> None:
    visual = shrunk(name)
    dimension = open_clip.get_model_config(name)["embed_dim"]
    encoder = clip_vectors(visual, short_side=96)
    assert isinstance(encoder, ClipFeatureMap if name in CONVOLUTIONAL else ClipDense)
    assert encoder.dimension == dimension
    check_everything(encoder, noise(100, 230), dimension)
    assert encoder.embed(noise(230, 100)).shape[0] > encoder.embed(noise(230, 100)).shape[1]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_every_transformer_can_be_rewritten(name: str) -> None:
    visual = shrunk(name)
    picture = noise(96, 128)
    vectors = [ClipDense(visual, PIXELS, method, short_side=96).embed(picture) for method in METHODS]
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    preferred = clip_vectors(visual, short_side=96).method
    assert preferred == (DenseMethod.MASKCLIP if name in TIMM_ATTENTION else DenseMethod.GEM).value


@pytest.mark.parametrize("name", [*TRANSFORMERS, *CONVOLUTIONAL])
def test_the_whole_picture_is_what_encode_image_says_at_the_trained_size(name: str) -> None:
    visual = shrunk(name)
    size = open_clip.get_model_config(name)["vision_cfg"]["image_size"]
    picture = noise(size, size)
    with torch.inference_mode():  # before anything told the tower to take other sizes
        patch = size  # one "patch": the very pixels
        said = visual(torch.from_numpy(to_network_input(picture, 1, 1, patch, PIXELS))[None])[0].numpy()
    if name in CONVOLUTIONAL:
        encoder: Any = ClipFeatureMap(visual, PIXELS, output_stride=None, short_side=size)
    else:
        encoder = ClipDense(visual, PIXELS, short_side=size)
    rows, cols = encoder.grid_of(picture)
    assert (rows * encoder.patch, cols * encoder.patch) == (size, size)
    np.testing.assert_allclose(encoder.embed_whole(picture), said / np.linalg.norm(said), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*TIMM_TOKEN, *TIMM_ATTENTION, *TIMM_AVERAGE])
def test_blocks_taken_apart_are_timms_own_at_other_sizes(name: str) -> None:
    visual: Any = shrunk(name)
    tower = tower_of(visual)
    network_input = torch.from_numpy(to_network_input(noise(96, 160), 6, 10, 16, PIXELS))[None]
    with torch.inference_mode():
        stream = tower.enter(network_input, (6, 10))
        ours = visual.trunk.norm(stream.leaving)
        torch.testing.assert_close(ours, visual.trunk.forward_features(network_input), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tower.read_whole(stream.leaving), visual(network_input), rtol=1e-4, atol=1e-5)


def test_rotary_positions_are_those_of_a_tower_made_for_the_size() -> None:
    made_for_it, visual = shrunk("EVA02-B-16"), shrunk("EVA02-B-16")
    made_for_it.trunk.set_input_size((96, 160))
    network_input = torch.from_numpy(to_network_input(noise(96, 160), 6, 10, 16, PIXELS))[None]
    with torch.inference_mode():
        tower = tower_of(visual)
        for size, grid in (((224, 224), (14, 14)), ((96, 160), (6, 10))):  # the second after another grid
            resized = nn.functional.interpolate(network_input, size)
            whole = tower.read_whole(tower.enter(resized, grid).leaving)
        torch.testing.assert_close(whole, made_for_it(network_input), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["EVA02-B-16", "PE-Core-T-16-384"])
def test_rotary_positions_are_a_pictures_own_where_threads_see_several(name: str) -> None:
    visual: Any = shrunk(name)
    encoder = ClipDense(visual, PIXELS, short_side=64)
    wide, high = noise(64, 96), noise(96, 64)  # as many patches, so that nothing else would tell
    alone = [encoder.embed_whole(picture) for picture in (wide, high)]
    meeting, place = Barrier(2), visual.trunk._pos_embed

    def place_together(patches: Any) -> Any:
        with suppress(BrokenBarrierError):
            meeting.wait(timeout=1)
        return place(patches)

    visual.trunk._pos_embed = place_together
    with ThreadPoolExecutor(2) as pool:
        beside = list(pool.map(encoder.embed_whole, (wide, high)))
    np.testing.assert_allclose(beside, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "PE-Core-T-16-384"])
def test_a_patch_passes_an_attentional_pool_alone(name: str) -> None:
    visual: Any = shrunk(name)
    vectors = ClipDense(visual, PIXELS, DenseMethod.MASKCLIP, short_side=64).embed(noise(64, 80))
    network_input = torch.from_numpy(to_network_input(noise(64, 80), 4, 5, 16, PIXELS))[None]
    pool = visual.trunk.attn_pool
    with torch.inference_mode():
        tokens = visual.trunk.forward_features(network_input)[0, visual.trunk.num_prefix_tokens :]
        for number, token in enumerate(tokens):
            alone = pool(token[None, None])  # the softmax over one key is 1, so this is its value and what follows
            by_value = pool.proj(pool.kv(token)[len(token) :])
            by_value = by_value + pool.mlp(pool.norm(by_value))
            torch.testing.assert_close(alone[0], by_value, rtol=1e-4, atol=1e-5)
            expected = visual.head(visual.trunk.head(visual.trunk.fc_norm(alone)))[0].numpy()
            np.testing.assert_allclose(vectors[number // 5, number % 5], expected, rtol=1e-3, atol=1e-5)


def test_an_attentional_pool_looks_through_the_mask() -> None:
    visual: Any = shrunk("ViT-B-16-SigLIP")
    visual.trunk.blocks = nn.Sequential(visual.trunk.blocks[0])
    picture, weights = noise(48, 64), random_shares(1, (3, 4))
    tower = tower_of(visual)
    vector = ClipDense(visual, PIXELS, short_side=48).embed_segments(picture, weights)[0]
    network_input = torch.from_numpy(to_network_input(picture, 3, 4, 16, PIXELS))[None]
    shares = weights.ravel().astype(np.float64)
    with torch.inference_mode():
        stream = tower.enter(network_input, (3, 4))
        block, tokens = stream.blocks[0], stream.before(0)
        sides = block.query_key_value(block.normed(tokens))
        heads = torch.from_numpy(np.array(slow_heads(*(side[0].double().numpy() for side in sides), shares)))[None]
        tokens = block.mlp(tokens + block.joined(heads.float()))
        normed, pool = visual.trunk.norm(tokens)[0], visual.trunk.attn_pool
        count = pool.num_heads
        query = pool.q(pool.latent)[0].reshape(1, count, -1).transpose(0, 1).double().numpy()
        key, value = pool.kv(normed).reshape(12, 2, count, -1).permute(1, 2, 0, 3).double().numpy()
        mixed = np.concatenate(slow_heads(query, key, value, shares), axis=1)
        leaving = pool.proj(torch.from_numpy(mixed).float())
        expected = visual.head(leaving + pool.mlp(pool.norm(leaving)))[0].numpy()
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), rtol=1e-3, atol=1e-4)


def slow_heads(
    query: NDArray[np.float64], key: NDArray[np.float64], value: NDArray[np.float64], shares: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """A' V head by head, the mean row standing for the class token's."""
    full = [attention_map(q, k) for q, k in zip(query, key, strict=True)]
    masked = [masked_map(each, shares) for each in full]
    cosines = [
        row @ whole / np.linalg.norm(row) / np.linalg.norm(whole)
        for m, f in zip(masked, full, strict=True)
        for row, whole in zip(m, f, strict=True)
    ]
    weight = np.exp(-((np.mean(cosines) + 1) ** 2) / 5)
    return [(m - weight * f.mean(axis=0)) @ v for m, f, v in zip(masked, full, value, strict=True)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("RN50", "open_clip's ModifiedResNet"),
        ("coca_ViT-B-32", "a VisionTransformer with attentional pooling"),
        ("vit_relpos_medium_patch16_cls_224", "around a VisionTransformerRelPos, which has no blocks or takes one"),
        ("swin_base_patch4_window7_224", "SwinTransformer gives no features"),
    ],
)
def test_other_towers_are_refused_by_what_they_are(name: str, found: str) -> None:
    with pytest.raises(UnsupportedTower, match=rf"the vision tower is.*{found}.*ViT-B-16-SigLIP"):
        clip_vectors(shrunk(name))


def test_blocks_that_work_otherwise_are_found_by_trying() -> None:
    visual: Any = shrunk("ViT-B-16-SigLIP")
    for block in visual.trunk.blocks:
        block.attn.scale = -block.attn.scale  # nothing says so by its name
        block.attn.fused_attn = False
    with pytest.raises(UnsupportedTower, match="whose blocks work otherwise"):
        clip_vectors(visual)


def test_pixels_are_the_towers_own() -> None:
    visual = shrunk("ViT-B-16-SigLIP")
    assert clip_pixels(visual).mean == clip_vectors(visual, short_side=64)._pixels.mean
