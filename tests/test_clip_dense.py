"""Dense vectors against a slow reference: NumPy in float64, one head and one token at a time, weights by name."""

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import resize_pos_embed, set_model_preprocess_cfg
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from encoders.attention import METHODS, gem, maskclip
from encoders.blocks import OpenClipBlock, Stream, ordinary
from encoders.clip_dense import ClipDense, clip_pixels
from encoders.errors import EncoderError, UnsupportedTower
from encoders.open_clip_tower import OpenClipTower, resample_positions
from encoders.pixels import Interpolation, PixelSpec, grid_size, to_network_input
from encoders.presets import DenseMethod

PIXELS = PixelSpec((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
Array = NDArray[np.float64]
Grid = tuple[int, int]

TRAINED = (6, 6)  # patches, 96 pixels
OTHER = (4, 7)
PATCH, WIDTH, HEADS = 16, 64, 4
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}  # float32 against float64 through eight blocks


def tower(layers: int = 8, seed: int = 0, **options: Any) -> VisionTransformer:
    """A small open_clip tower in which every parameter, biases and gains included, is random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        visual = VisionTransformer(
            image_size=96, patch_size=PATCH, width=WIDTH, layers=layers, heads=HEADS, mlp_ratio=2.0, output_dim=24,
            **options,
        )  # fmt: skip
        with torch.no_grad():
            for parameter in visual.parameters():
                gain = 1.0 if parameter.ndim == 1 else 0.0
                parameter.mul_(0.7).add_(0.2 * torch.randn_like(parameter)).add_(0.3 * gain)
    return visual.eval()


def picture_of(grid: Grid, seed: int = 1) -> NDArray[np.uint8]:
    """A picture that is exactly as large as the grid, so that nothing is resampled."""
    return np.random.default_rng(seed).integers(0, 256, (grid[0] * PATCH, grid[1] * PATCH, 3), np.uint8)


def dense(visual: nn.Module, method: DenseMethod, **options: Any) -> ClipDense:
    return ClipDense(visual, PIXELS, method, **options)


# ---- the slow reference ------------------------------------------------------------------------------------------


def softmax(logits: Array) -> Array:
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def unit(vector: Array) -> Array:
    return vector / np.sqrt((vector**2).sum())


class SlowBlock:
    """One residual block by its weights; every method takes and gives [T, W] unless it says otherwise."""

    def __init__(self, weights: dict[str, Array], number: int) -> None:
        prefix = f"transformer.resblocks.{number}."
        self.weights = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}

    def linear(self, name: str, tokens: Array) -> Array:
        return tokens @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def norm(self, name: str, tokens: Array) -> Array:
        return layer_norm(tokens, self.weights[name + ".weight"], self.weights[name + ".bias"])

    def scaled(self, name: str, tokens: Array) -> Array:
        return tokens * self.weights.get(name + ".gamma", 1.0)

    def with_mlp(self, tokens: Array) -> Array:
        hidden = self.linear("mlp.c_fc", self.norm("ln_2", tokens))
        hidden = np.vectorize(lambda value: value * 0.5 * (1 + math.erf(value / math.sqrt(2))))(hidden)
        return tokens + self.scaled("ls_2", self.linear("mlp.c_proj", hidden))

    def query_key_value(self, normed: Array) -> list[list[Array]]:
        """Three lists of heads, each [T, W / H]."""
        projected = normed @ self.weights["attn.in_proj_weight"].T + self.weights["attn.in_proj_bias"]
        size = WIDTH // HEADS
        parts = (projected[:, i * WIDTH : (i + 1) * WIDTH] for i in range(3))
        return [[part[:, h * size : (h + 1) * size] for h in range(HEADS)] for part in parts]

    def projected(self, heads: list[Array]) -> Array:
        return self.scaled("ls_1", self.linear("attn.out_proj", np.concatenate(heads, axis=1)))

    def ordinary(self, tokens: Array) -> Array:
        query, key, value = self.query_key_value(self.norm("ln_1", tokens))
        scale = (WIDTH // HEADS) ** -0.5
        heads = [slow_attention(q, k, v, scale) for q, k, v in zip(query, key, value, strict=True)]
        return self.with_mlp(tokens + self.projected(heads))

    def value_path(self, tokens: Array) -> Array:
        _, _, value = self.query_key_value(self.norm("ln_1", tokens))
        return self.with_mlp(tokens + self.projected(value))

    def self_self(self, tokens: Array) -> Array:
        """What GEM adds to its second stream."""
        normed = self.norm("ln_1", tokens)
        query, key, value = self.query_key_value(normed)
        tau = np.mean([math.sqrt((token**2).sum()) for token in normed]) * (WIDTH // HEADS) ** -0.5
        heads = []
        for h in range(HEADS):
            branches = []
            for side in (value[h], key[h], query[h]):
                s = np.array([unit(token) for token in side])
                s = np.array([unit(token) for token in slow_attention(s, s, s, tau)])
                branches.append(slow_attention(s, s, value[h], tau))
            heads.append(sum(branches) / 3)
        return self.projected(heads)


def slow_attention(queries: Array, keys: Array, values: Array, scale: float) -> Array:
    rows = []
    for query in queries:
        share = softmax(np.array([scale * (query @ key) for key in keys]))
        rows.append(sum(weight * value for weight, value in zip(share, values, strict=True)))
    return np.array(rows)


def layer_norm(tokens: Array, weight: Array, bias: Array) -> Array:
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias


def positions_by_open_clip(visual: VisionTransformer, grid: Grid) -> Tensor:
    """What open_clip makes of the position embedding when it loads the weights into a tower of another size."""

    class Resized:
        visual = type("Visual", (), {"grid_size": grid})

    state = {"visual.positional_embedding": visual.positional_embedding.detach()}
    resize_pos_embed(state, Resized)
    return state["visual.positional_embedding"]


def slow_weights(visual: VisionTransformer) -> dict[str, Array]:
    return {name: w.detach().numpy().astype(np.float64) for name, w in visual.state_dict().items()}


def slow_tokens(visual: VisionTransformer, network_input: NDArray[np.float32], grid: Grid) -> Array:
    """[T, W], input of the first block."""
    weights = slow_weights(visual)
    columns = [weights["class_embedding"]]
    for row in range(grid[0]):
        for col in range(grid[1]):
            window = network_input[:, row * PATCH : (row + 1) * PATCH, col * PATCH : (col + 1) * PATCH]
            columns.append((weights["conv1.weight"] * window).sum(axis=(1, 2, 3)))
    tokens: Array = np.array(columns) + positions_by_open_clip(visual, grid).numpy().astype(np.float64)
    if "ln_pre.weight" in weights:
        tokens = layer_norm(tokens, weights["ln_pre.weight"], weights["ln_pre.bias"])
    return tokens


def slow_blocks(visual: VisionTransformer) -> list[SlowBlock]:
    return [SlowBlock(slow_weights(visual), number) for number in range(len(visual.transformer.resblocks))]


def slow_read(visual: VisionTransformer, tokens: Array) -> Array:
    """[..., W] behind the blocks to [..., D]."""
    weights = slow_weights(visual)
    tokens = layer_norm(tokens, weights["ln_post.weight"], weights["ln_post.bias"])
    return tokens @ weights["proj"] if "proj" in weights else tokens


def slow_dense(visual: VisionTransformer, method: DenseMethod, network_input: NDArray[np.float32], grid: Grid) -> Array:
    """float64 [rows, cols, D] straight from the formulas."""
    rewritten = {DenseMethod.MASKCLIP: slow_maskclip, DenseMethod.GEM: slow_gem}[method]
    tokens = rewritten(slow_blocks(visual), slow_tokens(visual, network_input, grid))
    return slow_read(visual, tokens[1:]).reshape(*grid, -1)


def slow_maskclip(blocks: list[SlowBlock], tokens: Array) -> Array:
    for block in blocks[:-1]:
        tokens = block.ordinary(tokens)
    return blocks[-1].value_path(tokens)


def slow_gem(blocks: list[SlowBlock], tokens: Array) -> Array:
    for block in blocks[:-6]:
        tokens = block.ordinary(tokens)
    second = tokens
    for block in blocks[-6:]:
        second = second + block.self_self(tokens)
        tokens = block.ordinary(tokens)
    return second


# ---- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [TRAINED, OTHER], ids=["trained", "other"])
@pytest.mark.parametrize("method", list(METHODS), ids=lambda method: method.value)
def test_equals_the_formulas(method: DenseMethod, grid: Grid) -> None:
    visual = tower()
    picture = picture_of(grid)
    encoder = dense(visual, method, short_side=min(grid) * PATCH)
    vectors = encoder.embed(picture)
    assert vectors.shape == (*grid, encoder.dimension) == (*grid, 24)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    expected = slow_dense(visual, method, to_network_input(picture, *grid, PATCH, PIXELS), grid)
    np.testing.assert_allclose(vectors, expected, **TOLERANCE)


@pytest.mark.parametrize("method", list(METHODS), ids=lambda method: method.value)
@pytest.mark.parametrize(
    "options",
    [
        {"ls_init_value": 0.5},
        {"no_ln_pre": True},
        {"pool_type": "avg", "final_ln_after_pool": True},
        {"layers": 3},  # fewer blocks than GEM rewrites
    ],
    ids=["layer scale", "no norm before", "average pooling", "short"],
)
def test_equals_the_formulas_for_every_kind_of_tower(method: DenseMethod, options: dict[str, Any]) -> None:
    visual = tower(**{"layers": 7, **options})
    grid = (3, 4)
    picture = picture_of(grid)
    vectors = dense(visual, method, short_side=3 * PATCH).embed(picture)
    expected = slow_dense(visual, method, to_network_input(picture, *grid, PATCH, PIXELS), grid)
    np.testing.assert_allclose(vectors, expected, **TOLERANCE)


@pytest.mark.parametrize("method", list(METHODS), ids=lambda method: method.value)
def test_a_tower_without_projection_keeps_its_width(method: DenseMethod) -> None:
    visual = tower(layers=2)
    visual.proj = None
    picture = picture_of((2, 3))
    encoder = dense(visual, method, short_side=2 * PATCH)
    assert encoder.dimension == WIDTH
    expected = slow_dense(visual, method, to_network_input(picture, 2, 3, PATCH, PIXELS), (2, 3))
    np.testing.assert_allclose(encoder.embed(picture), expected, **TOLERANCE)


def test_resizing_happens_before_the_network() -> None:
    visual = tower(layers=2)
    picture = np.random.default_rng(3).integers(0, 256, (150, 211, 3), np.uint8)
    grid = grid_size(150, 211, 64, PATCH)
    vectors = dense(visual, DenseMethod.MASKCLIP, short_side=64).embed(picture)
    network_input = to_network_input(picture, *grid, PATCH, PIXELS)
    np.testing.assert_allclose(vectors, slow_dense(visual, DenseMethod.MASKCLIP, network_input, grid), **TOLERANCE)


# ---- agreement with open_clip ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["batch first", "tokens first"])
@pytest.mark.parametrize("ls_init_value", [None, 0.5])
def test_the_ordinary_stream_is_open_clips_own(axes: str, ls_init_value: float | None) -> None:
    visual = tower(ls_init_value=ls_init_value)
    batch_first = visual.transformer.batch_first = axes == "batch first"
    for block in visual.transformer.resblocks:
        block.attn.batch_first = batch_first
    network_input = torch.from_numpy(to_network_input(picture_of(TRAINED), *TRAINED, PATCH, PIXELS))[None]
    tower_apart = OpenClipTower(visual)
    with torch.inference_mode():
        stream = tower_apart.enter(network_input, TRAINED)
        tokens = visual._embeds(network_input)
        for number, block in enumerate(visual.transformer.resblocks):
            if number >= len(visual.transformer.resblocks) - 6:
                torch.testing.assert_close(stream.before(number), tokens, rtol=1e-4, atol=1e-5)
            tokens = block(tokens if batch_first else tokens.transpose(0, 1))
            tokens = tokens if batch_first else tokens.transpose(0, 1)
        torch.testing.assert_close(stream.leaving, tokens, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tower_apart.read_whole(stream.leaving), visual(network_input), rtol=1e-4, atol=1e-5)


def test_methods_take_several_pictures_and_keep_them_apart() -> None:
    blocks = blocks_of(tower(layers=3))
    tokens = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    tokens[1] *= 3  # GEM's temperature is each picture's own
    with torch.inference_mode():
        for method in METHODS.values():
            together = method(Stream(blocks, tokens))
            apart = torch.cat([method(Stream(blocks, tokens[:1])), method(Stream(blocks, tokens[1:]))])
            torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_a_method_changes_something() -> None:
    blocks = blocks_of(tower(layers=2))
    tokens = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = ordinary(blocks[1], ordinary(blocks[0], tokens))
        assert (plain - maskclip(Stream(blocks, tokens))).abs().max() > 0.1
        assert (plain - gem(Stream(blocks, tokens))).abs().max() > 0.1


def blocks_of(visual: VisionTransformer) -> list[OpenClipBlock]:
    return [OpenClipBlock(block) for block in visual.transformer.resblocks]


@pytest.mark.parametrize("grid", [TRAINED, OTHER, (12, 12), (3, 20), (1, 1)])
def test_positions_are_resampled_as_open_clip_does(grid: Grid) -> None:
    visual = tower(layers=1)
    resampled = resample_positions(visual.positional_embedding.detach(), TRAINED, grid)
    torch.testing.assert_close(resampled, positions_by_open_clip(visual, grid), rtol=0, atol=0)


def test_positions_follow_the_shape_and_not_only_the_count() -> None:
    # 4x9 has as many patches as 6x6: whoever compares counts leaves the rows of the wrong grid in place.
    planes = torch.arange(6.0).repeat_interleave(6)[:, None]  # each position says its row
    positions = torch.cat([torch.full((1, 1), -7.0), planes])
    resampled = resample_positions(positions, TRAINED, (4, 9))
    assert resampled[0] == -7
    rows = resampled[1:].reshape(4, 9)
    torch.testing.assert_close(rows, rows[:, :1].expand(4, 9))
    assert (rows[1:, 0] > rows[:-1, 0]).all()


def test_positions_are_resampled_in_float32_whatever_the_weights_are() -> None:
    positions = torch.randn(37, 8, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    torch.testing.assert_close(
        resample_positions(positions, TRAINED, OTHER), resample_positions(positions.float(), TRAINED, OTHER)
    )


# ---- promises ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(METHODS), ids=lambda method: method.value)
def test_same_picture_same_bytes(method: DenseMethod) -> None:
    encoder = dense(tower(), method, short_side=80)
    picture = picture_of((5, 9))
    first = encoder.embed(picture)
    encoder.embed(picture_of(TRAINED))
    assert first.tobytes() == encoder.embed(picture).tobytes()


def runs_of(module: nn.Module) -> list[int]:
    """One entry for each time that a part of a network ran."""
    runs: list[int] = []
    module.register_forward_hook(lambda *_: runs.append(1))
    return runs


@pytest.mark.parametrize("method", list(METHODS), ids=lambda method: method.value)
def test_whatever_is_asked_about_a_picture_the_tower_sees_it_once(method: DenseMethod) -> None:
    visual = tower()
    stem, feedforward = runs_of(visual.conv1), [runs_of(block.mlp) for block in visual.transformer.resblocks]
    encoder = dense(visual, method, short_side=64)
    picture = picture_of((4, 5))
    whole, vectors = encoder.embed_whole(picture), encoder.embed(picture)
    ran = [len(stem), *map(len, feedforward)]
    assert ran[:-1] == [1] * 8  # and MaskCLIP runs the last MLP a second time, for the values
    np.testing.assert_array_equal(encoder.embed_whole(picture.copy()), whole)
    assert len(stem) == 1
    other = dense(tower(), method, short_side=64)
    np.testing.assert_array_equal(other.embed(picture), vectors)  # in whichever order
    np.testing.assert_array_equal(other.embed_whole(picture), whole)
    picture[:32] = 0
    assert np.abs(encoder.embed_whole(picture) - whole).max() > 0.01  # painted over: seen anew
    assert len(stem) == 2


def test_a_method_that_needs_two_networks_is_refused_here() -> None:
    with pytest.raises(EncoderError, match="--dense proxy needs another network"):
        dense(tower(layers=1), DenseMethod.PROXY)


# ---- the whole picture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"ls_init_value": 0.5}, {"pool_type": "avg"}, {"pool_type": "avg", "final_ln_after_pool": True}],
    ids=["class token", "layer scale", "average", "norm behind the average"],
)
def test_the_whole_picture_is_what_the_tower_says_itself(options: dict[str, Any]) -> None:
    visual = tower(layers=3, **options)
    picture = picture_of(TRAINED)
    whole = dense(visual, DenseMethod.GEM, short_side=96).embed_whole(picture)
    assert (whole.shape, whole.dtype) == ((24,), np.float32)
    with torch.inference_mode():
        said = visual(torch.from_numpy(to_network_input(picture, *TRAINED, PATCH, PIXELS))[None])[0].numpy()
    np.testing.assert_allclose(whole, said / np.linalg.norm(said), rtol=0, atol=1e-5)


def test_the_whole_picture_at_another_size_equals_the_formulas() -> None:
    visual = tower(layers=3)
    picture = picture_of(OTHER)
    tokens = slow_tokens(visual, to_network_input(picture, *OTHER, PATCH, PIXELS), OTHER)
    for block in slow_blocks(visual):
        tokens = block.ordinary(tokens)
    whole = dense(visual, DenseMethod.MASKCLIP, short_side=64).embed_whole(picture)
    np.testing.assert_allclose(whole, unit(slow_read(visual, tokens[0])), **TOLERANCE)


def test_a_tower_in_training_mode_is_set_to_evaluation() -> None:
    visual = tower(layers=2, patch_dropout=0.5).train()
    encoder = dense(visual, DenseMethod.MASKCLIP, short_side=64)
    picture = picture_of((4, 4))
    np.testing.assert_array_equal(encoder.embed(picture), encoder.embed(picture))


def test_half_precision_weights_give_nearly_the_same_directions() -> None:
    picture = picture_of(OTHER)
    for method in METHODS:
        full = dense(tower(layers=3), method, short_side=64).embed(picture).reshape(-1, 24)
        half = dense(tower(layers=3).to(torch.bfloat16), method, short_side=64).embed(picture).reshape(-1, 24)
        assert half.dtype == np.float32
        cosines = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
        assert cosines.min() > 0.99


def test_other_towers_are_refused_by_name() -> None:
    with torch.random.fork_rng():
        resnet = ModifiedResNet(layers=(1, 1, 1, 1), output_dim=8, heads=2, image_size=32, width=8)
        trunk = TimmModel("resnet18", embed_dim=8, image_size=32, pretrained=False)
        plain = timm.create_model("vit_tiny_patch16_224", depth=1, embed_dim=24, num_heads=2, num_classes=0)
    for visual, name in (
        (resnet, "open_clip's ModifiedResNet"),
        (trunk, "open_clip's TimmModel"),
        (plain, "timm's Vi"),
    ):
        with pytest.raises(UnsupportedTower, match=f"the vision tower is {name}"):
            dense(visual, DenseMethod.GEM)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"attentional_pool": True, "attn_pooler_heads": 2}, "attentional pooling"),
        ({"qk_norm": True}, "CustomResidualAttentionBlock"),
        ({"layers": 0}, "no blocks"),
    ],
)
def test_other_vision_transformers_are_refused_by_what_differs(options: dict[str, Any], found: str) -> None:
    with pytest.raises(UnsupportedTower, match=found):
        dense(tower(**{"layers": 1, **options}), DenseMethod.MASKCLIP)


def test_a_tower_with_more_global_tokens_is_refused() -> None:
    visual = tower(layers=1)
    visual.positional_embedding = torch.nn.Parameter(torch.zeros(38, WIDTH))
    with pytest.raises(UnsupportedTower, match="38 positions"):
        dense(visual, DenseMethod.MASKCLIP)


def test_a_picture_of_another_layout_is_refused() -> None:
    encoder = dense(tower(layers=1), DenseMethod.MASKCLIP)
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.embed(np.zeros((32, 32), np.uint8))


# ---- pixels ------------------------------------------------------------------------------------------------------


def test_pixels_come_from_what_open_clip_recorded() -> None:
    visual = tower(layers=1)
    config = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "interpolation": "bilinear", "size": 96}
    set_model_preprocess_cfg(visual, config)
    assert clip_pixels(visual) == PixelSpec((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), Interpolation.BILINEAR)


def test_pixels_fall_back_to_the_older_attributes_and_then_to_openai() -> None:
    visual = tower(layers=1)
    assert clip_pixels(visual) == PixelSpec(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, Interpolation.BICUBIC)
    visual.image_mean, visual.image_std = (0.5, 0.4, 0.3), (0.2, 0.2, 0.1)
    assert clip_pixels(visual) == PixelSpec((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), Interpolation.BICUBIC)


def test_pixels_that_no_picture_can_have_are_refused() -> None:
    visual = tower(layers=1)
    set_model_preprocess_cfg(visual, {"mean": (0.5,), "std": (0.2,)})
    with pytest.raises(EncoderError, match="three channels"):
        clip_pixels(visual)
