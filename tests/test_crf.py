"""The fully connected CRF, exactly, against sums over all pairs of pixels; superpixels against one pixel at a time."""

import numpy as np
import numpy.typing as npt
import pytest

from segmenter import crf
from segmenter.crf import crf_argmax, gaussian_kernel, kernel_of, mean_field, smooth_kernel
from segmenter.superpixels import AROUND, COMPACTNESS, ROUNDS, Superpixels, superpixels
from segmenter.upsample import upsample

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


def slow_softmax(logits: Doubles) -> Doubles:
    return np.array([[np.exp(a - max(row)) / sum(np.exp(b - max(row)) for b in row) for a in row] for row in logits])


def slow_mean_field(unary: Doubles, picture: npt.NDArray[np.uint8], scale: float, rounds: int) -> Doubles:
    """Krähenbühl and Koltun's equations over every pair of pixels, with TAG's numbers: [h, w, k] -> [h, w, k].

    The kernel of colour and place is divided by the roots of its sums; the narrow one is cut off at three spreads,
    sums to 1, and gives back to a pixel what falls outside the picture.
    """
    height, width, labels = unary.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    spread = 1 / scale
    reach = max(1, round(3 * spread))
    wide = np.zeros((len(pixels), len(pixels)))
    narrow = np.zeros_like(wide)
    total = sum(
        np.exp(-(dy**2 + dx**2) / (2 * spread**2)) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)
    )
    for i, (y, x) in enumerate(pixels):
        for j, (v, u) in enumerate(pixels):
            place = ((y - v) ** 2 + (x - u) ** 2) * scale**2
            colour = sum((float(a) - float(b)) ** 2 for a, b in zip(picture[y, x], picture[v, u], strict=True))
            wide[i, j] = np.exp(-place / (2 * 67**2) - colour / (2 * 3**2))
            if max(abs(y - v), abs(x - u)) <= reach and i != j:
                narrow[i, j] = np.exp(-place / 2) / total
        narrow[i, i] = 1 - narrow[i].sum()
    sums = wide.sum(axis=1)
    wide /= np.sqrt(sums[:, None] * sums[None])
    flat = unary.reshape(-1, labels)
    belief = slow_softmax(flat)
    for _ in range(rounds):
        belief = slow_softmax(flat + 4 * wide @ belief + 3 * narrow @ belief)
    return belief.reshape(unary.shape)


def one_pixel_each(picture: npt.NDArray[np.uint8]) -> Superpixels:
    height, width = picture.shape[:2]
    places = np.stack(np.indices((height, width)), axis=2).reshape(-1, 2).astype(np.float32)
    return Superpixels(
        label_map=np.arange(height * width, dtype=np.int32).reshape(height, width),
        sizes=np.ones(height * width, dtype=np.float32),
        places=places,
        colours=picture.reshape(-1, 3).astype(np.float32),
    )


def noisy_halves(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    picture = np.full((height, width, 3), (200, 40, 40))
    picture[:, width // 2 :] = (40, 90, 200)
    return (picture + rng.integers(-6, 7, size=picture.shape)).astype(np.uint8)


@pytest.mark.parametrize(("short_side", "rounds"), [(8, 1), (8, 10), (4, 10), (448, 3)])
def test_mean_field_against_all_pairs_of_pixels(short_side: int, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every pixel a superpixel nothing is approximated; beliefs agree to 1e-4."""
    rng = np.random.default_rng(rounds)
    picture = noisy_halves(rng, 8, 11)
    unary = 2 * rng.standard_normal((8, 11, 4)).astype(np.float32)
    monkeypatch.setattr(crf, "SHORT_SIDE", short_side)
    belief = mean_field(unary.reshape(-1, 4), kernel_of(one_pixel_each(picture)), rounds)
    expected = slow_mean_field(unary.astype(np.float64), picture, short_side / 8, rounds)
    np.testing.assert_allclose(belief.reshape(unary.shape), expected, atol=1e-4)
    assert np.abs(expected - slow_mean_field(unary.astype(np.float64), picture, short_side / 8, 0)).max() > 0.1


def test_superpixels_stand_for_their_pixels() -> None:
    """Where colour and place are constant within superpixels, sums over them are sums over pixels."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((6, 5)).astype(np.float32)
    sizes = rng.integers(1, 5, size=6)
    owner = np.repeat(np.arange(6), sizes)
    distance = ((points[owner][:, None] - points[owner][None]) ** 2).sum(axis=2, dtype=np.float64)
    pairs = np.exp(-distance / 2)
    sums = pairs.sum(axis=1)
    pairs /= np.sqrt(sums[:, None] * sums)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    expected = np.stack([pairs[first][:, owner == other].sum(axis=1) for other in range(6)], axis=1)
    np.testing.assert_allclose(gaussian_kernel(points, sizes.astype(np.float32)), expected, atol=1e-5)


@pytest.mark.parametrize("spread", [0.3, 0.7, 1.0])
def test_smooth_kernel_against_all_pairs_of_pixels(spread: float) -> None:
    label_map = np.random.default_rng(1).integers(5, size=(7, 9)).astype(np.int32)
    label_map.ravel()[:5] = range(5)
    reach = max(1, round(3 * spread))
    kernel = np.zeros((5, 5))
    for y in range(7):
        for x in range(9):
            around = {
                (dy, dx): np.exp(-(dy**2 + dx**2) / (2 * spread**2))
                for dy in range(-reach, reach + 1)
                for dx in range(-reach, reach + 1)
            }
            for (dy, dx), weight in around.items():
                inside = 0 <= y + dy < 7 and 0 <= x + dx < 9
                there = label_map[y + dy, x + dx] if inside else label_map[y, x]
                kernel[label_map[y, x], there] += weight / sum(around.values())
    kernel /= np.bincount(label_map.ravel())[:, None]
    np.testing.assert_allclose(smooth_kernel(label_map, spread), kernel, atol=1e-6)


def slow_superpixels(picture: npt.NDArray[np.uint8], rows: int, cols: int, tile: int) -> npt.NDArray[np.intp]:
    """SLIC for a picture that the tiles cover exactly, one pixel at a time in float64."""
    height, width = rows * tile, cols * tile
    points = {
        (y, x): np.array([*(picture[y, x] / COMPACTNESS), y / tile, x / tile])
        for y in range(height)
        for x in range(width)
    }
    owner = {(y, x): y // tile * cols + x // tile for y, x in points}
    centres: dict[int, Doubles] = {}
    for turn in range(ROUNDS + 1):
        for number in range(rows * cols):
            mine = [points[place] for place in points if owner[place] == number]
            centres[number] = np.mean(mine, axis=0) if mine else centres[number]
        if turn == ROUNDS:
            break
        for (y, x), point in points.items():
            near = [
                (y // tile + dy) * cols + x // tile + dx
                for dy, dx in AROUND
                if 0 <= y // tile + dy < rows and 0 <= x // tile + dx < cols
            ]
            owner[y, x] = min(near, key=lambda number: ((point - centres[number]) ** 2).sum())
    label_map = np.array([[owner[y, x] for x in range(width)] for y in range(height)])
    return np.unique(label_map, return_inverse=True)[1].reshape(height, width)


@pytest.mark.parametrize("seed", range(3))
def test_superpixels_against_one_pixel_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = (noisy_halves(rng, 20, 24).astype(int) + rng.integers(0, 40, (20, 24, 3))).clip(0, 255).astype(np.uint8)
    pieces = superpixels(picture, 5, 6, 4)
    np.testing.assert_array_equal(pieces.label_map, slow_superpixels(picture, 5, 6, 4))
    for number in range(len(pieces.sizes)):
        y, x = np.nonzero(pieces.label_map == number)
        assert pieces.sizes[number] == len(y)
        np.testing.assert_allclose(pieces.places[number], [y.mean(), x.mean()], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(pieces.colours[number], picture[y, x].mean(axis=0), rtol=1e-4)


def test_the_outline_moves_to_where_colours_change() -> None:
    """Cells of 8 pixels put a border at 35 pixels, the picture at 40."""
    rng = np.random.default_rng(0)
    picture = np.full((64, 96, 3), (200, 40, 40))
    picture[:, 40:] = (40, 90, 200)
    picture = (picture + rng.integers(-3, 4, size=picture.shape)).astype(np.uint8)
    scores = np.zeros((8, 12, 2), dtype=np.float32)
    scores[:, :4, 0] = scores[:, 5:, 1] = 1
    scores[:, 4] = (0.4, 0.6)
    expected = np.arange(96)[None].repeat(64, axis=0) >= 40
    before = upsample(scores, 64, 96).argmax(axis=2)
    after = crf_argmax(picture, scores, temperature=1.0)
    assert (before != expected).mean() > 0.04
    assert (after != expected).mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (500, 7), (90, 2000), (1500, 1400)])
def test_any_size(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, size=(*size, 3), dtype=np.uint8)
    scores = rng.standard_normal((4, 5, 3)).astype(np.float32)
    labels = crf_argmax(picture, scores, temperature=0.1)
    assert labels.dtype == np.int32
    assert labels.shape == size
    assert set(np.unique(labels)) <= {0, 1, 2}
    np.testing.assert_array_equal(labels, crf_argmax(picture, scores, temperature=0.1))


def test_the_number_of_superpixels_is_bounded() -> None:
    for height in (1, 5, 100, 448, 5000, 100_000):
        for width in (1, 7, 448, 1000, 30_000):
            rows, cols = crf._tiles(height, width)
            assert 1 <= rows * cols <= crf.MAX_SUPERPIXELS
