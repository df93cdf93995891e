"""What is compiled for the processor at hand, against NumPy's integers of 64 bits."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from build_index.search_index import compiled, kernels
from build_index.search_index.exact import multiply
from build_index.search_index.kernels import LANES, ROWS, Asked, Stored
from build_index.search_index.scan import CODE, FACTOR, highest_factor

SHAPES = [(1, 1, 3), (5, 3, 16), (17, 5, 16), (9, 1, 80), (33, 33, 27), (100, 40, 256), (40, LANES, 128)]
"""Rows, queries and directions: whole tiles and parts of them, one vector of queries and several."""


def material(rows: int, asking: int, length: int) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.int8]]:
    """Codes, factors, and factors with zeros up to a multiple of four; the first of each are as high as can be."""
    rng = np.random.default_rng(rows)
    codes = rng.integers(0, 256, (rows, length)).astype(np.uint8)
    factors = rng.integers(-FACTOR, FACTOR + 1, (asking, length)).astype(np.int8)
    codes[:1], factors[0] = CODE, FACTOR
    return codes, factors, np.pad(factors, ((0, 0), (0, -length % 4)))


def true_products(codes: NDArray[np.uint8], factors: NDArray[np.int8]) -> NDArray[np.int64]:
    return codes.astype(np.int64) @ factors.astype(np.int64).T


@pytest.mark.parametrize(("rows", "asking", "length"), SHAPES)
def test_products_are_exact(rows: int, asking: int, length: int) -> None:
    codes, factors, wide = material(rows, asking, length)
    expected = true_products(codes, factors)
    np.testing.assert_array_equal(kernels.products(codes, wide), expected.T)
    assert expected[0, 0] == CODE * FACTOR * length


@pytest.mark.parametrize(("rows", "asking", "length"), SHAPES)
def test_the_highest_of_every_block(rows: int, asking: int, length: int) -> None:
    codes, factors, wide = material(rows, asking, length)
    fours, blocks = length // 4 * 4, rows // ROWS
    whole = true_products(codes[: blocks * ROWS, :fours], factors[:, :fours]).reshape(blocks, ROWS, asking)
    np.testing.assert_array_equal(kernels.highest_of_blocks(codes, wide), whole.max(axis=1, initial=-(2**31)).T)


def test_vectors_are_turned_as_by_a_matrix() -> None:
    rng = np.random.default_rng(0)
    queries, directions = (rng.standard_normal((count, 50)).astype(np.float32) for count in (7, 11))
    expected = queries.astype(np.float64) @ directions.T.astype(np.float64)
    np.testing.assert_allclose(kernels.turned(queries, directions), expected, atol=2e-5)


@pytest.mark.parametrize(("rows", "asking", "length"), SHAPES)
@pytest.mark.parametrize("share", [0, 1, 2])
def test_looking_finds_what_is_high_enough_twice(rows: int, asking: int, length: int, share: int) -> None:
    """By the first part of the directions and by all of them, whatever the room is and however often it goes on."""
    rng = np.random.default_rng(length)
    lists = [material(max(rows - less, 0), asking, length)[0] for less in (0, 1, rows, 3)]
    numbers = np.split(rng.permutation(4 * rows).astype(np.int64), np.cumsum([len(codes) for codes in lists]))[:-1]
    _, factors, wide = material(rows, asking, length)
    steps = length // 8
    part = [true_products(codes[:, : 4 * steps], factors[:, : 4 * steps]) for codes in lists]
    whole = [true_products(codes, factors) for codes in lists]
    first = (np.quantile(np.concatenate(part), 1 - share / 2, axis=0) - 1).astype(np.int32)
    least = np.median(np.concatenate(whole), axis=0).astype(np.int32)
    opened = rng.integers(0, 2, (len(lists), asking)).astype(bool)
    opened[0] = True
    expected = {
        (query, -int(whole[number][row, query]) * 2**38 + int(numbers[number][row]))
        for number, row in ((number, row) for number, codes in enumerate(lists) for row in range(len(codes)))
        for query in np.flatnonzero(opened[number]).tolist()
        if part[number][row, query] > first[query] and whole[number][row, query] > least[query]
    }
    addresses = [np.array([each.ctypes.data for each in some], np.int64) for some in (lists, numbers)]
    stored = Stored(*addresses, np.array([len(codes) for codes in lists]), length)
    starts = np.concatenate([[0], np.cumsum(opened.sum(axis=1))])
    asked = Asked(wide, first, least, np.nonzero(opened)[1].astype(np.int32), starts)
    order = np.array([2, 3, 0, 1])
    for room in (ROWS * asking + 1, 4 * rows * asking + 1):
        queries, keys = np.empty(room, np.int32), np.empty(room, np.int64)
        found, place = [], (0, 0)
        while place[0] < len(order):
            count, place = kernels.look(stored, asked, steps, order, place, (queries, keys))
            found += list(zip(queries[:count].tolist(), keys[:count].tolist(), strict=True))
        assert len(found) == len(expected)
        assert set(found) == expected


def test_factors_leave_room_for_the_row() -> None:
    for length in (1, 256, 1_036, 1_037, 1_280, 4_096):
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


def test_every_processor_finds_the_same(tmp_path: Path) -> None:
    """One without the instructions for four products, that is; this file's other tests run on it as well."""
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    tests = [f"{__file__}::{name}" for name in ("test_products_are_exact", "test_the_highest_of_every_block")]
    tests.append(f"{__file__}::test_looking_finds_what_is_high_enough_twice")
    ran = subprocess.run([*command, *tests], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3_000:]
    assert " passed" in ran.stdout


def test_without_a_place_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    make = numba.njit

    def njit(cache: bool = False, **options: object) -> object:  # noqa: FBT001, FBT002
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return make(**options)

    monkeypatch.setattr(numba, "njit", njit)
    assert compiled.compiled(lambda number: number + 1)(2) == 3
