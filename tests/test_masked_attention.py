"""Masked attention with global subtraction against whole attention maps, one row at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_clip_dense import (
    HEADS,
    PATCH,
    PIXELS,
    WIDTH,
    Grid,
    SlowBlock,
    picture_of,
    slow_blocks,
    slow_read,
    slow_tokens,
    softmax,
    tower,
    unit,
)

from encoders import clip_dense
from encoders.clip_dense import ClipDense
from encoders.masked_attention import attend, subtraction
from encoders.pixels import to_network_input

Array = NDArray[np.float64]
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def random_shares(count: int, grid: Grid, seed: int = 0) -> NDArray[np.float32]:
    """Soft masks: whole cells, cells cut by an outline and cells without."""
    return np.random.default_rng(seed).choice([0.0, 0.0, 0.2, 0.7, 1.0], (count, *grid)).astype(np.float32)


# ---- the slow reference ------------------------------------------------------------------------------------------


def attention_map(queries: Array, keys: Array) -> Array:
    scale = queries.shape[1] ** -0.5
    return np.array([softmax(np.array([scale * (query @ key) for key in keys])) for query in queries])


def masked_map(full: Array, shares: Array) -> Array:
    return np.array([row * shares / (row * shares).sum() for row in full])


def slow_attend(query: list[Array], key: list[Array], value: list[Array], shares: Array) -> list[Array]:
    """A' V, head by head, for one segment; row 0 is the class token's."""
    full = [attention_map(q, k) for q, k in zip(query, key, strict=True)]
    masked = [masked_map(each, shares) for each in full]
    cosines = [
        unit(row) @ unit(whole) for m, f in zip(masked, full, strict=True) for row, whole in zip(m, f, strict=True)
    ]
    weight = math.exp(-((np.mean(cosines) + 1) ** 2) / 5)
    return [(m - weight * f[0]) @ v for m, f, v in zip(masked, full, value, strict=True)]


def slow_masked_block(block: SlowBlock, tokens: Array, shares: Array) -> Array:
    heads = block.query_key_value(block.norm("ln_1", tokens))
    return block.with_mlp(tokens + block.projected(slow_attend(*heads, shares)))


def slow_segment(visual: Any, network_input: NDArray[np.float32], weights: NDArray[np.float32]) -> Array:
    """One segment, [D], unit."""
    tokens = slow_tokens(visual, network_input, weights.shape)
    blocks = slow_blocks(visual)
    for block in blocks[:-4]:
        tokens = block.ordinary(tokens)
    shares = np.concatenate([[1.0], weights.ravel()])
    for block in blocks[-4:]:
        tokens = slow_masked_block(block, tokens, shares)
    return unit(slow_read(visual, tokens[0]))


# ---- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 16])
def test_attention_equals_the_maps(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (2 * torch.randn(3, HEADS, 9, width, generator=generator) for _ in range(3))
    shares = torch.cat([torch.ones(3, 1), torch.from_numpy(random_shares(3, (2, 4))).flatten(1)], dim=1)
    ours = attend(query, key, value, shares, class_token=True).numpy()
    for segment in range(3):
        heads = [[head.double().numpy() for head in side[segment]] for side in (query, key, value)]
        expected = slow_attend(*heads, shares[segment].double().numpy())
        np.testing.assert_allclose(ours[segment], np.array(expected), rtol=1e-4, atol=1e-5)


def test_without_a_class_token_the_mean_row_is_subtracted() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 1, 6, 4, generator=generator) for _ in range(3))
    shares = torch.tensor([[0.0, 1.0, 0.5, 0.0, 0.2, 1.0]])
    full = attention_map(query[0, 0].double().numpy(), key[0, 0].double().numpy())
    masked = masked_map(full, shares[0].double().numpy())
    cosine = np.mean([unit(row) @ unit(whole) for row, whole in zip(masked, full, strict=True)])
    expected = (masked - math.exp(-((cosine + 1) ** 2) / 5) * full.mean(axis=0)) @ value[0, 0].double().numpy()
    ours = attend(query, key, value, shares, class_token=False)[0, 0].numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_less_is_subtracted_the_more_a_segment_is_the_picture() -> None:
    weights = subtraction(torch.tensor([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(weights.numpy(), [1.0, math.exp(-0.2), math.exp(-0.8)], rtol=1e-6)


@pytest.mark.parametrize(
    ("layers", "grid", "options"),
    [
        (6, (6, 6), {}),
        (6, (3, 5), {}),
        (5, (3, 4), {"ls_init_value": 0.5, "no_ln_pre": True}),
        (3, (3, 4), {}),  # fewer blocks than are masked
    ],
    ids=["trained", "other", "layer scale", "short"],
)
def test_segments_equal_the_formulas(layers: int, grid: Grid, options: dict[str, Any]) -> None:
    visual = tower(layers=layers, **options)
    picture = picture_of(grid)
    weights = random_shares(3, grid)
    vectors = ClipDense(visual, PIXELS, short_side=min(grid) * PATCH).embed_segments(picture, weights)
    assert (vectors.shape, vectors.dtype) == ((3, 24), np.float32)
    network_input = to_network_input(picture, *grid, PATCH, PIXELS)
    for segment in range(3):
        expected = slow_segment(visual, network_input, weights[segment].astype(np.float64))
        np.testing.assert_allclose(vectors[segment], expected, **TOLERANCE)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_patches_are_averaged_under_the_mask_where_the_tower_averages_them() -> None:
    visual = tower(layers=2, pool_type="avg", final_ln_after_pool=True)
    grid = (3, 4)
    weights = random_shares(1, grid)
    picture = picture_of(grid)
    vector = ClipDense(visual, PIXELS, short_side=48).embed_segments(picture, weights)[0]
    tokens = slow_tokens(visual, to_network_input(picture, *grid, PATCH, PIXELS), grid)
    shares = np.concatenate([[1.0], weights[0].ravel().astype(np.float64)])
    for block in slow_blocks(visual):
        tokens = slow_masked_block(block, tokens, shares)
    mean = sum(share * token for share, token in zip(shares[1:], tokens[1:], strict=True)) / shares[1:].sum()
    np.testing.assert_allclose(vector, unit(slow_read(visual, mean)), **TOLERANCE)


# ---- promises ----------------------------------------------------------------------------------------------------


def test_segments_do_not_depend_on_their_company(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ClipDense(tower(), PIXELS, short_side=64)
    picture, weights = picture_of((4, 7)), random_shares(5, (4, 7))
    together = encoder.embed_segments(picture, weights)
    assert together.tobytes() == encoder.embed_segments(picture, weights).tobytes()
    monkeypatch.setattr(clip_dense, "SEGMENTS_AT_ONCE", 2)
    np.testing.assert_allclose(encoder.embed_segments(picture, weights), together, rtol=1e-4, atol=1e-5)
    alone = np.concatenate([encoder.embed_segments(picture, each[None]) for each in weights])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


def test_the_first_blocks_run_once_for_all_segments() -> None:
    visual = tower()
    rows: list[list[int]] = [[] for _ in visual.transformer.resblocks]
    for block, seen in zip(visual.transformer.resblocks, rows, strict=True):
        block.mlp.register_forward_hook(lambda _, given, __, seen=seen: seen.append(len(given[0])))
    encoder = ClipDense(visual, PIXELS, short_side=64)
    encoder.embed_segments(picture_of((4, 5)), random_shares(10, (4, 5)))
    assert rows == [[1]] * 4 + [[8, 2]] * 4


def test_half_precision_weights_give_nearly_the_same_directions() -> None:
    picture, weights = picture_of((4, 5)), random_shares(3, (4, 5))
    full = ClipDense(tower(layers=5), PIXELS, short_side=64).embed_segments(picture, weights)
    half = ClipDense(tower(layers=5).to(torch.bfloat16), PIXELS, short_side=64).embed_segments(picture, weights)
    assert (full * half).sum(axis=1).min() > 0.98


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((2, 5, 4), np.float32), r"weights are \[2, 5, 4\], expected \[S, 4, 5\]"),
        (np.ones((0, 4, 5), np.float32), "at least 1 segment"),
        (np.full((1, 4, 5), 256, np.float32), "expected shares of 0 to 1"),
        (np.full((1, 4, 5), np.nan, np.float32), "expected shares of 0 to 1"),
        (np.stack([np.ones((4, 5)), np.zeros((4, 5))]).astype(np.float32), "segment 1 has no share"),
    ],
)
def test_weights_that_are_no_shares_are_refused(weights: NDArray[np.float32], message: str) -> None:
    encoder = ClipDense(tower(layers=1), PIXELS, short_side=64)
    with pytest.raises(ValueError, match=message):
        encoder.embed_segments(picture_of((4, 5)), weights)


def test_the_sizes_of_the_reference_are_those_of_the_tower() -> None:
    block = tower(layers=1).transformer.resblocks[0]
    assert (block.attn.embed_dim, block.attn.num_heads) == (WIDTH, HEADS)
