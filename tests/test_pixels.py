"""Grids and network inputs: properties of the sizes, values by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from encoders.errors import EncoderError
from encoders.pixels import LONGEST, Interpolation, PixelSpec, grid_size, to_network_input

sides = st.integers(1, 20_000)
short_sides = st.integers(1, 1_024)
patches = st.sampled_from([1, 8, 14, 16, 32])
PLAIN = PixelSpec((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@given(sides, sides, short_sides, patches)
def test_the_short_side_is_within_half_a_patch_of_what_was_asked(
    height: int, width: int, short_side: int, patch: int
) -> None:
    short = min(grid_size(height, width, short_side, patch))
    assert short >= 1
    assert short == 1 or abs(short * patch - short_side) <= patch / 2


@given(sides, sides, short_sides, patches)
def test_the_long_side_keeps_the_aspect_within_half_a_patch_or_is_capped(
    height: int, width: int, short_side: int, patch: int
) -> None:
    short, long = sorted(grid_size(height, width, short_side, patch))
    aspect = max(height, width) / min(height, width)
    assert short <= long <= LONGEST * short
    assert abs(long - min(aspect, LONGEST) * short) <= 0.5 + 1e-9


@given(sides, sides, short_sides, patches)
def test_turning_the_picture_turns_the_grid(height: int, width: int, short_side: int, patch: int) -> None:
    assert grid_size(height, width, short_side, patch) == grid_size(width, height, short_side, patch)[::-1]


@given(sides, patches)
def test_a_square_picture_has_a_square_grid(side: int, patch: int) -> None:
    rows, cols = grid_size(side, side, 448, patch)
    assert rows == cols


@pytest.mark.parametrize(
    ("height", "width", "patch", "expected"),
    [
        (448, 448, 14, (32, 32)),
        (448, 448, 16, (28, 28)),
        (375, 500, 16, (28, 37)),  # 37.33
        (500, 334, 16, (42, 28)),  # 41.92
        (1, 10_000, 16, (28, 112)),
        (10_000, 1, 16, (112, 28)),
    ],
)
def test_known_grids(height: int, width: int, patch: int, expected: tuple[int, int]) -> None:
    assert grid_size(height, width, 448, patch) == expected


@pytest.mark.parametrize("arguments", [(0, 5, 448, 14), (5, 0, 448, 14), (5, 5, 0, 14), (5, 5, 448, 0)])
def test_nothing_has_no_grid(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        grid_size(*arguments)


def test_one_pixel_by_hand() -> None:
    pixels = PixelSpec((0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    picture = np.full((3, 5, 3), (255, 51, 102), np.uint8)  # 1.0, 0.2 and 0.4
    network_input = to_network_input(picture, 2, 3, 4, pixels)
    assert network_input.shape == (3, 8, 12)
    assert network_input.dtype == np.float32
    assert network_input.flags.c_contiguous
    np.testing.assert_allclose(network_input[0], 1.0, rtol=1e-6)  # (1.0 - 0.5) / 0.5
    np.testing.assert_allclose(network_input[1], -0.2, rtol=1e-6)  # (0.2 - 0.25) / 0.25
    np.testing.assert_allclose(network_input[2], 0.2, rtol=1e-6)  # (0.4 - 0.0) / 2.0


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    network_input = to_network_input(picture, 2, 3, 4, PLAIN)
    np.testing.assert_allclose(network_input.transpose(1, 2, 0) * 255, picture, rtol=1e-6)


def test_each_interpolation_is_its_own_filter() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for interpolation, filter_ in (
        (Interpolation.BICUBIC, Image.Resampling.BICUBIC),
        (Interpolation.BILINEAR, Image.Resampling.BILINEAR),
    ):
        expected = np.asarray(Image.fromarray(picture).resize((16, 12), filter_), np.float64) / 255
        resized = to_network_input(picture, 3, 4, 4, PixelSpec(PLAIN.mean, PLAIN.std, interpolation))
        np.testing.assert_allclose(resized.transpose(1, 2, 0), expected, rtol=1e-6)


def test_bilinear_by_hand() -> None:
    picture = np.zeros((1, 2, 3), np.uint8)
    picture[0, 1] = 200
    resized = to_network_input(picture, 1, 4, 1, PixelSpec(PLAIN.mean, PLAIN.std, Interpolation.BILINEAR))
    np.testing.assert_allclose(resized[0, 0] * 255, [0, 50, 150, 200], rtol=1e-6)


def test_a_view_is_read_as_it_looks() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    turned = picture.transpose(1, 0, 2)[:, ::-1]
    np.testing.assert_array_equal(
        to_network_input(turned, 3, 4, 3, PLAIN), to_network_input(turned.copy(), 3, 4, 3, PLAIN)
    )


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["grey", "RGBA", "channels first", "float", "empty"],
)
def test_other_layouts_are_refused(picture: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        to_network_input(picture, 1, 1, 4, PLAIN)


def test_a_configuration_becomes_a_spec() -> None:
    spec = PixelSpec.parse([0.5, 0.4, 0.3], [0.2, 0.2, 0.1], "bilinear")
    assert spec == PixelSpec((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), Interpolation.BILINEAR)


@pytest.mark.parametrize(
    ("mean", "std", "interpolation"),
    [
        ((0.5,), (0.5,), "bicubic"),
        ((0.5, 0.5, 0.5), (0.5, 0.0, 0.5), "bicubic"),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "random"),
    ],
)
def test_an_impossible_configuration_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...], interpolation: str
) -> None:
    with pytest.raises(EncoderError, match="expected"):
        PixelSpec.parse(mean, std, interpolation)
