"""The measure of outlines against a search over all pairs of boundary pixels."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.edges import boundary_f, cell_shares, fill_void, grid_of, mean_iou

LabelMap = npt.NDArray[np.intp]


def slow_boundary(labels: LabelMap) -> list[tuple[int, int]]:
    height, width = labels.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if (x + 1 < width and labels[y, x] != labels[y, x + 1]) or (y + 1 < height and labels[y, x] != labels[y + 1, x])
    ]


def slow_f(drawn: LabelMap, truth: LabelMap, tolerance: float) -> float:
    mine, theirs = slow_boundary(drawn), slow_boundary(truth)
    if not mine or not theirs:
        return float(not mine and not theirs)

    def found(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in others) for y, x in some) / len(some)

    precision, recall = found(mine, theirs), found(theirs, mine)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([0, 1, 2, 2.5]), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_boundary_f_against_all_pairs(height: int, width: int, tolerance: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn, truth = (rng.integers(3, size=(3, 3)).repeat(4, axis=0).repeat(4, axis=1)[:height, :width] for _ in range(2))
    assert boundary_f(drawn, truth, tolerance) == pytest.approx(slow_f(drawn, truth, tolerance), abs=1e-12)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (2, 1), (3, 0)])
def test_a_shifted_border(shift: int, expected: float) -> None:
    truth = np.arange(20)[None].repeat(8, axis=0) // 10
    assert boundary_f(np.roll(truth, shift, axis=1)[:, 4:-4], truth[:, 4:-4], 2) == expected


def test_void_is_filled_with_the_nearest() -> None:
    np.testing.assert_array_equal(fill_void(np.array([[1, 9, 9, 9, 2]]), 9)[0, [0, 1, 3, 4]], [1, 1, 2, 2])


def test_shares_of_cells() -> None:
    regions = np.zeros((4, 8), dtype=np.intp)
    regions[:, 6:] = 1
    np.testing.assert_allclose(cell_shares(regions, 1, 2), [[[1, 0], [0.5, 0.5]]])
    assert grid_of(448, 672) == (28, 42)
    assert grid_of(500, 375) == (37, 28)


def test_iou_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1]])
    assert mean_iou(np.array([[0, 0, 0, 1]]), truth) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert mean_iou(truth, truth) == 1
