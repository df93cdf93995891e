"""Both pipelines end to end, on networks that can be followed by eye."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from segmenter import (
    Edges,
    Regions,
    SegmentConfig,
    Segments,
    draw_outlines,
    embed_segments,
    relabel,
    segment,
    segment_cells,
)
from segmenter.pipeline import EDGES, REGIONS

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
QUICK = SegmentConfig(regions=Regions.KMEANS, edges=Edges.NONE, k=4, restarts=2, iterations=10)


class CellColours:
    """Sees each cell as the shares of the four colours in it: red, green, blue, white."""

    def __init__(self, rows: int, cols: int) -> None:
        self.rows, self.cols = rows, cols

    def embed(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        height, width = picture.shape[:2]
        shares = np.stack([(picture == colour).all(axis=2) for colour in (RED, GREEN, BLUE, WHITE)], axis=2)
        cells = shares.reshape(self.rows, height // self.rows, self.cols, width // self.cols, 4)
        return cells.mean(axis=(1, 3), dtype=np.float32)


class Fixed:
    """Sees the same grid in every picture."""

    def __init__(self, grid: npt.NDArray[np.float32]) -> None:
        self.grid = grid

    def embed(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return self.grid


def painted(colours: list[list[tuple[int, int, int]]], side: int) -> npt.NDArray[np.uint8]:
    """Square tiles of colour: uint8 [rows * side, cols * side, 3]."""
    return np.array(colours, dtype=np.uint8).repeat(side, axis=0).repeat(side, axis=1)


def tiled(numbers: list[list[int]], side: int) -> npt.NDArray[np.int32]:
    return np.array(numbers, dtype=np.int32).repeat(side, axis=0).repeat(side, axis=1)


@pytest.mark.parametrize(("rows", "cols"), [(4, 6), (8, 6), (16, 24), (32, 48)])
def test_coloured_fields_come_back_exactly(rows: int, cols: int) -> None:
    picture = painted([[RED, GREEN, RED], [BLUE, WHITE, BLUE]], side=16)
    segments = segment(picture, CellColours(rows, cols), QUICK)
    np.testing.assert_array_equal(segments.label_map, tiled([[1, 2, 1], [3, 4, 3]], side=16))


def test_cells_are_cut_as_the_picture_is_and_drawn_later() -> None:
    picture = painted([[RED, GREEN, RED], [BLUE, WHITE, BLUE]], side=16)
    cells = segment_cells(picture, CellColours(4, 6), QUICK)
    np.testing.assert_array_equal(cells.label_map, tiled([[1, 2, 1], [3, 4, 3]], side=2))
    maps = np.eye(5, dtype=np.float32)[[[0, 4, 2]] * 2]  # no cell is in the maps 1 and 3
    drawn, which = draw_outlines(picture, maps, QUICK)
    np.testing.assert_array_equal(drawn.label_map, np.kron([[1, 2, 3]], np.ones((32, 16))))
    assert which.tolist() == [0, 4, 2]
    whole, which = draw_outlines(picture, np.zeros((2, 2, 1), np.float32), QUICK)
    assert (whole.count, which.tolist(), whole.size) == (1, [0], (32, 48))


def test_checkerboard_comes_back_exactly() -> None:
    cells = np.indices((6, 9)).sum(axis=0) % 2
    grid = np.stack([cells, 1 - cells], axis=2).astype(np.float32)
    picture = np.zeros((6, 9, 3), dtype=np.uint8)  # one pixel per cell: nothing between cells to blend
    segments = segment(picture, Fixed(grid), QUICK)
    assert segments.count == 2
    np.testing.assert_array_equal(segments.label_map, cells + 1)


def test_stripes_keep_the_size_of_the_picture() -> None:
    grid = np.eye(4, dtype=np.float32)[None].repeat(3, axis=0)  # three rows of four columns, each its own direction
    picture = np.zeros((31, 80, 3), dtype=np.uint8)
    segments = segment(picture, Fixed(grid), QUICK)
    np.testing.assert_array_equal(segments.label_map, np.arange(80)[None].repeat(31, axis=0) // 20 + 1)


def test_one_pixel_and_a_blank_picture_are_one_segment() -> None:
    for grid in (np.ones((4, 4, 3)), np.zeros((4, 4, 3))):
        for size in ((1, 1), (7, 5)):
            segments = segment(np.zeros((*size, 3), dtype=np.uint8), Fixed(grid.astype(np.float32)), QUICK)
            np.testing.assert_array_equal(segments.label_map, np.ones(size))


def test_a_cell_of_large_norm_swallows_nothing() -> None:
    """With centres found by distance and pixels given by dot product, the long vector would win everywhere."""
    grid = np.array([[[1, 0.5], [1, 0.5], [90, 90], [90, 90]]], dtype=np.float32)
    segments = segment(np.zeros((4, 8, 3), dtype=np.uint8), Fixed(grid), replace(QUICK, k=2))
    np.testing.assert_array_equal(segments.label_map, [[1, 1, 1, 1, 2, 2, 2, 2]] * 4)


def test_same_seed_same_segments() -> None:
    grid = np.random.default_rng(0).standard_normal((8, 8, 5)).astype(np.float32)
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    first, again, other = (
        segment(picture, Fixed(grid), replace(QUICK, k=6, seed=seed, restarts=1)).label_map for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_vectors_of_coloured_fields() -> None:
    picture = painted([[RED, GREEN], [BLUE, WHITE]], side=8)
    segments = Segments(tiled([[1, 2], [3, 4]], side=8), count=4)
    vectors = embed_segments(picture, segments, CellColours(rows=16, cols=16))  # one cell per pixel: no blending
    np.testing.assert_array_equal(vectors, np.eye(4))


def test_vectors_of_mixed_segments() -> None:
    picture = painted([[RED, GREEN], [BLUE, WHITE]], side=8)
    segments = Segments(tiled([[1, 1], [2, 1]], side=8), count=2)
    vectors = embed_segments(picture, segments, CellColours(rows=16, cols=16))
    np.testing.assert_allclose(vectors, [np.array([1, 1, 0, 1]) / np.sqrt(3), [0, 0, 1, 0]], rtol=1e-6)


def test_segments_of_another_picture_are_refused() -> None:
    picture = np.zeros((4, 6, 3), dtype=np.uint8)
    segments = relabel(np.zeros((6, 4), dtype=np.int32))
    with pytest.raises(ValueError, match=r"\(4, 6\) pixels high and wide, its segments \(6, 4\)"):
        embed_segments(picture, segments, Fixed(np.ones((2, 2, 3), dtype=np.float32)))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.ones((4, 3), dtype=np.float32), r"Fixed embeds a picture as \[4, 3\], expected \[rows, cols, C\]"),
        (np.full((1, 2, 3), np.nan, dtype=np.float32), "Fixed returned 6 values that are not finite"),
        (np.full((1, 2, 3), 1e300), "Fixed returned 6 values that are not finite"),
        (np.ones((1, 2, 3), dtype=complex), "Fixed embeds a picture as an array complex128, expected a NumPy array"),
        ([[[1.0]]], r"Fixed embeds a picture as list, expected a NumPy array float32 \[rows, cols, C\]"),
        (None, "Fixed embeds a picture as NoneType, expected a NumPy array"),
    ],
)
def test_broken_networks_are_named(grid: Any, message: str) -> None:
    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=message):
        segment(picture, Fixed(grid), QUICK)
    with pytest.raises(ValueError, match=message):
        embed_segments(picture, relabel(np.zeros((4, 4), dtype=np.int32)), Fixed(grid))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"k": 0}, "k is 0, expected 1 to 255"),
        ({"k": 256}, "k is 256"),
        ({"seed": -1}, "seed is -1"),
        ({"restarts": 0}, "restarts is 0"),
        ({"iterations": 0}, "iterations 0"),
        ({"alike": 1.5}, "alike is 1.5, expected 0 to 1"),
        ({"min_cells": 0}, "min_cells is 0"),
        ({"max_regions": 300}, "max_regions is 300, expected 1 to 255"),
        ({"parts": 0}, "parts is 0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentConfig(**setting)


def test_a_choice_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match=r"regions is 'kmeans', expected one of Regions\.KMEANS, Regions\.TREE"):
        SegmentConfig(regions="kmeans")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"edges is None, expected one of Edges\.NONE"):
        SegmentConfig(edges=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_networks_may_give_numbers_of_other_kinds(dtype: "npt.DTypeLike") -> None:
    numbers = np.random.default_rng(5).integers(-40, 40, (4, 6, 512))
    picture = painted([[RED, GREEN, RED], [BLUE, WHITE, BLUE]], side=16)
    asked, given = Fixed(numbers.astype(np.float32)), Fixed(numbers.astype(dtype))  # equal: all are whole and small
    segments = segment(picture, asked, QUICK)
    assert segment(picture, given, QUICK) == segments
    vectors = embed_segments(picture, segments, given)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, embed_segments(picture, segments, asked))


def test_every_way_of_finding_regions_is_in_the_table() -> None:
    assert set(REGIONS) == set(Regions)
    assert Regions("kmeans") is Regions.KMEANS


@pytest.mark.parametrize("edges", Edges)
@pytest.mark.parametrize("regions", Regions)
def test_every_way_finds_two_fields(regions: Regions, edges: Edges) -> None:
    assert set(EDGES) == set(Edges)
    picture = painted([[RED, BLUE]], side=64)
    segments = segment(picture, CellColours(rows=8, cols=16), SegmentConfig(regions=regions, edges=edges, k=2, parts=2))
    np.testing.assert_array_equal(segments.label_map, tiled([[1, 2]], side=64))
