"""Pooling on the grid against lifting every vector to pixels."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter.pool import pool_by_segment, unit_rows
from segmenter.segments import Segments, relabel
from segmenter.upsample import axis_weights

Floats = npt.NDArray[np.float32]


def pool_on_pixels(dense: Floats, segments: Segments) -> Floats:
    """Lift, average under each mask, scale to length 1."""
    (above, below, y), (left, right, x) = map(axis_weights, segments.size, dense.shape[:2])
    lines = dense[above] * (1 - y[:, None, None]) + dense[below] * y[:, None, None]
    lifted = (lines[:, left] * (1 - x[:, None]) + lines[:, right] * x[:, None]).astype(np.float64)
    means = np.stack([lifted[segments.mask(number)].mean(axis=0) for number in range(1, segments.count + 1)])
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 25), st.integers(1, 25), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_against_lifting(rows: int, cols: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = relabel(rng.integers(5, size=(height, width)))
    dense = (rng.standard_normal((rows, cols, 6)) + 2).astype(np.float32)
    pooled = pool_by_segment(dense, segments)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, pool_on_pixels(dense, segments), atol=1e-5)


def test_photograph_sized() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((32, 43, 16)).astype(np.float32)
    blocks = rng.integers(15, size=(12, 16))
    segments = relabel(np.kron(blocks, np.ones((37, 37), dtype=int))[:433, :577])
    np.testing.assert_allclose(pool_by_segment(dense, segments), pool_on_pixels(dense, segments), atol=2e-5)


def test_halves_by_hand() -> None:
    dense = np.zeros((1, 2, 2), dtype=np.float32)
    dense[0, 0], dense[0, 1] = [3, 0], [0, 3]
    segments = Segments(np.array([[1, 1, 2, 2]], dtype=np.int32), count=2)
    # Pixels hold the right cell's vector to 0, 1/4, 3/4 and 1, so each half is 7/8 of its own and 1/8 of the other.
    expected = np.array([[7, 1], [1, 7]]) / np.sqrt(50)
    np.testing.assert_allclose(pool_by_segment(dense, segments), expected, rtol=1e-6)


def test_a_mean_of_zero_stays_zero() -> None:
    dense = np.zeros((1, 2, 2), dtype=np.float32)
    segments = Segments(np.array([[1, 2]], dtype=np.int32), count=2)
    np.testing.assert_array_equal(pool_by_segment(dense, segments), np.zeros((2, 2)))
    dense[0, 1] = [0, -2]
    np.testing.assert_array_equal(pool_by_segment(dense, segments), [[0, 0], [0, -1]])


def test_lengths_weigh_in_the_mean() -> None:
    dense = np.array([[[3, 0], [0, 1]]], dtype=np.float32)
    whole = Segments(np.ones((1, 2), dtype=np.int32), count=1)
    np.testing.assert_allclose(pool_by_segment(dense, whole), np.array([[3, 1]]) / np.sqrt(10), rtol=1e-6)


def test_what_is_no_grid_is_refused() -> None:
    segments = Segments(np.ones((1, 2), dtype=np.int32), count=1)
    with pytest.raises(ValueError, match=r"\[rows, cols, D\] and not empty, got \[4, 8\]"):
        pool_by_segment(np.zeros((4, 8), dtype=np.float32), segments)
    with pytest.raises(ValueError, match=r"got \[0, 4, 8\]"):
        pool_by_segment(np.zeros((0, 4, 8), dtype=np.float32), segments)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_unit_rows_of_any_length(scale: float) -> None:
    vectors = np.array([[[0.6, -0.8], [0, 0]], [[2, 0], [-1, 1]]], dtype=np.float32) * np.float32(scale)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(unit_rows(vectors), [[[0.6, -0.8], [0, 0]], [[1, 0], [-half, half]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.float64])
@pytest.mark.filterwarnings("error")
def test_unit_rows_of_other_numbers_are_as_long(dtype: npt.DTypeLike) -> None:
    vectors = np.random.default_rng(6).integers(0, 200, (50, 256)).astype(dtype)
    rows = unit_rows(vectors)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, unit_rows(vectors.astype(np.float32)), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, rtol=1e-6)
