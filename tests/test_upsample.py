"""The operator against torch, and its adjoint against the definition of an adjoint."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter import upsample
from segmenter.grid import area_weights, cell_shares, grid_weights
from segmenter.segments import Segments, relabel
from segmenter.upsample import BAND_PIXELS, axis_weights, bands, nearest_labels, upsample_argmax

Floats = npt.NDArray[np.float32]

# rows, cols, height, width: whole and broken ratios, odd sizes, one cell, fewer pixels than cells on one axis or both
SIZES = [
    (4, 4, 16, 16),
    (32, 43, 448, 597),
    (3, 5, 31, 17),
    (7, 2, 10, 3),
    (1, 1, 6, 5),
    (1, 6, 9, 20),
    (5, 5, 5, 5),
    (8, 9, 3, 40),
    (16, 16, 1, 1),
    (11, 7, 2, 3),
]


def lift(grid: npt.NDArray[np.floating], height: int, width: int) -> npt.NDArray[np.float64]:
    """U, as its definition reads: [rows, cols, k] -> float64 [height, width, k]."""
    above, below, y = axis_weights(height, grid.shape[0])
    left, right, x = axis_weights(width, grid.shape[1])
    y, x = y[:, None, None].astype(np.float64), x[:, None].astype(np.float64)
    upper = (1 - x) * grid[above][:, left] + x * grid[above][:, right]
    lower = (1 - x) * grid[below][:, left] + x * grid[below][:, right]
    return (1 - y) * upper + y * lower


def torch_lift(grid: Floats, height: int, width: int) -> Floats:
    batch = torch.from_numpy(grid).permute(2, 0, 1)[None]
    lifted = torch.nn.functional.interpolate(batch, size=(height, width), mode="bilinear", align_corners=False)
    pixels: Floats = lifted[0].permute(1, 2, 0).numpy()
    return pixels


def random_segments(rng: np.random.Generator, height: int, width: int, count: int) -> Segments:
    return relabel(rng.integers(count, size=(height, width)))


@pytest.mark.parametrize("size", SIZES)
def test_operator_is_that_of_torch(size: tuple[int, int, int, int]) -> None:
    rows, cols, height, width = size
    grid = np.random.default_rng(0).standard_normal((rows, cols, 3)).astype(np.float32)
    np.testing.assert_allclose(lift(grid, height, width), torch_lift(grid, height, width), atol=2e-5)


@pytest.mark.parametrize("size", SIZES)
def test_all_maps_are_those_of_torch(size: tuple[int, int, int, int]) -> None:
    rows, cols, height, width = size
    grid = np.random.default_rng(0).standard_normal((rows, cols, 3)).astype(np.float32)
    lifted = upsample.upsample(grid, height, width)
    assert lifted.dtype == np.float32
    np.testing.assert_allclose(lifted, torch_lift(grid, height, width), atol=2e-5)


@pytest.mark.parametrize("size", SIZES)
def test_nearest_labels_are_those_of_torch(size: tuple[int, int, int, int]) -> None:
    rows, cols, height, width = size
    labels = np.arange(rows * cols, dtype=np.int32).reshape(rows, cols)
    batch = torch.from_numpy(labels)[None, None].double()
    expected = torch.nn.functional.interpolate(batch, size=(height, width), mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(nearest_labels(labels, height, width), expected.int().numpy())


@pytest.mark.parametrize("size", SIZES)
def test_argmax_is_that_of_torch(size: tuple[int, int, int, int]) -> None:
    rows, cols, height, width = size
    scores = np.random.default_rng(1).standard_normal((rows, cols, 6)).astype(np.float32)
    lifted = torch_lift(scores, height, width)
    ranked = np.sort(lifted, axis=2)
    clear = ranked[:, :, -1] - ranked[:, :, -2] > 1e-4  # elsewhere rounding may decide
    assert clear.mean() > 0.95
    winners = upsample_argmax(scores, height, width)
    assert winners.dtype == np.int32
    assert winners.shape == (height, width)
    np.testing.assert_array_equal(winners[clear], lifted.argmax(axis=2)[clear])
    chosen = np.take_along_axis(lifted, winners[:, :, None].astype(np.intp), axis=2)[:, :, 0]
    np.testing.assert_allclose(chosen, lifted.max(axis=2), atol=1e-4)


@given(st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_taps_are_neighbours_and_keep_their_order(pixels: int, cells: int) -> None:
    lower, upper, fraction = axis_weights(pixels, cells)
    assert fraction.dtype == np.float32
    assert lower.shape == upper.shape == fraction.shape == (pixels,)
    assert lower.min() >= 0
    assert upper.max() <= cells - 1
    assert np.all((upper - lower == 1) | ((upper == lower) & (fraction == 0)))
    assert np.all((fraction >= 0) & (fraction <= 1))
    assert np.all(np.diff(lower + fraction.astype(np.float64)) >= 0)
    mirrored = (1 - fraction) * lower + fraction * upper
    np.testing.assert_allclose(mirrored + mirrored[::-1], cells - 1, atol=1e-5)


def test_taps_by_hand() -> None:
    lower, upper, fraction = axis_weights(pixels=6, cells=3)
    np.testing.assert_array_equal(lower, [0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(upper, [1, 1, 1, 2, 2, 2])
    np.testing.assert_allclose(fraction, [0, 0.25, 0.75, 0.25, 0.75, 0])


def test_a_picture_smaller_than_the_grid_is_sampled() -> None:
    lower, upper, fraction = axis_weights(pixels=1, cells=4)  # the middle of the axis lies between cells 1 and 2
    assert (lower.tolist(), upper.tolist(), fraction.tolist()) == ([1], [2], [0.5])
    weights = grid_weights(Segments(np.ones((1, 2), dtype=np.int32), count=1), rows=4, cols=2)
    np.testing.assert_allclose(weights, [[[0, 0], [0.5, 0.5], [0.5, 0.5], [0, 0]]])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_adjoint_identity(rows: int, cols: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = random_segments(rng, height, width, count=4)
    grid = rng.standard_normal((rows, cols, 2))
    lifted = lift(grid, height, width)
    weights = grid_weights(segments, rows, cols)
    assert weights.shape == (segments.count, rows, cols)
    assert weights.dtype == np.float32
    assert weights.min() >= 0
    for number in range(1, segments.count + 1):
        over_pixels = lifted[segments.mask(number)].sum(axis=0)
        over_cells = np.einsum("yx,yxk->k", weights[number - 1].astype(np.float64), grid)
        np.testing.assert_allclose(over_cells, over_pixels, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), segments.areas, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_adjoint_is_the_gradient_of_torch(size: tuple[int, int, int, int]) -> None:
    rows, cols, height, width = size
    segments = random_segments(np.random.default_rng(2), height, width, count=3)
    grid = torch.zeros(1, 1, rows, cols, dtype=torch.float64, requires_grad=True)
    lifted = torch.nn.functional.interpolate(grid, size=(height, width), mode="bilinear", align_corners=False)
    for number, weights in enumerate(grid_weights(segments, rows, cols), start=1):
        mask = torch.from_numpy(segments.mask(number))
        (gradient,) = torch.autograd.grad(lifted[0, 0][mask].sum(), grid, retain_graph=True)
        np.testing.assert_allclose(weights, gradient[0, 0].numpy(), rtol=1e-5, atol=1e-4)


def test_bands_hold_as_many_rows_as_are_worked_on_at_a_time() -> None:
    assert [(band.start, band.stop) for band in bands(10, BAND_PIXELS // 4)] == [(0, 4), (4, 8), (8, 10)]
    assert [(band.start, band.stop) for band in bands(2, 2 * BAND_PIXELS)] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("band_pixels", [1, 50, 1 << 30])
@pytest.mark.parametrize("size", [(3, 5, 31, 17), (8, 9, 3, 40), (1, 1, 6, 5)])
def test_bands_change_nothing(
    size: tuple[int, int, int, int], band_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, cols, height, width = size
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((rows, cols, 5)).astype(np.float32)
    segments = random_segments(rng, height, width, count=7)
    winners, weights = upsample_argmax(scores, height, width), grid_weights(segments, rows, cols)
    monkeypatch.setattr(upsample, "BAND_PIXELS", band_pixels)
    np.testing.assert_array_equal(upsample_argmax(scores, height, width), winners)
    np.testing.assert_allclose(grid_weights(segments, rows, cols), weights, rtol=1e-6)


def test_the_first_of_equal_scores_wins() -> None:
    scores = np.full((2, 2, 4), -3, dtype=np.float32)
    np.testing.assert_array_equal(upsample_argmax(scores, 5, 4), np.zeros((5, 4)))
    scores[..., 2:] = 1
    np.testing.assert_array_equal(upsample_argmax(scores, 5, 4), np.full((5, 4), 2))


def test_more_than_a_byte_of_maps() -> None:
    scores = np.eye(400, dtype=np.float32).reshape(20, 20, 400)
    np.testing.assert_array_equal(upsample_argmax(scores, 20, 20), np.arange(400).reshape(20, 20))


def test_what_has_no_extent_is_refused() -> None:
    scores = np.zeros((2, 2, 1), dtype=np.float32)
    for height, width in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match="at least one pixel and one cell"):
            upsample_argmax(scores, height, width)
    with pytest.raises(ValueError, match=r"got \[2, 2\]"):
        upsample_argmax(scores[..., 0], 4, 4)
    with pytest.raises(ValueError, match=r"got \[2, 2, 0\]"):
        upsample_argmax(scores[..., :0], 4, 4)
    with pytest.raises(ValueError, match="not 4 and 0"):
        grid_weights(Segments(np.ones((4, 4), dtype=np.int32), count=1), rows=2, cols=0)


@pytest.mark.parametrize(("height", "width", "rows", "cols"), [(7, 9, 3, 4), (8, 6, 4, 3), (5, 5, 5, 1), (3, 2, 7, 5)])
def test_shares_of_cells_are_areas_of_overlap(height: int, width: int, rows: int, cols: int) -> None:
    generator = np.random.default_rng(height)
    segments = relabel(generator.integers(0, 4, (height, width)))
    shares = cell_shares(segments, rows, cols)
    slow = np.zeros((segments.count, rows, cols))
    for y, x in np.ndindex(height, width):
        for row, col in np.ndindex(rows, cols):
            tall = min((y + 1) / height, (row + 1) / rows) - max(y / height, row / rows)
            wide = min((x + 1) / width, (col + 1) / cols) - max(x / width, col / cols)
            slow[segments.label_map[y, x] - 1, row, col] += max(tall, 0) * max(wide, 0) * rows * cols
    np.testing.assert_allclose(shares, slow, atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    assert (shares.max(axis=(1, 2)) > 0).all()


def test_a_pixel_gives_all_of_itself_to_the_cells_it_lies_in() -> None:
    lower, upper, fraction = area_weights(7, 3)
    given = np.zeros(3)
    np.add.at(given, lower, 1 - fraction)
    np.add.at(given, upper, fraction)
    np.testing.assert_allclose(given, 7 / 3, atol=1e-6)
