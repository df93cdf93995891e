"""The guided filter against least squares in every window, and outlines against the picture."""

import numpy as np
import numpy.typing as npt
import pytest

from segmenter import guided
from segmenter.guided import guided_argmax, linear_argmax, linear_fits
from segmenter.upsample import upsample, upsample_argmax

Floats = npt.NDArray[np.float32]


def slow_fits(guide: Floats, maps: Floats, radius: int, penalty: float) -> tuple[Floats, Floats]:
    """Ridge regression of each map on colour in the window around each pixel, then the mean of both over windows."""
    height, width, labels = maps.shape
    side = 2 * radius + 1
    mirrored = [np.pad(values, [(radius, radius)] * 2 + [(0, 0)], mode="symmetric") for values in (guide, maps)]
    slopes, offsets = np.zeros((height, width, 3, labels)), np.zeros((height, width, labels))
    for y in range(height):
        for x in range(width):
            colours, values = (each[y : y + side, x : x + side].reshape(side**2, -1) for each in mirrored)
            colours, values = colours.astype(np.float64), values.astype(np.float64)
            around = colours - colours.mean(axis=0)
            slope = np.linalg.solve(
                around.T @ around / side**2 + penalty * np.eye(3), around.T @ (values - values.mean(axis=0)) / side**2
            )
            slopes[y, x], offsets[y, x] = slope, values.mean(axis=0) - colours.mean(axis=0) @ slope
    return slow_means(slopes.reshape(height, width, -1), radius).reshape(slopes.shape), slow_means(offsets, radius)


def slow_means(values: npt.NDArray[np.float64], radius: int) -> Floats:
    padded = np.pad(values, [(radius, radius)] * 2 + [(0, 0)], mode="symmetric")
    side = 2 * radius + 1
    rows, cols = values.shape[:2]
    means = [[padded[y : y + side, x : x + side].mean(axis=(0, 1)) for x in range(cols)] for y in range(rows)]
    return np.array(means, dtype=np.float32)


def slow_argmax(guide: Floats, slopes: Floats, offsets: Floats) -> Floats:
    """The filtered maps at every pixel: [H, W, k]."""
    height, width, _ = guide.shape
    maps = []
    for number in range(offsets.shape[2]):
        lifted = upsample(slopes[..., number].astype(np.float64), height, width)
        maps.append((lifted * guide).sum(axis=2) + upsample(offsets[..., [number]], height, width)[..., 0])
    return np.stack(maps, axis=2)


@pytest.mark.parametrize(("radius", "penalty"), [(1, 1e-3), (2, 1e-4), (3, 1e-2)])
def test_fits_are_least_squares(radius: int, penalty: float) -> None:
    rng = np.random.default_rng(radius)
    guide, maps = rng.random((9, 7, 3), dtype=np.float32), rng.random((9, 7, 4), dtype=np.float32)
    slopes, offsets = linear_fits(guide, maps, radius, penalty)
    slow_slopes, slow_offsets = slow_fits(guide, maps, radius, penalty)
    np.testing.assert_allclose(slopes, slow_slopes, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(offsets, slow_offsets, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["sparse", "dense", "negative"])
@pytest.mark.parametrize("size", [(70, 45), (33, 90), (5, 3), (1, 1)])
def test_leaving_out_zeros_changes_nothing(kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    guide = rng.random((*size, 3), dtype=np.float32)
    regions = rng.integers(6, size=(4, 5))
    offsets = np.eye(6, dtype=np.float32)[regions.repeat(2, axis=0)] + 0.1 * (kind == "dense")
    slopes = (0.2 * rng.standard_normal((8, 5, 3, 6))).astype(np.float32) * offsets[:, :, None]
    if kind == "negative":  # zero is the greatest there is
        offsets, slopes = -offsets, 0 * slopes
    expected = slow_argmax(guide, slopes, offsets)
    found = linear_argmax(guide, slopes, offsets)
    ranked = np.sort(expected, axis=2)
    clear = ranked[..., -1] - ranked[..., -2] > 1e-5
    np.testing.assert_array_equal(found[clear], expected.argmax(axis=2)[clear])
    chosen = np.take_along_axis(expected, found[..., None].astype(np.intp), axis=2)[..., 0]
    np.testing.assert_allclose(chosen, ranked[..., -1], atol=1e-5)


def test_the_outline_moves_to_where_colours_change() -> None:
    """Cells of 8 pixels put a border at 35 pixels, the picture at 40."""
    picture = np.full((64, 96, 3), (200, 40, 40), dtype=np.uint8)
    picture[:, 40:] = (40, 90, 200)
    expected = np.zeros((64, 96), dtype=np.int32)
    expected[:, 40:] = 1
    scores = np.zeros((8, 12, 2), dtype=np.float32)
    scores[:, :4, 0] = scores[:, 5:, 1] = 1
    scores[:, 4] = (0.4, 0.6)
    before = upsample_argmax(scores, 64, 96)
    after = guided_argmax(picture, scores)
    assert (before != expected).mean() > 0.04
    assert (after != expected).mean() < 0.02


def test_a_picture_of_one_colour_keeps_its_outlines() -> None:
    scores = np.eye(3, dtype=np.float32)[np.arange(12).reshape(3, 4) // 2 % 3].repeat(2, axis=0).repeat(2, axis=1)
    plain = np.full((60, 80, 3), 130, dtype=np.uint8)
    same = guided_argmax(plain, scores) == upsample_argmax(scores, 60, 80)
    assert same.mean() > 0.9  # windows round the corners


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (700, 7), (90, 2000), (1500, 1400)])
def test_any_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, size=(*size, 3), dtype=np.uint8)
    scores = np.eye(3, dtype=np.float32)[rng.integers(3, size=(4, 5))]
    labels = guided_argmax(picture, scores)
    assert labels.dtype == np.int32
    assert labels.shape == size
    assert set(np.unique(labels)) <= {0, 1, 2}
    np.testing.assert_array_equal(labels, guided_argmax(picture, scores))


def test_large_pictures_are_outlined_at_a_smaller_size(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    picture[:, 30:] = 255
    scores = np.zeros((5, 6, 2), dtype=np.float32)
    scores[:, :3, 0] = scores[:, 3:, 1] = 1
    monkeypatch.setattr(guided, "MOST_PIXELS", 20 * 30)
    np.testing.assert_array_equal(guided_argmax(picture, scores), np.arange(60)[None].repeat(40, axis=0) // 30)
