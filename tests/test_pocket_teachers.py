"""Teachers: quantised graphs against loops over their dequantised weights, and what they see."""

import math
from pathlib import Path

import numpy as np
import pytest
import tflite
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from pocket_material import HINT_SHAPES
from tflite_files import Quantised, TinyGraph
from torch import Tensor

from pocket import blockwise
from pocket.checkpoints import Place
from pocket.losses import Guides
from pocket.teachers import Teacher

CONV, DEPTHWISE, ADD = (
    tflite.BuiltinOperator.CONV_2D,
    tflite.BuiltinOperator.DEPTHWISE_CONV_2D,
    tflite.BuiltinOperator.ADD,
)


RELU, RELU6 = tflite.ActivationFunctionType.RELU, tflite.ActivationFunctionType.RELU6

SHARED = Path(__file__).parents[2] / "shared/data"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no photographs and teachers in {SHARED}")


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
