"""The lists: made, looked into by products of integers, and tuned; against slow twins."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_material import NONE, clustered, in_lists

from build_index.config import BuildConfig
from build_index.faiss_index import rows_from_lists
from build_index.search_index import making, picking, tuning
from build_index.search_index import scan as scan_module
from build_index.search_index.exact import NOTHING, reranked
from build_index.search_index.lists import Lists, principal_directions, train
from build_index.search_index.options import FLAT, LISTS, SearchOptions
from build_index.search_index.queries import gap_queries
from build_index.search_index.scan import Scan
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tuning import Setting, share_found


@pytest.fixture(scope="module")
def made() -> tuple[StoredVectors, Lists]:
    vectors = clustered(1_500)
    lists = train(vectors, vectors.sample(1_000, NONE), 24, 16)
    lists.add(vectors)
    return vectors, lists


# --- made ------------------------------------------------------------------------------------------------------------


def test_principal_directions_are_the_singular_ones() -> None:
    sample = clustered(300).take(np.arange(300))
    basis = principal_directions(sample, 7)
    np.testing.assert_allclose(basis @ basis.T, np.eye(7), atol=1e-6)
    _, _, expected = np.linalg.svd(sample.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs((basis * expected[:7]).sum(axis=1)), 1, atol=1e-5)


def test_every_row_is_in_the_list_of_its_nearest_centroid(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    places = in_lists(lists)
    assert sorted(places) == list(range(1_500))
    centroids = lists.centroids()
    for row in range(0, 1_500, 50):
        turned = vectors.take(np.array([row]))[0] @ lists.basis.T
        distances = [((turned - centroid) ** 2).sum() for centroid in centroids]
        assert distances[places[row]] == pytest.approx(min(distances), abs=1e-6)


def test_what_is_written_is_read_and_stays_mapped(made: tuple[StoredVectors, Lists], tmp_path: Path) -> None:
    vectors, lists = made
    lists.write(tmp_path / "lists.faiss")
    read = Lists.of(faiss.read_index(str(tmp_path / "lists.faiss"), faiss.IO_FLAG_MMAP_IFC))
    np.testing.assert_array_equal(read.basis, lists.basis)
    queries = gap_queries(vectors, np.arange(40), seed=5)
    np.testing.assert_array_equal(
        Scan(read, NONE).candidates(queries, 30, 5), Scan(lists, NONE).candidates(queries, 30, 5)
    )
    maps = Path("/proc/self/maps")
    if maps.exists():
        mine = [line.split()[0].split("-") for line in maps.read_text().splitlines() if "lists.faiss" in line]
        codes = int(read.inner.invlists.get_codes(3))
        assert any(int(start, 16) <= codes < int(stop, 16) for start, stop in mine)


@pytest.mark.parametrize(
    "other",
    [
        faiss.IndexFlatIP(32),
        faiss.IndexPreTransform(faiss.PCAMatrix(32, 16), faiss.IndexFlatIP(16)),
        faiss.index_factory(32, "IVF2,SQ8", faiss.METRIC_INNER_PRODUCT),
    ],
)
def test_another_kind_of_index_is_refused(other: faiss.Index) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, found \w+$"):
        Lists.of(other)


# --- picking ---------------------------------------------------------------------------------------------------------


@given(
    found=st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5), st.integers(0, 2**37)), unique=True),
    count=st.integers(1, 5),
)
def test_each_query_gets_its_highest(found: list[tuple[int, int, int]], count: int) -> None:
    found = list({(query, row): (query, product, row) for query, product, row in found}.values())
    queries = np.array([query for query, _, _ in found], np.int32)
    keys = np.array([-product * 2**38 + row for _, product, row in found], np.int64)
    np.testing.assert_array_equal(picking.rows_of(keys), [row for _, _, row in found])
    best = picking.lowest_of_each(queries, keys, 4, count)
    for query in range(4):
        mine = sorted((-product, row) for asking, product, row in found if asking == query)[:count]
        assert best[query].tolist() == [row for _, row in mine] + [NOTHING] * (count - len(mine))


# --- looking into lists ----------------------------------------------------------------------------------------------


def slow_candidates(
    lists: Lists, removed: set[int], query: NDArray[np.float32], count: int, nprobe: int
) -> list[tuple[int, int]]:
    """Products and rows in the lists that are looked into, best first, value by value in Python's integers."""
    kept = len(lists.basis)
    low, width = faiss.vector_to_array(lists.inner.sq.trained).reshape(2, kept)
    steps = (width / np.float32(255)).astype(np.float32)
    exact = np.einsum("nD,dD->nd", query[None], lists.basis * steps[:, None])[0]
    scale = min(127, 2**25 // (255 * kept)) / np.abs(exact).max()
    factors = [round(float(each)) for each in exact * scale]

    def product(codes: Any) -> int:
        return sum(int(code) * factor for code, factor in zip(codes, factors, strict=True))

    centroids = np.clip((lists.centroids() - low) / steps, 0, 255).astype(np.uint8)
    nearest = sorted(range(lists.count), key=lambda number: (-product(centroids[number]), number))[:nprobe]
    stored, found = lists.inner.invlists, []
    for number in nearest:
        size = stored.list_size(number)
        codes = faiss.rev_swig_ptr(stored.get_codes(number), size * kept).reshape(size, kept)
        ids = faiss.rev_swig_ptr(stored.get_ids(number), size)
        found += [(-product(code), int(row)) for code, row in zip(codes, ids, strict=True) if row not in removed]
    return sorted(found)[:count]


@pytest.mark.parametrize(("count", "nprobe"), [(5, 1), (20, 6), (900, 12), (60, 24), (60, 99)])
@pytest.mark.parametrize("expected", [1e-9, 1.25])
@pytest.mark.parametrize("room", [1, 1 << 16])
def test_candidates_are_the_best_of_the_nearest_lists(
    made: tuple[StoredVectors, Lists],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    nprobe: int,
    expected: float,
    room: int,
) -> None:
    """Whatever the guess of the threshold is, and however little room for found rows; if no row is left out early."""
    changed = (("MORE_THAN_WANTED", expected), ("ROOM", room), ("LEAST_SAMPLE", 500), ("ALLOWANCE", 1e4))
    for name, value in changed:
        monkeypatch.setattr(scan_module, name, value)
    vectors, lists = made
    queries = gap_queries(vectors, np.arange(0, 1_500, 300), seed=5)
    for removed in (NONE, np.arange(0, 1_500, 3)):
        found = Scan(lists, removed).candidates(queries, count, nprobe, threads=2)
        for query, rows in zip(queries, found, strict=True):
            theirs = [row for _, row in slow_candidates(lists, set(removed.tolist()), query, count, nprobe)]
            assert rows.tolist() == theirs + [NOTHING] * (count - len(theirs))


def test_lists_without_rows(made: tuple[StoredVectors, Lists], tmp_path: Path) -> None:
    vectors = made[0]
    lists = train(vectors, vectors.sample(1_000, NONE), 24, 16)
    few = StoredVectors([vectors.parts[0][:3]], NONE)
    lists.add(few)
    lists.write(tmp_path / "few.faiss")
    mapped = Lists.of(faiss.read_index(str(tmp_path / "few.faiss"), faiss.IO_FLAG_MMAP_IFC))
    for some in (lists, mapped):
        found = Scan(some, NONE).candidates(few.take(np.arange(2)), 5, 24)
        assert [sorted(rows) for rows in found.tolist()] == [[NOTHING, NOTHING, 0, 1, 2]] * 2


def test_integers_order_rows_as_floats_do(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    queries = gap_queries(vectors, np.arange(0, 1_500, 300), seed=5)
    for query, rows in zip(queries, Scan(lists, NONE).candidates(queries, 40, 24), strict=True):
        exact = vectors.take(np.arange(1_500)) @ lists.basis.T @ (lists.basis @ query)
        np.testing.assert_allclose(exact[rows], np.sort(exact)[::-1][:40], atol=0.01)  # 8 bits a value, on both sides


def test_a_query_is_answered_alike_in_any_company(
    made: tuple[StoredVectors, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, lists = made
    scan = Scan(lists, NONE)
    queries = gap_queries(vectors, np.arange(0, 1_500, 11), seed=5)
    together = scan.candidates(queries, 30, 5)
    monkeypatch.setattr(scan_module, "QUERIES_PER_PASS", 17)
    np.testing.assert_array_equal(scan.candidates(queries, 30, 5, threads=3), together)
    for number in range(0, len(queries), 20):
        np.testing.assert_array_equal(scan.candidates(queries[number : number + 1], 30, 5)[0], together[number])


# --- tuning ----------------------------------------------------------------------------------------------------------


def test_the_setting_reaches_the_target_at_the_least_cost(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    _, queries, truth = making.tuning_queries(vectors)
    scan = Scan(lists, NONE)
    setting, recall = tuning.tune(scan, vectors, queries, truth)

    def measured(nprobe: int, depth: int) -> float:
        candidates = rows_from_lists(scan, Setting(nprobe=nprobe, depth=depth), queries, 10, 1_500)
        return share_found(reranked(vectors, queries, candidates, 10, 1)[1], truth)

    def cost(nprobe: int, depth: int) -> float:
        return 1_500 * nprobe / 24 * 16 + tuning.RERANK_COST * depth * 32

    assert recall == measured(setting.nprobe, setting.depth) >= tuning.TARGET
    for nprobe in range(1, 25):
        for depth in tuning.DEPTHS:
            if cost(nprobe, depth) < cost(setting.nprobe, setting.depth) and nprobe in tuning._ladder(24):
                assert measured(nprobe, depth) < tuning.TARGET + tuning.MARGIN


def test_a_target_out_of_reach_gives_the_best_there_is(
    made: tuple[StoredVectors, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, lists = made
    monkeypatch.setattr(tuning, "DEPTHS", (10,))
    monkeypatch.setattr(tuning, "TARGET", 1.0)
    _, queries, truth = making.tuning_queries(vectors)
    scan = Scan(lists, NONE)
    setting, recall = tuning.tune(scan, vectors, queries, truth)
    assert setting.depth == 10
    assert 0.3 < recall < 1.0
    for nprobe in tuning._ladder(24):
        assert tuning.recall_of(vectors, queries, scan.candidates(queries, 10, nprobe), truth) <= recall


def test_the_ladder_ends_at_all_lists() -> None:
    for count in (1, 2, 5, 24, 1_732):
        steps = list(tuning._ladder(count))
        assert steps[0] == max(round(count / tuning.FINEST), 1)
        assert steps[-1] == count
        assert (np.diff(steps) > 0).all()


def test_options() -> None:
    options = SearchOptions(exact_rows=1_000)
    assert [options.kind(rows) for rows in (1, 1_000, 1_001)] == [FLAT, FLAT, LISTS]
    assert SearchOptions().dimensions(10, 27) == 16
    assert SearchOptions(index_bytes=10**9).dimensions(1_000, 512) == 512
    assert SearchOptions(index_bytes=1).dimensions(1_000, 512) == 16
    size = SearchOptions(index_bytes=10_000_000).dimensions(100_000, 512) + 8
    assert 100_000 * size <= 10_000_000 < 100_000 * (size + 16)
    with pytest.raises(ValueError, match="--exact-rows -1: must be 0 or more"):
        BuildConfig(corpus=("a",), exact_rows=-1)
