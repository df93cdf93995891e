"""Segments against loops over pixels."""

import copy
import dataclasses
import pickle
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmenter.segments import MAX_SEGMENTS, Segments, relabel

CORNER = np.array(
    [
        [1, 1, 2, 2],
        [1, 3, 3, 2],
        [4, 4, 4, 2],
    ],
    dtype=np.int32,
)


@st.composite
def label_maps(draw: st.DrawFn) -> npt.NDArray[np.int64]:
    """Small maps of arbitrary non-negative numbers, some of them huge."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    numbers = draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=6))
    return draw(arrays(np.int64, shape, elements=st.sampled_from(numbers)))


def test_hand_made_segments() -> None:
    segments = Segments(CORNER, count=4)
    assert segments.size == (3, 4)
    np.testing.assert_array_equal(segments.areas, [3, 4, 2, 3])
    np.testing.assert_array_equal(segments.boxes, [[0, 0, 2, 2], [2, 0, 2, 3], [1, 1, 2, 1], [0, 2, 3, 1]])
    np.testing.assert_array_equal(segments.mask(3), [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    assert segments.areas.dtype == segments.boxes.dtype == np.int64
    assert segments.mask(3).dtype == np.bool_


def test_segments_are_equal_where_their_maps_are() -> None:
    one, same = Segments(CORNER, count=4), Segments(CORNER.copy(), count=4)
    assert one == same
    assert hash(one) == hash(same)
    assert one not in (Segments(CORNER[::-1].copy(), count=4), Segments(CORNER[:, :3].copy(), count=4), "segments")


def test_one_pixel() -> None:
    segments = Segments(np.ones((1, 1), dtype=np.int32), count=1)
    np.testing.assert_array_equal(segments.areas, [1])
    np.testing.assert_array_equal(segments.boxes, [[0, 0, 1, 1]])


@given(label_maps())
@settings(max_examples=60, deadline=None)
def test_against_a_loop_over_pixels(label_map: npt.NDArray[np.int64]) -> None:
    numbers: dict[int, int] = {}
    pixels: dict[int, list[tuple[int, int]]] = {}
    for (y, x), value in np.ndenumerate(label_map):
        number = numbers.setdefault(int(value), len(numbers) + 1)
        pixels.setdefault(number, []).append((y, x))
    segments = relabel(label_map)
    assert segments.count == len(pixels)
    assert segments.label_map.dtype == np.int32
    for number, places in pixels.items():
        assert {(int(y), int(x)) for y, x in np.argwhere(segments.mask(number))} == set(places)
        ys, xs = zip(*places, strict=True)
        box = [min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1]
        assert segments.areas[number - 1] == len(places)
        np.testing.assert_array_equal(segments.boxes[number - 1], box)


@given(label_maps())
@settings(max_examples=30, deadline=None)
def test_relabelling_twice_changes_nothing(label_map: npt.NDArray[np.int64]) -> None:
    once = relabel(label_map)
    np.testing.assert_array_equal(relabel(once.label_map).label_map, once.label_map)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64])
def test_relabel_takes_every_integer_and_any_memory_order(dtype: type[np.integer]) -> None:
    label_map = np.array([[9, 0], [9, 5], [0, 0]], dtype=dtype)
    np.testing.assert_array_equal(relabel(label_map).label_map, [[1, 2], [1, 3], [2, 2]])
    np.testing.assert_array_equal(relabel(label_map.T).label_map, [[1, 1, 2], [2, 3, 2]])
    np.testing.assert_array_equal(relabel(label_map[::-1, ::-1]).label_map, [[1, 1], [2, 3], [1, 3]])


def test_as_many_segments_as_a_palette_holds() -> None:
    row = np.arange(MAX_SEGMENTS)[None]
    np.testing.assert_array_equal(relabel(row).label_map, row + 1)
    with pytest.raises(ValueError, match="1 to 255 segments, not 256"):
        relabel(np.arange(MAX_SEGMENTS + 1)[None])


@pytest.mark.parametrize(
    ("label_map", "count", "message"),
    [
        (CORNER.astype(np.int64), 4, r"int32 \[H, W\], not int64 \[3, 4\]"),
        (CORNER[0], 2, r"not int32 \[4\]"),
        (CORNER[:0], 1, r"not int32 \[0, 4\]"),
        (CORNER, 3, "holds 1 to 4, expected 1 to 3"),
        (CORNER - 1, 4, "holds 0 to 3, expected 1 to 4"),
        (CORNER * 2, 8, r"segments \[1, 3, 5, 7\] have no pixel"),
        (CORNER, 5, r"segments \[5\] have no pixel"),
        (CORNER, 0, "1 to 255 segments, not 0"),
        (CORNER, 256, "1 to 255 segments, not 256"),
    ],
)
def test_impossible_segments_are_refused(label_map: npt.NDArray[np.int32], count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segments(label_map, count)


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        (np.array([[1, -2]]), "no negative numbers, found -2"),
        (np.array([[1.0, 2.0]]), "not float64"),
        (np.array([1, 2]), r"not int64 \[2\]"),
        (np.zeros((3, 0), dtype=np.int32), r"not int32 \[3, 0\]"),
    ],
)
def test_impossible_label_maps_are_refused(label_map: npt.NDArray[np.integer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relabel(label_map)


@pytest.mark.parametrize("number", [0, 5, -1])
def test_there_is_no_such_segment(number: int) -> None:
    with pytest.raises(ValueError, match=f"no segment {number}, only 1 to 4"):
        Segments(CORNER, count=4).mask(number)


def test_segments_cannot_be_changed() -> None:
    ours = CORNER.copy()
    segments = Segments(ours, count=4)
    with pytest.raises(ValueError, match="read-only"):
        segments.label_map[0, 0] = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        segments.count = 3  # type: ignore[misc]
    ours[0, 0] = 2  # the caller's own array is not locked


@pytest.mark.parametrize("copied", [lambda segments: pickle.loads(pickle.dumps(segments)), copy.copy, copy.deepcopy])
def test_copies_are_equal_and_read_only(copied: Callable[[Segments], Segments]) -> None:
    segments = relabel(np.array([[7, 7, 0], [7, 3, 0]]))
    other = copied(segments)
    assert other == segments
    assert other.areas.tolist() == [3, 2, 1]
    with pytest.raises(ValueError, match="read-only"):
        other.label_map[0, 0] = 2
    with pytest.raises(ValueError, match="read-only"):
        other.areas[0] = 2
