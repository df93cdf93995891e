"""Every measure by hand on tiny cases, against slow loops over pixels, and against scikit-learn's."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluation.classes import UNKNOWN_CLASS
from evaluation.datasets import OTHER, VOID
from evaluation.metrics.confusion import (
    class_ious,
    confusion,
    mean_iou,
    mean_iou_of_union,
    overlaps,
    pixel_accuracy,
)
from evaluation.metrics.matching import hungarian_classes, majority_classes
from evaluation.metrics.pictures import (
    THRESHOLDS,
    best_segment_iou,
    picture_iou,
    recall_area,
    segment_recall,
    with_background_as_other,
)
from evaluation.metrics.soft import soft_jaccard
from evaluation.metrics.words import label_statistics
from segmenter import relabel

Map = NDArray[np.int32]


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Map, Map, NDArray[np.int64], int]:
    """Segments, ground truth, the class of each segment, and how many classes there are."""
    classes = draw(st.integers(1, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    shape = generator.integers(1, 9, 2)
    truth = generator.choice([*range(classes), OTHER, VOID], shape).astype(np.int32)
    segments = relabel(generator.integers(0, draw(st.integers(1, 7)), shape)).label_map
    numbers = generator.integers(UNKNOWN_CLASS, classes, segments.max())
    return segments, truth, numbers, classes


# --- counts over a data set ------------------------------------------------------------------------------------------


def slow_confusion(segments: Map, truth: Map, numbers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    matrix = np.zeros((classes, classes + 1), np.int64)
    for segment, stands in zip(segments.ravel(), truth.ravel(), strict=True):
        if stands not in (OTHER, VOID):
            said = numbers[segment - 1]
            matrix[stands, classes if said == UNKNOWN_CLASS else said] += 1
    return matrix


def slow_class_ious(segments: Map, truth: Map, numbers: NDArray[np.int64], classes: int) -> list[float]:
    said = numbers[segments - 1]
    counts = (truth != OTHER) & (truth != VOID)
    ious = []
    for c in range(classes):
        stands, called = (truth == c) & counts, (said == c) & counts
        ious.append((stands & called).sum() / (stands | called).sum() if stands.any() else float("nan"))
    return ious


@given(pictures())
def test_confusions_are_what_a_loop_over_pixels_counts(case: tuple[Map, Map, NDArray[np.int64], int]) -> None:
    segments, truth, numbers, classes = case
    matrix = confusion(overlaps(segments, truth, classes), numbers)
    np.testing.assert_array_equal(matrix, slow_confusion(*case))
    np.testing.assert_allclose(class_ious(matrix), slow_class_ious(*case), rtol=1e-12)


@given(pictures())
def test_overlaps_lose_no_pixel(case: tuple[Map, Map, NDArray[np.int64], int]) -> None:
    segments, truth, _, classes = case
    table = overlaps(segments, truth, classes)
    assert table.sum() == truth.size
    np.testing.assert_array_equal(table.sum(axis=1), np.bincount(segments.ravel())[1:])
    assert table[:, -2].sum() == (truth == OTHER).sum()
    assert table[:, -1].sum() == (truth == VOID).sum()


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"segments are \[1, 2\], the ground truth is \[2, 1\]"):
        overlaps(np.ones((1, 2), np.int32), np.zeros((2, 1), np.int32), 1)


def test_figures_by_hand() -> None:
    # Class 0: 4 pixels, 3 found. Class 1: 4 pixels, 2 found, 2 unknown, 1 pixel of class 0 said to be it. 2: nowhere.
    matrix = np.array([[3, 1, 0, 0], [0, 2, 0, 2], [0, 0, 0, 0]])
    np.testing.assert_allclose(class_ious(matrix), [3 / 4, 2 / 5, np.nan])
    assert mean_iou(matrix) == pytest.approx((3 / 4 + 2 / 5) / 2)
    assert pixel_accuracy(matrix) == 5 / 8


def test_a_class_that_is_said_in_vain_counts_as_0_in_the_mean_over_the_union_alone() -> None:
    matrix = np.array([[3, 1, 0], [0, 0, 0]])
    assert mean_iou(matrix) == 3 / 4
    assert mean_iou_of_union(matrix) == 3 / 8


def test_unknown_is_a_miss_and_not_left_out() -> None:
    table = np.array([[4, 0, 0, 0], [4, 0, 0, 0]])
    assert mean_iou(confusion(table, np.array([0, UNKNOWN_CLASS]))) == 0.5
    assert pixel_accuracy(confusion(table, np.array([0, UNKNOWN_CLASS]))) == 0.5


def test_nothing_to_score_is_not_a_number() -> None:
    matrix = confusion(np.array([[0, 0, 3, 4]]), np.array([1]))
    assert np.isnan(mean_iou(matrix))
    assert np.isnan(mean_iou_of_union(matrix))
    assert np.isnan(pixel_accuracy(matrix))


@given(pictures())
def test_mean_iou_is_that_of_scikit_learn(case: tuple[Map, Map, NDArray[np.int64], int]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with the extra demo")
    segments, truth, numbers, classes = case
    counts = (truth != OTHER) & (truth != VOID)
    if not counts.any():
        return
    stands, said = truth[counts], numbers[segments - 1][counts]  # unknown is -1: a label that never stands there
    expected = metrics.jaccard_score(stands, said, labels=np.unique(stands), average=None, zero_division=0)
    matrix = confusion(overlaps(segments, truth, classes), numbers)
    ious = class_ious(matrix)
    np.testing.assert_allclose(ious[np.isfinite(ious)], expected, rtol=1e-12)
    assert mean_iou(matrix) == pytest.approx(expected.mean())
    assert pixel_accuracy(matrix) == pytest.approx(metrics.accuracy_score(stands, said))
    either = np.union1d(stands, said[said != UNKNOWN_CLASS])
    expected = metrics.jaccard_score(stands, said, labels=either, average="macro", zero_division=0)
    assert mean_iou_of_union(matrix) == pytest.approx(expected)


def test_mean_iou_of_union_is_that_of_torchmetrics() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification", reason="torchmetrics is not installed")
    import torch

    generator = np.random.default_rng(3)
    stands, said = generator.integers(0, 6, 500), generator.integers(0, 5, 500)
    expected = metrics.multiclass_jaccard_index(torch.tensor(said), torch.tensor(stands), num_classes=6)
    matrix = np.zeros((6, 7), np.int64)
    np.add.at(matrix, (stands, said), 1)
    assert mean_iou_of_union(matrix) == pytest.approx(float(expected), abs=1e-6)


def test_random_labels_score_at_chance() -> None:
    """With C classes equally frequent, a class said at random has IoU (1/C^2) / (2/C - 1/C^2) = 1 / (2C - 1)."""
    generator = np.random.default_rng(0)
    classes = 8
    truth = generator.integers(0, classes, (600, 600)).astype(np.int32)
    segments = relabel(generator.integers(0, classes, truth.shape)).label_map
    matrix = confusion(overlaps(segments, truth, classes), generator.permutation(classes))
    assert mean_iou(matrix) == pytest.approx(1 / (2 * classes - 1), abs=0.002)
    assert pixel_accuracy(matrix) == pytest.approx(1 / classes, abs=0.003)


# --- Zero-guidance's figures -----------------------------------------------------------------------------------------


def slow_iou(said: NDArray[np.bool_], c: int, truth: Map, *, excuses_other: bool) -> float:
    """As the released evaluator does it, on masks: ambiguous pixels are taken out of what was said."""
    stands = truth == c
    excused = truth == VOID
    if not stands.any() and excuses_other:
        excused |= truth == OTHER
    said = said & ~excused
    union = (said | stands).sum()
    return (said & stands).sum() / union if union else float("nan")


def slow_classes(truth: Map, numbers: NDArray[np.int64]) -> list[int]:
    return sorted((set(truth.ravel().tolist()) - {OTHER, VOID}) | (set(numbers.tolist()) - {UNKNOWN_CLASS}))


@given(pictures(), st.booleans())
def test_picture_iou_is_what_masks_give(case: tuple[Map, Map, NDArray[np.int64], int], excuses_other: bool) -> None:  # noqa: FBT001
    segments, truth, numbers, classes = case
    ious = [
        slow_iou(np.isin(segments, np.flatnonzero(numbers == c) + 1), c, truth, excuses_other=excuses_other)
        for c in slow_classes(truth, numbers)
    ]
    finite = [iou for iou in ious if not np.isnan(iou)]
    expected = np.mean(finite) if finite else np.nan
    found = picture_iou(overlaps(segments, truth, classes), numbers, excuses_other=excuses_other)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(pictures(), st.booleans())
def test_segment_recall_is_what_masks_give(case: tuple[Map, Map, NDArray[np.int64], int], excuses_other: bool) -> None:  # noqa: FBT001
    segments, truth, numbers, classes = case
    found = segment_recall(overlaps(segments, truth, classes), numbers, excuses_other=excuses_other)
    listed = slow_classes(truth, numbers)
    if not listed:
        assert np.isnan(found).all()
        return
    for threshold, share in zip(THRESHOLDS, found, strict=True):
        recovered = 0
        for c in listed:
            ious = [
                slow_iou(segments == s + 1, c, truth, excuses_other=excuses_other) for s in np.flatnonzero(numbers == c)
            ]
            recovered += any(iou >= threshold for iou in ious)
        assert share == pytest.approx(recovered / len(listed))


def test_picture_iou_by_hand() -> None:
    # Segment 1 is right about 3 of 4 pixels of class 0; segment 2 says class 1, which is nowhere: a 0.
    table = np.array([[3, 0, 0, 2], [1, 0, 0, 0]])
    assert picture_iou(table, np.array([0, 1]), excuses_other=False) == pytest.approx((3 / 4 + 0) / 2)


@pytest.mark.parametrize(("excuses_other", "expected"), [(True, 3 / 4), (False, 3 / 8)])
def test_a_class_said_of_the_background_alone(excuses_other: bool, expected: float) -> None:  # noqa: FBT001
    table = np.array(
        [[3, 0, 1, 0], [0, 0, 5, 0]]
    )  # 1 pixel of the background is said to be class 0, which stands there
    assert picture_iou(table, np.array([0, 1]), excuses_other=excuses_other) == pytest.approx(expected)


def test_the_best_segment_is_that_of_the_highest_cosine_then_of_the_largest_area() -> None:
    table = np.array([[2, 0, 0], [6, 0, 0], [2, 0, 0]])
    numbers = np.array([0, 0, 0])
    assert best_segment_iou(table, numbers, np.array([0.9, 0.5, 0.1]), excuses_other=False) == 0.2
    assert best_segment_iou(table, numbers, np.array([0.9, 0.9, 0.1]), excuses_other=False) == 0.6
    assert picture_iou(table, numbers, excuses_other=False) == 1.0


def test_recall_by_hand() -> None:
    # Class 0 is found at IoU 0.5; class 1 is not said at all.
    curve = segment_recall(np.array([[5, 0, 0, 0], [5, 5, 0, 0]]), np.array([0, UNKNOWN_CLASS]), excuses_other=False)
    np.testing.assert_array_equal(curve, np.where(THRESHOLDS <= 0.5, 0.5, 0.0))
    assert recall_area(curve) == pytest.approx(0.5 * 0.505)
    assert recall_area(np.ones(101)) == pytest.approx(1.0)


def test_the_background_is_no_class_in_figures_of_single_pictures() -> None:
    table, numbers = with_background_as_other(np.array([[3, 2, 0, 1], [1, 4, 0, 0]]), np.array([0, 1]), 0)
    np.testing.assert_array_equal(table, [[0, 2, 3, 1], [0, 4, 1, 0]])
    np.testing.assert_array_equal(numbers, [UNKNOWN_CLASS, 1])


# --- segments without words ------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(pictures())
def test_no_other_match_has_a_greater_sum_of_ious(case: tuple[Map, Map, NDArray[np.int64], int]) -> None:
    segments, truth, _, classes = case
    table = overlaps(segments, truth, classes)
    found = hungarian_classes(table)
    present = sorted(set(truth.ravel().tolist()) - {OTHER, VOID})
    taken = found[found != UNKNOWN_CLASS].tolist()
    assert len(set(taken)) == len(taken)
    assert set(taken) <= set(present)

    def iou(segment: int, c: int) -> float:
        scored = (truth != OTHER) & (truth != VOID)
        mask = (segments == segment + 1) & scored
        return float((mask & (truth == c)).sum() / (mask | (truth == c)).sum())

    seats = [*range(len(table)), *[None] * max(0, len(present) - len(table))]  # some class may have to do without
    best = max(
        sum(iou(segment, c) for segment, c in zip(chosen, present, strict=True) if segment is not None)
        for chosen in itertools.permutations(seats, len(present))
    )
    assert sum(iou(s, c) for s, c in enumerate(found) if c != UNKNOWN_CLASS) == pytest.approx(best)


def test_majorities_by_hand() -> None:
    table = np.array([[3, 1, 9, 9], [2, 2, 0, 0], [0, 0, 5, 5]])
    np.testing.assert_array_equal(majority_classes(table), [0, 0, UNKNOWN_CLASS])


@given(pictures())
def test_majorities_cannot_be_bettered_in_pixels(case: tuple[Map, Map, NDArray[np.int64], int]) -> None:
    segments, truth, numbers, classes = case
    table = overlaps(segments, truth, classes)
    best = np.trace(confusion(table, majority_classes(table)))
    assert best >= np.trace(confusion(table, numbers))


# --- the labels themselves -------------------------------------------------------------------------------------------


def test_label_statistics_by_hand() -> None:
    found = label_statistics([["cat", "sofa", "cat", "unknown"], ["cat"], []])
    assert (found.segments, found.unknown, found.distinct, found.per_picture) == (5, 0.2, 2, 1.0)
    assert label_statistics([]).per_picture == 0.0


# --- words that count for every class a little -----------------------------------------------------------------------


def slow_soft_jaccard(said: NDArray[np.int64], truth: NDArray[np.int64], weights: NDArray[np.float64]) -> list[float]:
    """Pixel by pixel."""
    found = []
    for c in range(weights.shape[1]):
        scores = [weights[n, c] for n in said]
        here = [t == c for t in truth]
        intersection = sum(score for score, is_here in zip(scores, here, strict=True) if is_here)
        union = sum(scores) + sum(here) - intersection
        found.append(intersection / union if any(here) else float("nan"))
    return found


def test_soft_jaccard_against_pixels() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        said, truth = random.integers(3, size=50), random.integers(4, size=50)
        weights = random.random((3, 5)).astype(np.float32)
        pixels = np.zeros((3, 5), np.int64)
        np.add.at(pixels, (said, truth), 1)
        expected = slow_soft_jaccard(said, truth, weights.astype(np.float64))
        np.testing.assert_allclose(soft_jaccard(pixels, weights), expected, rtol=1e-6)
