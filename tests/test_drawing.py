"""The overlay: against plain loops, and the promises that make it readable."""

import colorsys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import WORDS, blobs, some_labels
from numpy.typing import NDArray

from labeler.drawing import PIXELS_AT_A_TIME, PLATE_LIGHTNESS, TINT, colour_of, draw_overlay, outline, plate_of
from labeler.labeled import LabeledImage
from labeler.lettering import family_for, packaged, pillows
from labeler.placing import GRID, LEAST_INSIDE, Place, box_sums, depths, place_names
from segmenter import relabel


def small(seed: int, height: int, width: int) -> NDArray[np.int32]:
    return relabel(blobs(np.random.default_rng(seed), height, width, 5)).label_map


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_box_sums_against_loops(seed: int, height: int, width: int, rows: int, cols: int) -> None:
    values = np.random.default_rng(seed).integers(0, 9, (height, width))
    expected = [
        [values[y : y + rows, x : x + cols].sum() for x in range(width - cols + 1)] for y in range(height - rows + 1)
    ]
    fits = rows <= height and cols <= width
    np.testing.assert_array_equal(box_sums(values, rows, cols), expected if fits else np.zeros((0, 0)))


@pytest.mark.parametrize("seed", range(5))
def test_depths_against_the_distance_to_the_nearest_other_cell(seed: int) -> None:
    mask = small(seed, 14, 17) == 1
    outside = np.argwhere(~np.pad(mask, 1))
    for y, x in np.ndindex(mask.shape):
        nearest = np.abs(outside - (y + 1, x + 1)).sum(axis=1).min()  # steps along rows and columns
        assert depths(mask)[y, x] == (nearest if mask[y, x] else 0)


def literal_places(label_map: NDArray[np.int32], boxes: list[list[tuple[int, int]]]) -> list[Place]:
    """As the docstring says, one position after another; for pictures of no more pixels than the grid has cells."""
    height, width = label_map.shape
    order = sorted(range(len(boxes)), key=lambda row: -int((label_map == row + 1).sum()))
    placed: list[Place] = []
    for row in order:
        mask = label_map == row + 1
        depth = depths(mask)
        for choice, (w, h) in enumerate(boxes[row]):
            best: tuple[int, int, int, int] | None = None
            for y in range(height - h + 1):
                for x in range(width - w + 1):
                    others = [each.box for each in placed]
                    if any(x < ox + ow and ox < x + w and y < oy + oh and oy < y + h for ox, oy, ow, oh in others):
                        continue
                    key = (int(mask[y : y + h, x : x + w].sum()), int(depth[y : y + h, x : x + w].sum()), -y, -x)
                    best = max(best, key) if best else key
            if best and best[0] >= LEAST_INSIDE * w * h:
                placed.append(Place(row, choice, (-best[3], -best[2], w, h)))
                break
    return placed


@given(st.integers(0, 10_000), st.integers(8, 22), st.integers(8, 22))
def test_names_go_where_the_plain_search_puts_them(seed: int, height: int, width: int) -> None:
    label_map = small(seed, height, width)
    generator = np.random.default_rng(seed)
    boxes = [[(w, h), (max(1, w // 2), max(1, h // 2))] for w, h in generator.integers(1, 12, (label_map.max(), 2))]
    boxes = [[(int(w), int(h)) for w, h in sizes] for sizes in boxes]
    assert place_names(label_map, boxes) == literal_places(label_map, boxes)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (97, 1003), (333, 251), (GRID + 1, GRID + 1), (5, 400)])
def test_names_never_overlap_nor_leave_the_picture(height: int, width: int) -> None:
    label_map = small(3, height, width)
    boxes = [[(width // 4, height // 5), (width // 9, height // 12 or 1)]] * int(label_map.max())
    covered = np.zeros((height, width), int)
    for place in place_names(label_map, boxes):
        x, y, w, h = place.box
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
        covered[y : y + h, x : x + w] += 1
    assert covered.max() <= 1
    if height > 5:
        assert covered.any()


def test_a_name_without_room_is_left_out() -> None:
    label_map = np.ones((40, 40), np.int32)
    label_map[:2, :2] = 2
    (only,) = place_names(label_map, [[(10, 5)], [(10, 5)]])
    assert (only.row, only.choice) == (0, 0)
    assert place_names(label_map, [[(41, 5)], [(10, 5)]]) == []


def test_outlines_against_loops() -> None:
    label_map = small(7, 20, 25)
    expected = np.zeros(label_map.shape, bool)
    for y, x in np.ndindex(label_map.shape):
        right, below = label_map[y, min(x + 1, 24)], label_map[min(y + 1, 19), x]
        expected[y, x] = label_map[y, x] != right or label_map[y, x] != below
    np.testing.assert_array_equal(outline(label_map), expected)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_a_straight_outline_is_as_wide_as_asked(width: int) -> None:
    label_map = np.repeat([[1, 2]], 10, axis=1).repeat(6, axis=0).astype(np.int32)
    np.testing.assert_array_equal(outline(label_map, width).sum(axis=1), width)


def test_names_can_be_read_on_their_plates() -> None:
    """Contrast of white as WCAG 2 defines it, over all hues that a label may have."""

    def luminance(colour: tuple[int, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (c / 255 for c in colour)]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    plates = [
        tuple(round(c * 255) for c in colorsys.hls_to_rgb(hue / 255, PLATE_LIGHTNESS, 0.75)) for hue in range(256)
    ]
    assert min(1.05 / (luminance(plate) + 0.05) for plate in plates) >= 4.5
    assert {plate_of(word) for word in WORDS} <= set(plates)


def test_colours_belong_to_labels_and_overlays_do_not_vary() -> None:
    assert colour_of("grass") != colour_of("sky")
    labeled = some_labels(np.random.default_rng(2), 360, 480)
    picture = np.random.default_rng(3).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    first = draw_overlay(picture, labeled.segments, labeled.names)
    np.testing.assert_array_equal(first, draw_overlay(picture, labeled.segments, labeled.names))
    assert first.shape == picture.shape
    edges = outline(labeled.segments.label_map, 1)
    tinted = (picture * 0.65 + colours_of(labeled) * 0.35).astype(np.uint8)
    tinted[edges] = colours_of(labeled).astype(np.uint8)[edges]
    differs = (first != tinted).any(axis=2)  # only where names lie
    assert 0 < differs.sum() < 0.2 * differs.size


def colours_of(labeled: LabeledImage) -> NDArray[np.float32]:
    """Each pixel's label's colour: float32 [H, W, 3]."""
    colours = np.zeros((*labeled.segments.size, 3), np.float32)
    for number, name in enumerate(labeled.names):
        colours[labeled.mask(number)] = colour_of(name)
    return colours


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (12, 9)])
def test_pictures_of_any_size_are_drawn(height: int, width: int) -> None:
    segments, names = relabel(np.zeros((height, width), np.int64)), ["a very long name that fits nowhere"]
    drawn = draw_overlay(np.zeros((height, width, 3), np.uint8), segments, names, "untrained")
    assert drawn.shape == (height, width, 3)


def test_a_large_picture_is_drawn_in_little_memory() -> None:
    generator = np.random.default_rng(0)
    labeled = some_labels(generator, 700, 900)
    assert labeled.segments.label_map.size > 2 * PIXELS_AT_A_TIME
    picture = generator.integers(0, 256, (700, 900, 3), dtype=np.uint8)
    tracemalloc.start()
    drawn = draw_overlay(picture, labeled.segments, labeled.names, "default")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 * 700 * 900
    colours = np.array([(0, 0, 0), *map(colour_of, labeled.names)])[labeled.segments.label_map]
    plain = np.abs(drawn - (picture * (1 - TINT) + colours * TINT)).max(axis=2) < 1.01
    assert plain.mean() > 0.9  # but for outlines and names


def test_names_are_written_in_a_font_that_has_their_letters() -> None:
    assert {family_for(name) for name in ("grass", "T-shirt (red)", "St. Paul's", "unknown")} == {pillows}
    words = ("Straße", "café", "łódź", "jalapeño", "őszibarack", "ağaç", "hộp bút", "собака", "σκύλος", "œuf…")
    assert {family_for(name) for name in words} == {packaged}
    assert {family_for(name) for name in ("犬", "कुत्ता", "a 猫")} == {None}


def test_no_name_is_drawn_as_empty_boxes() -> None:
    picture, segments = np.full((120, 160, 3), 128, np.uint8), relabel(np.zeros((120, 160), np.int64))
    drawn = {name: draw_overlay(picture, segments, [name], "") for name in ("犬犬犬", "ßßß", "aaa")}
    white = {name: int((pixels.min(axis=2) > 200).sum()) for name, pixels in drawn.items()}
    assert white["犬犬犬"] == 0
    assert white["ßßß"] > 0
    assert white["aaa"] > 0
