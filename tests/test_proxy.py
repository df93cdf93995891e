"""Proxy attention against the formula, one pair of patches at a time, and windows against the picture at once."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from convolutional import timm_tower
from numpy.typing import NDArray
from test_clip_dense import PATCH, PIXELS, Grid, picture_of, slow_blocks, slow_read, slow_tokens, tower
from test_dinov2 import SMALL, network
from test_feature_map import noise

from encoders import proxy
from encoders.clip_dense import ClipDense
from encoders.clip_feature_map import ClipFeatureMap
from encoders.dense import EncoderConfig, clip_vectors, load_encoders
from encoders.dinov2 import PatchFeatures
from encoders.errors import EncoderError
from encoders.feature_map import FeatureMap
from encoders.pixels import to_network_input
from encoders.presets import CLIP_TRUNK, UNTRAINED, DenseMethod
from encoders.proxy import ProxyDense, proxy_attention, resized
from encoders.windows import windows_of

Array = NDArray[np.float64]
TOLERANCE = {"rtol": 5e-4, "atol": 5e-5}  # float32 against float64 through eight blocks


class Given:
    """A network whose features are written down beforehand."""

    patch = 14

    def __init__(self, features: NDArray[np.floating]) -> None:
        self.features = np.asarray(features, np.float32)

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.features


def clusters(rows: int, cols: int, seed: int = 0) -> NDArray[np.float32]:
    """Features of three kinds of patches with noise: cosines of both signs of S - 1.2 mean(S)."""
    random = np.random.default_rng(seed)
    kinds = random.standard_normal((3, 8))[random.integers(0, 3, (rows, cols))]
    return (kinds + 0.4 * random.standard_normal((rows, cols, 8))).astype(np.float32)


# ---- the slow reference ------------------------------------------------------------------------------------------


def slow_affinity(features: NDArray[np.floating]) -> Array:
    """A, [N, N], pair by pair."""
    patches = features.reshape(-1, features.shape[-1]).astype(np.float64)
    count = len(patches)
    cosines = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            cosines[i, j] = patches[i] @ patches[j] / math.sqrt((patches[i] @ patches[i]) * (patches[j] @ patches[j]))
    logits = (cosines - 1.2 * cosines.mean()) * 3.0
    affinity = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            if logits[i, j] >= 0 or i == j:
                affinity[i, j] = math.exp(logits[i, j])
        affinity[i] /= affinity[i].sum()
    return affinity


def slow_resized(values: Array, grid: Grid) -> Array:
    """Bilinear, cell by cell: [r, c, V] to [*grid, V]."""
    out = np.zeros((*grid, values.shape[2]))
    for row in range(grid[0]):
        for col in range(grid[1]):
            for y, share_y in slow_taps(row, values.shape[0], grid[0]):
                for x, share_x in slow_taps(col, values.shape[1], grid[1]):
                    out[row, col] += share_y * share_x * values[y, x]
    return out


def slow_taps(cell: int, given: int, wanted: int) -> list[tuple[int, float]]:
    """Which two cells of one axis a cell of another lies between, and how much it takes of each."""
    place = min(max((cell + 0.5) * given / wanted - 0.5, 0), given - 1)
    return [(int(place), 1 - (place - int(place))), (min(int(place) + 1, given - 1), place - int(place))]


def slow_values(visual: Any, network_input: NDArray[np.float32], grid: Grid) -> list[Array]:
    """Values of the last block, one [rows, cols, W / H] a head."""
    *earlier, last = slow_blocks(visual)
    tokens = slow_tokens(visual, network_input, grid)
    for block in earlier:
        tokens = block.ordinary(tokens)
    _, _, value = last.query_key_value(last.norm("ln_1", tokens))
    return [head[1:].reshape(*grid, -1) for head in value]


def slow_mixed(visual: Any, values: list[Array], features: NDArray[np.floating]) -> Array:
    """[rows, cols, D] of the features' grid: every head under one A, output projection, final norm, projection."""
    affinity = slow_affinity(features)
    heads = []
    for value in values:
        spread = slow_resized(value, features.shape[:2]).reshape(len(affinity), -1)
        heads.append(np.array([sum(a * v for a, v in zip(row, spread, strict=True)) for row in affinity]))
    last = slow_blocks(visual)[-1]
    return slow_read(visual, last.projected(heads)).reshape(*features.shape[:2], -1)


# ---- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("band", [1024, 7], ids=["at once", "in bands"])
def test_attention_equals_the_formula(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "QUERIES_AT_ONCE", band)
    features = clusters(5, 6)
    values = np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32)
    affinity = slow_affinity(features)
    left_out = (affinity == 0).sum(axis=1)
    assert 0 < left_out.min() <= left_out.max() < 29  # every patch leaves some out, and none all others
    mixed = proxy_attention(torch.from_numpy(features.reshape(30, 8)), torch.from_numpy(values))
    np.testing.assert_allclose(mixed.numpy(), affinity @ values, rtol=1e-4, atol=1e-5)


def test_a_picture_that_looks_alike_everywhere_leaves_each_patch_its_own_value() -> None:
    values = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(proxy_attention(torch.ones(6, 4), values), values)  # the formula alone: 0 / 0


def test_values_are_resized_as_the_reference_does() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4, 2))
    for grid in ((3, 4), (5, 7), (2, 3)):
        ours = resized(torch.from_numpy(values), grid).numpy()
        np.testing.assert_allclose(ours, slow_resized(values, grid), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"ls_init_value": 0.5, "no_ln_pre": True}], ids=["plain", "layer scale"])
@pytest.mark.parametrize("grid", [(4, 5), (5, 7)], ids=["same grid", "finer grid"])
def test_a_transformer_equals_the_formulas(grid: Grid, options: dict[str, Any]) -> None:
    visual = tower(layers=3, **options)
    picture = picture_of((4, 5))
    encoder = ProxyDense(ClipDense(visual, PIXELS, short_side=64), Given(clusters(*grid)))
    vectors = encoder.embed(picture)
    assert (vectors.shape, vectors.dtype) == ((*grid, encoder.dimension), np.float32)
    assert vectors.flags.c_contiguous
    assert (encoder.method, encoder.patch, encoder.dimension) == ("proxy", 14, 24)
    values = slow_values(visual, to_network_input(picture, 4, 5, PATCH, PIXELS), (4, 5))
    np.testing.assert_allclose(vectors, slow_mixed(visual, values, clusters(*grid)), **TOLERANCE)


@pytest.mark.parametrize("grid", [(4, 6), (5, 8)], ids=["same grid", "finer grid"])
def test_a_feature_map_equals_the_formulas(grid: Grid) -> None:
    clip = ClipFeatureMap(timm_tower("mobilenetv2_100"), PIXELS, short_side=64)
    picture = noise(64, 96)
    vectors = ProxyDense(clip, Given(clusters(*grid))).embed(picture)
    spread = slow_resized(clip.embed(picture).astype(np.float64), grid).reshape(-1, 8)
    affinity = slow_affinity(clusters(*grid))
    expected = np.array([sum(a * v for a, v in zip(row, spread, strict=True)) for row in affinity])
    np.testing.assert_allclose(vectors.reshape(-1, 8), expected, rtol=1e-4, atol=1e-4)


def test_it_is_made_of_both_networks() -> None:
    features = PatchFeatures(network(**SMALL), PIXELS, short_side=70)
    clip = ClipDense(tower(layers=3), PIXELS, short_side=64)
    picture = noise(97, 131)
    vectors = ProxyDense(clip, features).embed(picture)
    assert vectors.shape == (5, 7, 24)
    given = ProxyDense(clip, Given(features.embed(picture))).embed(picture)
    np.testing.assert_array_equal(vectors, given)
    np.testing.assert_array_equal(ProxyDense(clip, features).embed_whole(picture), clip.embed_whole(picture))


# ---- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "cols", "side"), [(4, 17, 4), (9, 5, 5), (4, 4, 4), (7, 7, 3), (3, 5, 9), (2, 6, 1)])
def test_windows_cover_every_cell_and_end_with_the_picture(rows: int, cols: int, side: int) -> None:
    covered = np.zeros((rows, cols), int)
    for y, x in windows_of(rows, cols, side):
        assert (y.stop - y.start, x.stop - x.start) == (min(side, rows), min(side, cols))
        assert y.stop <= rows
        assert x.stop <= cols
        covered[y, x] += 1
    assert covered.min() >= 1


@pytest.mark.parametrize("window", [112, 10_000])
def test_one_window_that_covers_everything_is_no_window(window: int) -> None:
    picture = picture_of((4, 7))
    features = Given(clusters(4, 7))
    clip = ClipDense(tower(layers=3), PIXELS, short_side=64)
    at_once = ProxyDense(clip, features).embed(picture)
    np.testing.assert_array_equal(ProxyDense(clip, features, window=window).embed(picture), at_once)


def test_windows_equal_the_formulas() -> None:
    visual = tower(layers=2)
    grid = (3, 8)
    picture = picture_of(grid)
    features = clusters(4, 10)
    vectors = ProxyDense(ClipDense(visual, PIXELS, short_side=48), Given(features), window=48).embed(picture)
    network_input = to_network_input(picture, *grid, PATCH, PIXELS)
    sums, count = [np.zeros((*grid, 16)) for _ in range(4)], np.zeros(grid)
    for left in (0, 1, 2, 3, 4, 5):  # a third of three patches further each
        seen = network_input[:, :, left * PATCH : (left + 3) * PATCH]
        for head, value in enumerate(slow_values(visual, seen, (3, 3))):
            sums[head][:, left : left + 3] += value
        count[:, left : left + 3] += 1
    values = [head / count[..., None] for head in sums]
    np.testing.assert_allclose(vectors, slow_mixed(visual, values, features), **TOLERANCE)
    at_once = ProxyDense(ClipDense(visual, PIXELS, short_side=48), Given(features)).embed(picture)
    assert np.abs(vectors - at_once).max() > 0.01


def test_windows_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="window is 0 pixels"):
        ProxyDense(ClipDense(tower(layers=1), PIXELS), Given(clusters(2, 2)), window=0)
    with pytest.raises(EncoderError, match=r"--window 64: .* by --dense own; leave --window out.* proxy"):
        load_encoders(tower(layers=1), EncoderConfig(dino=UNTRAINED, window=64))
    narrow = EncoderConfig(dino=UNTRAINED, dense=DenseMethod.PROXY, window=3 * PATCH - 1)
    least = f"--window {narrow.window}: below 3 patches of {PATCH} pixels; give at least {3 * PATCH}, .*side, 448"
    with pytest.raises(EncoderError, match=least):
        load_encoders(tower(layers=1), narrow)
    with pytest.raises(EncoderError, match=r"--window 64: this CLIP's image tower is a convolutional network"):
        load_encoders(timm_tower("mobilenetv2_100"), EncoderConfig(dino=CLIP_TRUNK, dense=DenseMethod.PROXY, window=64))


def test_a_method_given_by_its_name_is_refused_where_it_was_left_out() -> None:
    with pytest.raises(TypeError, match=r"dense is 'gem', expected one of DenseMethod\.OWN, DenseMethod\.MASKCLIP"):
        EncoderConfig(dino=UNTRAINED, dense="gem")  # type: ignore[arg-type]


# ---- promises ----------------------------------------------------------------------------------------------------


def test_each_network_sees_a_picture_once() -> None:
    vit, visual = network(**SMALL), tower(layers=3)
    runs: list[str] = []
    vit.patch_embed.register_forward_hook(lambda *_: runs.append("dino"))
    visual.conv1.register_forward_hook(lambda *_: runs.append("clip"))
    features = PatchFeatures(vit, PIXELS, short_side=56)
    clip = ClipDense(visual, PIXELS, short_side=64)
    encoder = ProxyDense(clip, features)
    picture = noise(64, 80)
    outlines = features.embed(picture)
    outlines[:] = 0  # the caller's own array
    first = encoder.embed(picture)
    encoder.embed_whole(picture)
    clip.embed_segments(picture, np.ones((1, 4, 5), np.float32))
    assert runs == ["dino", "clip"]
    encoder.embed(picture[:50])
    assert first.tobytes() == encoder.embed(picture).tobytes()
    assert np.abs(features.embed(picture)).max() > 0


def test_half_precision_weights_give_nearly_the_same_directions() -> None:
    picture = picture_of((4, 5))
    vectors = [
        ProxyDense(ClipDense(visual, PIXELS, short_side=64), Given(clusters(4, 5))).embed(picture).reshape(-1, 24)
        for visual in (tower(layers=3), tower(layers=3).to(torch.bfloat16))
    ]
    full, half = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in vectors)
    assert (full * half).sum(axis=1).min() > 0.99


def test_encoders_are_put_together_by_method() -> None:
    picture = noise(64, 96)
    asked = load_encoders(tower(layers=2), EncoderConfig(dino=UNTRAINED, dense=DenseMethod.PROXY, short_side=56))
    assert isinstance(asked.dense, ProxyDense)
    assert isinstance(asked.clip, ClipDense)
    assert asked.dense.embed(picture).shape == (*asked.features.embed(picture).shape[:2], 24)
    plain = load_encoders(tower(layers=2), EncoderConfig(dino=UNTRAINED, dense=DenseMethod.GEM, short_side=56))
    assert plain.dense is plain.clip
    with pytest.raises(EncoderError, match="--dense proxy needs another network"):
        clip_vectors(tower(layers=1), DenseMethod.PROXY)


def test_a_convolutional_tower_mixes_by_its_own_trunk() -> None:
    visual = timm_tower("mobilenetv2_100")
    config = EncoderConfig(dino=CLIP_TRUNK, dense=DenseMethod.PROXY, short_side=64)
    encoders = load_encoders(visual, config)
    assert isinstance(encoders.features, FeatureMap)
    picture = noise(64, 96)
    vectors = encoders.dense.embed(picture)
    expected = slow_affinity(encoders.features.embed(picture)) @ encoders.clip.embed(picture).reshape(-1, 8)
    np.testing.assert_allclose(vectors.reshape(-1, 8), expected, rtol=1e-3, atol=1e-4)
