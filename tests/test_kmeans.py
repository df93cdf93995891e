"""Spherical k-means against planted clusters and slow, obvious twins."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import PCG64, Generator

from segmenter.kmeans import _average, _choose_seeds, kmeans

Floats = npt.NDArray[np.float32]


def unit(vectors: npt.NDArray[np.floating]) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def planted(rng: Generator, rows: int, clusters: int, noise: float) -> tuple[Floats, npt.NDArray[np.intp], Floats]:
    """Rows of any length around far-apart directions, who owns each, and the directions."""
    directions = np.linalg.qr(rng.standard_normal((32, clusters)))[0].T
    owners = np.concatenate([np.arange(clusters), rng.integers(clusters, size=rows - clusters)])
    lengths = rng.uniform(0.1, 50, size=(rows, 1))
    features = lengths * (directions[owners] + noise * rng.standard_normal((rows, 32)))
    return features.astype(np.float32), owners, directions.astype(np.float32)


def objective(features: Floats, centres: Floats) -> float:
    """Sum of the cosines of rows to their nearest centres, one row at a time."""
    total = 0.0
    for row in features.astype(np.float64):
        total += max(float(row @ centre) / float(np.linalg.norm(row)) for centre in centres.astype(np.float64))
    return total


def slow_rounds(rows: Floats, centres: Floats, rounds: int) -> Floats:
    """Lloyd's algorithm, one row at a time in float64."""
    centres = centres.astype(np.float64)
    for _ in range(rounds):
        members: list[list[npt.NDArray[np.float64]]] = [[] for _ in centres]
        for row in rows.astype(np.float64):
            members[int(np.argmax([row @ centre for centre in centres]))].append(row)
        centres = np.array(
            [unit64(np.sum(mine, axis=0)) if mine else old for mine, old in zip(members, centres, strict=True)]
        )
    return centres.astype(np.float32)


def unit64(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def sorted_rows(centres: Floats) -> Floats:
    return centres[np.lexsort(centres.T)]


@pytest.mark.parametrize("seed", range(5))
def test_planted_directions_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, owners, directions = planted(rng, rows=300, clusters=6, noise=0)
    centres = kmeans(features, k=6, seed=seed, restarts=8, iterations=50)
    cosines = centres @ directions.T
    which = cosines.argmax(axis=0)
    assert sorted(which) == list(range(6))
    np.testing.assert_allclose(centres[which], directions, atol=1e-6)
    np.testing.assert_array_equal((features @ centres.T).argmax(axis=1), which[owners])


def test_noisy_clusters_come_back_exactly() -> None:
    features, owners, _ = planted(np.random.default_rng(0), rows=400, clusters=8, noise=0.04)
    centres = kmeans(features, k=8, seed=0, restarts=8, iterations=50)
    expected = unit(np.stack([unit(features[owners == owner]).sum(axis=0) for owner in range(8)]))
    np.testing.assert_allclose(sorted_rows(centres), sorted_rows(expected), atol=1e-6)


def test_same_arguments_same_bytes() -> None:
    features = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    first, again, other = (kmeans(features, k=5, seed=seed, restarts=3, iterations=20) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_lengths_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 16)).astype(np.float32)
    longer = features * (2.0 ** rng.integers(-60, 60, size=(200, 1))).astype(np.float32)
    arguments = {"k": 5, "seed": 1, "restarts": 3, "iterations": 20}
    np.testing.assert_allclose(kmeans(longer, **arguments), kmeans(features, **arguments), atol=1e-6)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_against_slow_rounds(rounds: int) -> None:
    rng = np.random.default_rng(rounds)
    rows = unit(rng.standard_normal((120, 8)))
    seeds = _choose_seeds(rows, 6, 1, Generator(PCG64(3)))[0]
    fast = kmeans(rows, k=6, seed=3, restarts=1, iterations=rounds)
    np.testing.assert_allclose(fast, slow_rounds(rows, seeds, rounds), atol=1e-5)


def test_the_best_restart_wins() -> None:
    features, _, _ = planted(np.random.default_rng(4), rows=150, clusters=12, noise=0.3)
    rows = unit(features)
    starts = _choose_seeds(rows, 12, 6, Generator(PCG64(9)))
    scores = [objective(features, slow_rounds(rows, start, rounds=60)) for start in starts]
    assert max(scores) - min(scores) > 1e-2  # restarts differ, so that choosing means something
    centres = kmeans(features, k=12, seed=9, restarts=6, iterations=60)
    np.testing.assert_allclose(objective(features, centres), max(scores), rtol=1e-6)


def test_more_rounds_are_never_worse() -> None:
    features = np.random.default_rng(2).standard_normal((150, 10)).astype(np.float32)
    scores = [objective(features, kmeans(features, k=7, seed=0, restarts=1, iterations=n)) for n in range(1, 9)]
    assert np.all(np.diff(scores) > -1e-5)
    assert scores[-1] > scores[0]


@pytest.mark.parametrize("distinct", [1, 2, 4])
def test_fewer_directions_than_k(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    directions = unit(rng.standard_normal((distinct, 8)))
    features = np.concatenate([directions, 3 * directions, 0.7 * directions])
    centres = kmeans(features, k=15, seed=0, restarts=8, iterations=10)
    np.testing.assert_allclose(sorted_rows(centres), sorted_rows(directions), atol=1e-6)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_centre_owns_a_row_and_has_length_one(count: int, k: int, seed: int) -> None:
    features = Generator(PCG64(seed)).integers(-2, 3, size=(count, 3)).astype(np.float32)  # duplicates and zeros
    centres = kmeans(features, k=k, seed=seed, restarts=2, iterations=5)
    directions = features[features.any(axis=1)]
    if len(directions) == 0:
        np.testing.assert_array_equal(centres, np.zeros((1, 3)))
        return
    assert 1 <= len(centres) <= min(k, len(np.unique(unit(directions).round(4), axis=0)))
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-6)
    assert set((directions @ centres.T).argmax(axis=1)) <= set(range(len(centres)))
    owned = (unit(directions) @ centres.T).argmax(axis=1)
    assert len(np.unique(owned)) == len(centres)


def test_a_centre_without_rows_or_whose_rows_cancel_stays() -> None:
    rows = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
    centres = unit(np.array([[[1, 1], [0, 1], [1, -1]]], dtype=np.float32))
    owners = np.array([[0], [0], [1]])
    np.testing.assert_array_equal(_average(rows, owners, centres), centres)


def test_rows_of_zeros_take_no_part() -> None:
    features = np.array([[0, 0], [2, 0], [0, 0], [0, 5]], dtype=np.float32)
    centres = kmeans(features, k=4, seed=0, restarts=2, iterations=5)
    np.testing.assert_array_equal(sorted_rows(centres), [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((0, 3), dtype=np.float32), r"not empty, got \[0, 3\]"),
        (np.zeros((2, 2, 2), dtype=np.float32), r"\[N, C\] and not empty, got \[2, 2, 2\]"),
        (np.array([[1, np.nan], [np.inf, 1]], dtype=np.float32), "2 values that are not"),
    ],
)
def test_impossible_features_are_refused(features: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kmeans(features, k=2, seed=0, restarts=1, iterations=1)


@pytest.mark.parametrize("name", ["k", "restarts", "iterations"])
def test_impossible_numbers_are_refused(name: str) -> None:
    arguments = {"k": 2, "restarts": 1, "iterations": 1} | {name: 0}
    with pytest.raises(ValueError, match="start at 1"):
        kmeans(np.ones((2, 2), dtype=np.float32), seed=0, **arguments)
