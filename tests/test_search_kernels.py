"""What is compiled for the processor at hand, against NumPy's integers of 64 bits."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from build_index.search_index import compiled, counting, kernels, looking
from build_index.search_index.exact import multiply
from build_index.search_index.instructions import HALF, LANES
from build_index.search_index.kernels import Asked, Stored
from build_index.search_index.looking import BLOCKS, look
from build_index.search_index.nibbles import CODE, ROWS_OF_BLOCK
from build_index.search_index.options import first_directions
from build_index.search_index.scan import FACTOR, FINE, front_factors, highest_factor, in_order
from build_index.search_index.tiles import ROWS
from encoders import amx
from encoders.compiling import has

SHAPES = [
    (1, 1, 4),
    (5, 3, 16),
    (17, 5, 16),
    (9, 1, 80),
    (33, 33, 27),
    (100, 40, 256),
    (40, LANES, 128),
    (40, 90, 192),
    (300, 21, 1_050),
]
"""Rows, queries and directions: whole tiles and parts of them, one vector of queries and several."""

TILES = [False, pytest.param(True, marks=pytest.mark.skipif(not amx.allowed("amx-int8"), reason="no tiles (AMX)"))]


def material(rows: int, asking: int, length: int) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.int8]]:
    """Codes of a byte, factors, and factors with zeros up to a multiple of 64; the first are as high as can be."""
    rng = np.random.default_rng(rows)
    codes = rng.integers(0, 256, (rows, length)).astype(np.uint8)
    factors = rng.integers(-FACTOR, FACTOR + 1, (asking, length)).astype(np.int8)
    codes[:1], factors[0] = FINE, FACTOR
    return codes, factors, padded(factors)


def padded(factors: NDArray[np.int8]) -> NDArray[np.int8]:
    return np.pad(factors, ((0, 0), (0, -factors.shape[1] % 64)))


def packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two codes of 4 bits in a byte."""
    even = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return even[:, ::2] | even[:, 1::2] << 4


def true_products(codes: NDArray[np.uint8], factors: NDArray[np.int8]) -> NDArray[np.int64]:
    return codes.astype(np.int64) @ factors.astype(np.int64).T


@pytest.mark.parametrize(("rows", "asking", "length"), SHAPES)
def test_products_are_exact(rows: int, asking: int, length: int) -> None:
    codes, factors, wide = material(rows + -rows % ROWS, asking, length + -length % 4)
    expected = true_products(codes, factors)
    np.testing.assert_array_equal(kernels.products(codes, wide), expected.T)
    assert expected[0, 0] == FINE * FACTOR * codes.shape[1]


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize(("rows", "asking", "length"), SHAPES)
def test_the_highest_of_every_block(rows: int, asking: int, length: int, tiles: bool) -> None:  # noqa: FBT001
    codes, factors, wide = material(rows, asking, length)
    codes >>= 4
    fours, used = length // 4 * 4, rows // ROWS * ROWS
    whole = true_products(codes[:used, :fours], factors[:, :fours]).reshape(used // HALF, HALF, asking)
    found = kernels.highest_of_blocks(codes, wide, tiles)
    np.testing.assert_array_equal(found, whole.max(axis=1, initial=-(2**31)).T)


@pytest.mark.parametrize("scale", [1, 100, 2**30])
def test_the_so_manieth_highest(scale: int) -> None:
    numbers = np.random.default_rng(scale).integers(-scale, scale + 1, (3, 500)).astype(np.int32)
    for rank in (1, 2, 250, 499, 500):
        np.testing.assert_array_equal(counting.highest(numbers, rank), np.sort(numbers, axis=1)[:, 500 - rank])


def test_vectors_are_turned_as_by_a_matrix() -> None:
    rng = np.random.default_rng(0)
    queries, directions = (rng.standard_normal((count, 50)).astype(np.float32) for count in (7, 11))
    expected = queries.astype(np.float64) @ directions.T.astype(np.float64)
    np.testing.assert_allclose(counting.turned(queries, directions), expected, atol=2e-5)


@pytest.mark.parametrize(("rows", "asking", "length"), SHAPES)
@pytest.mark.parametrize("share", [0, 1, 2])
@pytest.mark.parametrize("tiles", TILES)
def test_looking_finds_what_is_high_enough_three_times(
    rows: int,
    asking: int,
    length: int,
    share: int,
    tiles: bool,  # noqa: FBT001
) -> None:
    """By the centroid, the first directions and all of them, whatever room there is and however often it goes on."""
    rng = np.random.default_rng(length)
    front = first_directions(length)
    sizes = [max(rows - less, 0) for less in (0, 1, rows, 3)] + [0] * (ROWS - 4) + [2] + [0] * (ROWS - 1)
    values, factors, _ = material(sum(sizes), asking, length)
    values >>= 4
    rows_of_lists = np.split(rng.permutation(sum(sizes)).astype(np.int64), np.cumsum(sizes))[:-1]
    centroids, _, _ = material(2 * ROWS, 1, front + -front % 4 + 4)
    near = rng.integers(-FACTOR, FACTOR + 1, (asking, centroids.shape[1])).astype(np.int8)
    looked = (front + 1) // 2 // 2 * 4
    small, _ = front_factors(factors[:, :looked].astype(np.float32))
    part = true_products(values[:, :looked], small)
    assert np.abs(part).max(initial=0) <= 15 * np.abs(small.astype(int)).sum(axis=1).max(initial=0) < 2**15
    whole, of_lists = true_products(values, factors), true_products(centroids, near)
    first = (np.quantile(part, 1 - share / 2, axis=0) - 1).astype(np.int32)
    least, opened = (np.median(each, axis=0).astype(np.int32) for each in (whole, of_lists))
    good = {
        (int(row), query)
        for number, some in enumerate(rows_of_lists)
        for row in some
        for query in range(asking)
        if of_lists[number, query] > opened[query] and part[row, query] > first[query]
    }
    codes, everything = [packed(values[some, :front]) for some in rows_of_lists], packed(values)
    addresses = (np.array([each.ctypes.data for each in some], np.int64) for some in (codes, rows_of_lists))
    of_row = (front + 1) // 2, everything.ctypes.data, everything.shape[1]
    stored = Stored(centroids, *addresses, np.array(sizes), *of_row, tiles)
    asked = Asked(padded(near), opened, in_order(small), first, in_order(factors), least)
    most = BLOCKS * ROWS_OF_BLOCK * asking + 1
    for room in (most, sum(sizes) * asking + most):
        place, found = (0, 0), []
        while place[0] < 2 * ROWS:
            space = np.empty(room, np.int64)
            count, place = look(stored, asked, np.array([1, 0]), place, space)
            found += space[:count].tolist()
        assert len(found) == len(good)
        assert {(each >> 16, each & 0xFFFF) for each in found} == good
    queries, keys = np.empty(len(found), np.int32), np.empty(len(found), np.int64)
    count = kernels.multiply_rows(stored, asked, np.array(found, np.int64), queries, keys)
    left = {(query, -int(whole[row, query]) * 2**38 + row) for row, query in good if whole[row, query] > least[query]}
    assert count == len(left)
    assert set(zip(queries[:count].tolist(), keys[:count].tolist(), strict=True)) == left


@pytest.mark.parametrize("length", [16, 128, 200])
def test_a_list_is_looked_into_alike_in_three_ways(length: int) -> None:
    """The way of whole tiles, too, with sums as processors without tiles take them."""
    values, factors, _ = material(150, 5, length)
    small, _ = front_factors(factors.astype(np.float32))
    codes, rows, mine = packed(values >> 4), np.arange(150) * 7, np.array([0, 2, 3], np.int32)
    centroids, near = np.zeros((ROWS, 4), np.uint8), np.zeros((5, 64), np.int8)
    sums = true_products(values >> 4, small)
    first, none = np.quantile(sums, 0.7, axis=0).astype(np.int32), np.zeros(5, np.int32)
    one = (np.array([each], np.int64) for each in (codes.ctypes.data, rows.ctypes.data, 150))
    stored = Stored(centroids, *one, codes.shape[1], codes.ctypes.data, codes.shape[1], False)  # noqa: FBT003
    asked = Asked(near, none, in_order(small), first, in_order(small), none)
    wide, steps, space = asked.front.shape[1], codes.shape[1] // 2 * 2, np.empty(1 << 14, np.int64)
    bounds, high, tile = (np.empty(size, np.int32) for size in (LANES, (ROWS + 1) * LANES, 4 * ROWS * LANES))
    bytes_ = np.zeros((ROWS, wide), np.uint8), 0
    tiles = kernels.room_for(5, wide // 4), bounds, (high, tile.reshape(-1, LANES)), bytes_
    turned, masks = np.zeros((BLOCKS, steps, ROWS_OF_BLOCK, 2), np.uint8), np.empty((BLOCKS, 9), np.int32)
    others = (np.empty(99, np.int64), np.empty(99, np.int32)), (masks, np.empty((2, 99), np.int32))
    blocks = looking._twice(asked.front, steps), turned, *others
    visit = 0, mine
    for look_by, room in (
        (looking._look_by_tiles, [tiles]),
        (looking._look_by_blocks, [blocks]),
        (looking._look_by_rows, []),
    ):
        count, row = look_by(stored, asked, visit, *room, space, (0, 0))
        assert row == 150
        expected = {
            (7 * int(row), int(query)) for query in mine for row in np.flatnonzero(sums[:, query] > first[query])
        }
        assert count == len(expected)
        assert {(each >> 16, each & 0xFFFF) for each in space[:count].tolist()} == expected


def test_what_was_found_is_put_in_the_order_of_the_rows() -> None:
    found = (np.random.default_rng(0).permutation(1_000) << 16) + 3
    counts = np.zeros(8, np.int64)
    counting.count_rows(found, 7, counts)
    assert counts.tolist() == [128] * 7 + [104]
    out = np.empty(1_000, np.int64)
    counting.put_rows(found, 7, np.arange(0, 1_000, 128), out)
    np.testing.assert_array_equal(out >> 16 >> 7, np.arange(1_000) >> 7)
    np.testing.assert_array_equal(np.sort(out), np.sort(found))


def test_factors_leave_room_for_the_row() -> None:
    for length in (1, 256, 34_952, 34_953, 70_000):
        assert CODE * highest_factor(length) * length <= 2**25


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_cosines_of_any_float16(precision: type[np.floating[Any]]) -> None:
    """Of every finite number there is, whichever part it lies in."""
    bits = np.arange(1 << 16).astype(np.uint16).view(np.float16)
    finite = bits[np.isfinite(bits)]
    vectors = finite[: len(finite) // 8 * 8].reshape(-1, 8)
    parts = [vectors[:1], vectors[1:5_000], vectors[5_000:]]
    starts = np.cumsum([0, *map(len, parts)])
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((2, 8)).astype(precision)
    rows = np.sort(rng.permutation(len(vectors))[:6_000]).astype(np.int64)
    places = rng.permutation(12_000)[:6_000]
    cosines = np.full(12_000, -np.inf, precision)
    addresses = np.array([part.ctypes.data for part in parts], np.int64)
    multiply(addresses, starts, (rows << 26) + places, queries * precision(2.0**112), cosines)
    expected = np.einsum("nd,nd->n", vectors[rows].astype(np.float64), queries[places // 6_000].astype(np.float64))
    scale = np.abs(vectors[rows].astype(np.float64)).max(axis=1) * np.abs(queries).max() * 8
    error = np.abs(cosines[places] - expected) / scale
    assert error.max() < np.finfo(precision).eps
    assert np.isneginf(np.delete(cosines, places)).all()


LONG_VECTORS = has(cpu_target.target_context, "avx2", "avx512f")


@pytest.mark.parametrize(
    "processor",
    [
        pytest.param({"NUMBA_CPU_NAME": "generic"}, id="generic"),
        pytest.param(
            {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
            id="AVX2",
            marks=pytest.mark.skipif(not LONG_VECTORS, reason="this processor has no more than AVX2 itself"),
        ),
    ],
)
def test_every_processor_finds_the_same(tmp_path: Path, processor: dict[str, str]) -> None:
    """Those without the instructions for four products, that is; this file's other tests run on them as well."""
    environment = {**os.environ, **processor, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist"]
    tests = [f"{__file__}::{name}" for name in ("test_products_are_exact", "test_the_highest_of_every_block")]
    tests.append(f"{__file__}::test_looking_finds_what_is_high_enough_three_times")
    ran = subprocess.run([*command, *tests], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3_000:]
    assert " passed" in ran.stdout


def test_without_a_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    make = numba.njit

    def njit(cache: bool = False, **options: object) -> object:  # noqa: FBT001, FBT002
        if cache and "nogil" in options:  # ours, and not what Numba compiles of its own
            raise RuntimeError("cannot cache function: no locator available")
        return make(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert compiled.compiled(lambda number: number + 1)(2) == 3


def test_machine_code_is_kept_until_any_file_beside_it_changes(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    shutil.copy(compiled.__file__, room / "compiled.py")
    begin = "from room.compiled import compiled\n\n\n@compiled\ndef "
    (room / "__init__.py").touch()
    (room / "two.py").write_text(f"from room.one import add\n{begin}twice(x):\n    return 2 * add(x)\n")

    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent.parent)])

    def answer(more: int) -> list[str]:
        (room / "one.py").write_text(f"{begin}add(x):\n    return x + {more}\n")
        program = "from room.two import twice; print(twice(1), sum(twice.stats.cache_hits.values()))"
        environment = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout.split()

    assert answer(1) == ["4", "0"]
    assert answer(1) == ["4", "1"]
    assert answer(2) == ["6", "0"]
    assert answer(2) == ["6", "1"]
