"""The lists: made, looked into by products of integers, and tuned; against slow twins."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_material import HERE, NONE, clustered, in_lists, unit

from build_index.config import BuildConfig
from build_index.faiss_index import rows_from_lists
from build_index.search_index import lists as lists_module
from build_index.search_index import making, picking, tuning
from build_index.search_index import scan as scan_module
from build_index.search_index.exact import NOTHING, exact_rows, reranked
from build_index.search_index.kernels import Asked
from build_index.search_index.lists import Lists, moved, principal_directions, train
from build_index.search_index.options import FLAT, LISTS, SearchOptions, bytes_of_row
from build_index.search_index.queries import gap_queries
from build_index.search_index.scan import Scan
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tuning import Setting, share_found


def flat(rows: int) -> StoredVectors:
    """Vectors that leave half of their dimensions empty, so that there is room for copies of the others."""
    halves = [np.concatenate([part[:, :16], 0 * part[:, 16:]], axis=1) for part in clustered(rows).parts]
    return StoredVectors([unit(part).astype(np.float16) for part in halves], NONE)


@pytest.fixture(scope="module", params=["every direction once", "copies"])
def made(request: pytest.FixtureRequest) -> tuple[StoredVectors, Lists]:
    vectors = flat(1_500) if request.param == "copies" else clustered(1_500)
    lists = train(vectors, vectors.sample(1_000, NONE), 24, 32, HERE)
    lists.add(vectors)
    assert (lists.copies.max() > 1) == (request.param == "copies")
    return vectors, lists


# --- made ------------------------------------------------------------------------------------------------------------


def test_principal_directions_are_the_singular_ones() -> None:
    sample = clustered(300).take(np.arange(300))
    basis = principal_directions(sample, 7)
    np.testing.assert_allclose(basis @ basis.T, np.eye(7), atol=1e-6)
    _, _, expected = np.linalg.svd(sample.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs((basis * expected[:7]).sum(axis=1)), 1, atol=1e-5)


def nearest_by_hand(lists: Lists, row: NDArray[np.float32]) -> tuple[int, list[float]]:
    turned = row @ lists.front.T
    distances = [float(((turned - centroid) ** 2).sum()) for centroid in lists.centroids()]
    return int(np.argmin(distances)), distances


def test_every_row_is_in_the_list_of_its_nearest_centroid(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    places = in_lists(lists)
    assert sorted(places) == list(range(1_500))
    for row in range(0, 1_500, 50):
        _, distances = nearest_by_hand(lists, vectors.take(np.array([row]))[0])
        assert distances[places[row]] == pytest.approx(min(distances), abs=1e-6)


def test_many_lists_are_learned_in_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any row is in another list than that of its nearest centroid, and lists lie where their rows do."""
    monkeypatch.setattr(lists_module, "AT_ONCE", 10)
    vectors = clustered(3_000, clusters=60)
    lists = train(vectors, vectors.sample(2_000, NONE), 100, 32, HERE)
    lists.add(vectors)
    assert 90 <= lists.count <= 100
    places, everything = in_lists(lists), vectors.take(np.arange(3_000))
    assert np.mean([nearest_by_hand(lists, everything[row])[0] == places[row] for row in range(0, 3_000, 10)]) > 0.97
    turned = everything @ lists.front.T
    of_row = np.array([places[row] for row in range(3_000)])
    inside = ((turned - lists.centroids()[of_row]) ** 2).sum()
    one_step = faiss.Kmeans(lists.lists.d, lists.count, niter=10, seed=0)
    one_step.train(turned)
    assert inside < 1.15 * one_step.obj[-1]


def test_centroids_move_to_the_means_of_their_rows() -> None:
    vectors = clustered(300)
    rows = vectors.take(np.arange(300))
    basis = np.eye(32, dtype=np.float32)[:5]
    centroids = np.concatenate([rows[:3, :5], np.full((1, 5), 9, np.float32)])  # which is nearest to nothing
    nearest = ((rows[:, None, :5] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    expected = [rows[nearest == number, :5].mean(axis=0) for number in range(3)]
    np.testing.assert_allclose(moved(centroids, vectors, basis), expected, atol=1e-6)


def test_what_is_written_is_read_and_stays_mapped(made: tuple[StoredVectors, Lists], tmp_path: Path) -> None:
    vectors, lists = made
    lists.write(tmp_path / "lists.faiss")
    read = Lists.of(faiss.read_index(str(tmp_path / "lists.faiss"), faiss.IO_FLAG_MMAP_IFC))
    np.testing.assert_array_equal(read.basis, lists.basis)
    queries = gap_queries(vectors, np.arange(40), seed=5)
    np.testing.assert_array_equal(
        Scan(read, NONE).candidates(queries, 30, 1.0), Scan(lists, NONE).candidates(queries, 30, 1.0)
    )
    maps = Path("/proc/self/maps")
    if maps.exists():
        mine = [line.split()[0].split("-") for line in maps.read_text().splitlines() if "lists.faiss" in line]
        for codes in (int(read.lists.invlists.get_codes(3)), read.codes().ctypes.data):
            assert any(int(start, 16) <= codes < int(stop, 16) for start, stop in mine)


def test_faiss_finds_by_itself_what_we_do(made: tuple[StoredVectors, Lists], tmp_path: Path) -> None:
    vectors, lists = made
    lists.write(tmp_path / "lists.faiss")
    read = Lists.of(faiss.read_index(str(tmp_path / "lists.faiss")))
    queries = gap_queries(vectors, np.arange(0, 1_500, 50), seed=5)
    read.lists.nprobe = read.count
    _, rows = read.whole.search(queries, 10)
    assert share_found(rows, exact_rows(vectors, queries, 10)) > 0.8  # by 4 bits a value, without the vectors


def test_values_that_waited_are_written_as_faiss_writes_its_own(
    made: tuple[StoredVectors, Lists], tmp_path: Path
) -> None:
    """Byte by byte; and what was read grows to what would have been made at once."""
    vectors, lists = made
    lists.write(tmp_path / "ours.faiss")
    ours = (tmp_path / "ours.faiss").read_bytes()
    faiss.write_index(faiss.read_index(str(tmp_path / "ours.faiss")), str(tmp_path / "theirs.faiss"))
    assert (tmp_path / "theirs.faiss").read_bytes() == ours
    fewer = StoredVectors(vectors.parts[:2], NONE)
    begun = Lists.empty(lists.basis, lists.centroids(), lists.ranges(), tmp_path)
    begun.add(fewer)
    begun.write(tmp_path / "begun.faiss")
    read = Lists.of(faiss.read_index(str(tmp_path / "begun.faiss"), faiss.IO_FLAG_MMAP_IFC))
    grown = read.growing(tmp_path)
    grown.add(vectors)
    grown.write(tmp_path / "grown.faiss")
    assert (tmp_path / "grown.faiss").read_bytes() == ours


def test_an_index_of_an_earlier_version_is_refused(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    other = faiss.IndexScalarQuantizer(32, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    other.train(vectors.take(np.arange(100)))
    behind = faiss.IndexPreTransform(lists_module._transform(lists.basis), other)
    behind.add(vectors.take(np.arange(1_500)))
    with pytest.raises(ValueError, match=r"^expected values of 4 bits, found others, as earlier versions made them$"):
        Lists.of(faiss.IndexRefine(lists.whole.base_index, behind))


@pytest.mark.parametrize("what", ["no lists", "no values", "other directions"])
def test_another_kind_of_index_is_refused(made: tuple[StoredVectors, Lists], what: str) -> None:
    vectors, flat = made[0], faiss.IndexFlatIP(32)
    lists, other = (train(vectors, np.arange(some), 24, 32, HERE).whole for some in (1_000, 500))
    parts = {
        "no lists": (flat, lists.refine_index),
        "no values": (lists.base_index, flat),
        "other directions": (lists.base_index, other.refine_index),
    }
    with pytest.raises(ValueError, match=r"^expected (.*, found IndexFlat|lists of the first directions)"):
        Lists.of(faiss.IndexRefine(*parts[what]))
    with pytest.raises(ValueError, match=r"^expected .*, found IndexFlatIP$"):
        Lists.of(flat)


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
    with ThreadPoolExecutor(2) as pool:
        best = picking.lowest_of_each(queries, keys, 4, count, pool)
    for query in range(4):
        mine = sorted((-product, row) for asking, product, row in found if asking == query)[:count]
        assert best[query].tolist() == [row for _, row in mine] + [NOTHING] * (count - len(mine))


# --- looking into lists ----------------------------------------------------------------------------------------------


def exact_factors(lists: Lists, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a step of each code is worth for a query."""
    _, width = lists.ranges()
    return np.einsum("D,dD->d", query, lists.basis * (width / np.float32(15)).astype(np.float32)[:, None])


def factors_by_hand(lists: Lists, query: NDArray[np.float32]) -> tuple[list[int], float]:
    """A query in integers, and what they were multiplied with."""
    exact = exact_factors(lists, query)
    scale = min(64, 2**25 // (15 * len(exact))) / np.abs(exact).max()
    return [round(float(each)) for each in exact * scale], float(scale)


def once_by_hand(lists: Lists, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a step of a direction is worth, where it stands first; nothing where it stands again."""
    exact, seen, found = exact_factors(lists, query), list[NDArray[np.float32]](), []
    for direction, worth in zip(lists.basis, exact, strict=True):
        length = float(np.linalg.norm(direction))
        again = any(float(direction @ other) > 0.9 * length**2 for other in seen)
        found.append(0.0 if again else float(worth) / length**2)
        seen.append(direction)
    return np.array(found, np.float32)


def codes_by_hand(lists: Lists) -> NDArray[np.uint8]:
    """A byte each: the first of two codes in a byte stands in its lower bits."""
    codes = [[int(both) >> shift & 15 for both in row for shift in (0, 4)] for row in lists.codes()]
    return np.array(codes, np.uint8)[:, : len(lists.basis)]


def product(codes: Any, factors: list[int]) -> int:
    return sum(int(code) * factor for code, factor in zip(codes, factors, strict=True))


def slow_lists(lists: Lists, query: NDArray[np.float32]) -> list[int]:
    """How good every list looks, value by value in Python's integers."""
    first = lists.lists.d
    low, width = faiss.vector_to_array(lists.lists.sq.trained).reshape(2, first)
    exact = once_by_hand(lists, query)[:first]
    scale = 64 / float(np.abs(exact).max())
    factors = [round(float(each) * scale) for each in exact]
    centroids = lists.centroids()
    codes = np.clip((centroids - low) / (width / np.float32(255)), 0, 255).astype(np.uint8)
    reach = [max(1 - float(np.square(centroid).sum()), 0) ** 0.5 for centroid in centroids]
    worth = scan_module.REACH * max(reach) / 255
    further = min(round(17 * worth * scale * float(np.linalg.norm(query))), 64)  # 255 / 15
    return [
        product(code, factors) + round(far * scan_module.REACH / worth) * further
        for code, far in zip(codes, reach, strict=True)
    ]


def slow_candidates(
    lists: Lists, removed: set[int], query: NDArray[np.float32], count: int, asked: Asked
) -> list[tuple[int, int]]:
    """Negative products and rows in the lists that are looked into, best first."""
    factors, _ = factors_by_hand(lists, query)
    places, looks, codes = in_lists(lists), slow_lists(lists, query), codes_by_hand(lists)
    found = [
        (-product(codes[row], factors), row)
        for row, number in places.items()
        if row not in removed and looks[number] > asked.opened[0]
    ]
    return sorted(each for each in found if -each[0] > asked.least[0])[:count]


@pytest.mark.parametrize(("count", "slack"), [(5, 0.0), (20, 0.5), (900, 1.0), (60, 2.0), (60, np.inf)])
@pytest.mark.parametrize("caution", [0, 3])
@pytest.mark.parametrize("room", [1, 1 << 16])
@pytest.mark.parametrize(("few", "share"), [(0, 1.0), (1 << 16, 1.0), (0, 0.1)])
def test_candidates_are_the_best_of_the_best_lists(
    made: tuple[StoredVectors, Lists],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    slack: float,
    caution: float,
    room: int,
    few: int,
    share: float,
) -> None:
    """However often thresholds are lowered, and however little room there is; if no row is left out early."""
    changed = {"CAUTION": caution, "LEAST_RANK": 1, "ROOM": room, "LEAST_SAMPLE": 500, "ALLOWANCE": 1e4, "FEW": few}
    for name, value in changed.items():
        monkeypatch.setattr(scan_module, name, value)
    vectors, lists = made
    least = max(int(count * share), 1)
    queries = gap_queries(vectors, np.arange(0, 1_500, 300), seed=5)
    for removed in (NONE, np.arange(0, 1_500, 3)):
        scan = Scan(lists, removed)
        found = scan.candidates(queries, count, slack, least, threads=2)
        for query, rows in zip(queries, found, strict=True):
            wanted, theirs = count, list[tuple[int, int]]()
            while len(theirs) < least:
                with ThreadPoolExecutor(1) as pool:
                    asked = scan._asked(scan._factors(query[None]), wanted, slack, pool)
                theirs = slow_candidates(lists, set(removed.tolist()), query, count, asked)
                wanted *= 4
            assert rows.tolist() == [row for _, row in theirs] + [NOTHING] * (count - len(theirs))


def test_thresholds_are_as_they_are_defined(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    scan = Scan(lists, NONE)
    query = gap_queries(vectors, np.array([700]), seed=5)[0]
    with ThreadPoolExecutor(1) as pool:
        asked = scan._asked(scan._factors(query[None]), 10, 1.5, pool)
    codes, first = codes_by_hand(lists).astype(np.float64), lists.lists.d  # all rows are the sample
    whole_numbers, scale = factors_by_hand(lists, query)
    factors = np.array(whole_numbers)
    blocks = (codes @ factors)[: 1_500 // 8 * 8].reshape(-1, 8).max(axis=1)
    rank = int(np.ceil(10 + scan_module.CAUTION * 10**0.5 + scan_module.LEAST_RANK))
    assert asked.least[0] == np.sort(blocks)[-rank]
    once = once_by_hand(lists, query)
    middle, spread = codes.mean(axis=0) @ factors, codes.var(axis=0) * (once * scale) ** 2
    share = spread[first:].sum() / spread.sum()
    rest = middle - codes.mean(axis=0)[:first] @ once[:first] * scale
    scatter = (share * (1 - share) * spread.sum()) ** 0.5
    front = once[:first]
    larger = min(127 / np.abs(front).max(), (32_766 // 15 - first / 2) / np.abs(front).sum())
    whole = np.rint(front * larger).astype(np.int8)
    np.testing.assert_array_equal(asked.front[0], scan_module.in_order(whole[None])[0])
    wanted = asked.least[0] - rest - share * (asked.least[0] - middle) - scan_module.ALLOWANCE * scatter
    assert asked.first[0] == pytest.approx(wanted * larger / scale, abs=1)
    near_scale = 64 / np.abs(front).max()
    opened = (asked.least[0] - rest - 1.5 * spread.sum() ** 0.5) * near_scale / scale
    assert asked.opened[0] == pytest.approx(17 * opened + 8 * np.rint(front * near_scale).sum(), abs=1)


def test_copies_of_a_direction_round_it_less() -> None:
    """Steps of the copies begin in between each other's; queries lie far out in the first direction here."""
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((4_000, 16)) * [1, *[0.5] * 7, *[0.02] * 8] + [3, *[0] * 15])
    queries = unit(rng.standard_normal((50, 16)) * 0.3 - [4, *[0] * 15])
    basis, ranges = lists_module.values_of(rows, queries, 16)
    lists = Lists.empty(basis, np.zeros((1, 4), np.float32), ranges, HERE)
    copies = lists.copies
    assert copies[0] == lists_module.COPIES
    assert copies[:4].min() >= 1
    np.testing.assert_allclose(np.square(basis).sum(axis=1), 1 / copies, atol=1e-6)
    lists.add(StoredVectors([rows.astype(np.float16)], NONE))
    low, width = ranges
    values = low + (codes_by_hand(lists) + 0.5) * width / 15
    error = values @ (basis @ queries.T) - rows @ queries.T
    distinct = np.searchsorted(np.cumsum(copies), 16) + 1
    directions = unit(basis[:distinct])
    single = rows @ directions.T
    lowest, step = single.min(axis=0), (single.max(axis=0) - single.min(axis=0)) / 16
    plain = lowest + (np.minimum((single - lowest) // step, 15) + 0.5) * step
    assert error.std() < 0.5 * (plain @ (directions @ queries.T) - rows @ queries.T).std()


def test_copies_take_the_place_of_what_matters_least() -> None:
    rounded, everything = np.array([16.0, 4.0, *[1e-3] * 14]), np.array([99.0, 50.0, *[9.0] * 8, *[0.0] * 6])
    assert lists_module.copies_of(rounded, everything).tolist() == [4, 4, *[1] * 8]
    assert lists_module.copies_of(rounded, everything + 99).tolist() == [1] * 16
    assert lists_module.copies_of(rounded[:2], everything[:2]).tolist() == [1, 1]


@pytest.mark.parametrize(("length", "large"), [(1, 1.0), (4, 1e-3), (128, 1.0), (128, 1e9), (1_024, 1.0)])
def test_sums_of_the_first_directions_fit_sixteen_bits(length: int, large: float) -> None:
    """Less any threshold that lies between their lowest and their highest, and for queries that are all alike."""
    rng = np.random.default_rng(length)
    exact = np.concatenate([np.ones((1, length)), rng.standard_normal((20, length)), np.zeros((1, length))]) * large
    front, scale = scan_module.front_factors(exact.astype(np.float32))
    sizes = np.abs(front.astype(int)).sum(axis=1)
    assert 15 * sizes.max() + 1 < 2**15
    assert (
        sizes[:-1] > 0.9 * min(127 * length, 2_184) * np.abs(exact[:-1]).mean(axis=1) / np.abs(exact[:-1]).max(axis=1)
    ).all()
    np.testing.assert_allclose(front, exact * scale[:, None], atol=0.5 + 1e-3)


def test_codes_come_out_of_their_bytes_in_an_order_of_their_own() -> None:
    factors = np.arange(100, dtype=np.int8)[None]
    first, second = scan_module.in_order(factors).reshape(2, 64)
    assert first.tolist() == [*range(0, 64, 2), *range(1, 64, 2)]
    rest = [*range(64, 100, 2), *[0] * 14, *range(65, 100, 2), *[0] * 14]
    assert second.tolist() == rest
    np.testing.assert_array_equal(scan_module.unpacked(np.array([[0xA5, 0x0F]], np.uint8)), [[5, 10, 15, 0]])


def test_what_is_said_to_be_looked_into_is(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    queries, scan = gap_queries(vectors, np.arange(0, 1_500, 100), seed=5), Scan(lists, NONE)
    with ThreadPoolExecutor(1) as pool:
        bounds = [scan._asked(scan._factors(query[None]), 10, 0.5, pool).opened[0] for query in queries]
    sizes = np.bincount(list(in_lists(lists).values()), minlength=lists.count)
    opened = np.array([slow_lists(lists, query) for query in queries]) > np.array(bounds)[:, None]
    assert scan.looked_into(queries, 10, 0.5) == (opened.sum(axis=1).mean(), (opened @ sizes).mean())
    assert scan.looked_into(queries, 10, np.inf) == (lists.count, 1_500)


def test_lists_without_rows(made: tuple[StoredVectors, Lists], tmp_path: Path) -> None:
    vectors = made[0]
    lists = train(vectors, vectors.sample(1_000, NONE), 24, 16, HERE)
    few = StoredVectors([vectors.parts[0][:3]], NONE)
    lists.add(few)
    lists.write(tmp_path / "few.faiss")
    mapped = Lists.of(faiss.read_index(str(tmp_path / "few.faiss"), faiss.IO_FLAG_MMAP_IFC))
    for some in (lists, mapped):
        found = Scan(some, NONE).candidates(few.take(np.arange(2)), 5, 1.0, 5)
        assert [sorted(rows) for rows in found.tolist()] == [[NOTHING, NOTHING, 0, 1, 2]] * 2


def test_integers_order_rows_as_floats_do(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    queries = gap_queries(vectors, np.arange(0, 1_500, 300), seed=5)
    for query, rows in zip(queries, Scan(lists, NONE).candidates(queries, 40, np.inf), strict=True):
        exact = vectors.take(np.arange(1_500)) @ lists.basis.T @ (lists.basis @ query)
        np.testing.assert_allclose(exact[rows], np.sort(exact)[::-1][:40], atol=0.04)  # 4 bits a value


def test_a_query_is_answered_alike_in_any_company(
    made: tuple[StoredVectors, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, lists = made
    scan = Scan(lists, NONE)
    queries = gap_queries(vectors, np.arange(0, 1_500, 11), seed=5)
    together = scan.candidates(queries, 30, 0.5)
    monkeypatch.setattr(scan_module, "QUERIES_PER_PASS", 17)
    np.testing.assert_array_equal(scan.candidates(queries, 30, 0.5, threads=3), together)
    for number in range(0, len(queries), 20):
        np.testing.assert_array_equal(scan.candidates(queries[number : number + 1], 30, 0.5)[0], together[number])


# --- tuning ----------------------------------------------------------------------------------------------------------


def test_the_setting_reaches_the_target_at_the_least_cost(
    made: tuple[StoredVectors, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "DEPTHS", (24, 48, 96, 192, 384))
    monkeypatch.setattr(tuning, "STEP", 0.25)
    monkeypatch.setattr(tuning, "STEPS", 16)
    vectors, lists = made
    own, queries, truth = making.tuning_queries(vectors)
    scan = Scan(lists, NONE)
    setting, recall = tuning.tune(scan, queries, truth, own)

    def measured(slack: float, depth: int) -> float:
        candidates = rows_from_lists(scan, Setting(nprobe=1, depth=depth, slack=slack), queries, 10, 1_500)
        return share_found(reranked(vectors, queries, candidates, 10, 1)[1], truth, own)

    def cost(slack: float, depth: int) -> float:
        return scan.looked_into(queries, depth, slack)[1] * lists.lists.d + tuning.RERANK_COST * depth * 32

    assert recall == measured(setting.slack, setting.depth) >= tuning.TARGET + tuning.MARGIN
    assert setting.nprobe == round(scan.looked_into(queries, setting.depth, setting.slack)[0])
    for depth in tuning.DEPTHS:
        for slack in np.arange(17) * 0.25:
            if cost(slack, depth) < cost(setting.slack, setting.depth):
                assert measured(slack, depth) < tuning.TARGET + tuning.MARGIN


def test_a_target_out_of_reach_gives_the_best_there_is(
    made: tuple[StoredVectors, Lists], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, lists = made
    monkeypatch.setattr(tuning, "DEPTHS", (10,))
    monkeypatch.setattr(scan_module, "ALLOWANCE", 1e4)
    monkeypatch.setattr(tuning, "TARGET", 1.0)
    own, queries, truth = making.tuning_queries(vectors)
    scan = Scan(lists, NONE)
    setting, recall = tuning.tune(scan, queries, truth, own)
    assert (setting.depth, setting.slack) == (10, 4.0)
    assert 0.3 < recall < 1.0
    for slack in (0.0, 0.5, 1.0, 2.0):
        assert share_found(scan.candidates(queries, 10, slack), truth, own) <= recall


def test_after_an_append_the_slack_alone_is_tuned(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    own, queries, truth = making.tuning_queries(vectors)
    scan = Scan(lists, NONE)
    for slack in (0.0, 0.5, 4.0):
        before = Setting(nprobe=1, depth=96, slack=slack)
        setting, recall = tuning.tune(scan, queries, truth, own, like=before)
        assert setting.depth == 96
        assert recall == share_found(scan.candidates(queries, 96, setting.slack, 10), truth, own)
        assert recall >= tuning.TARGET + tuning.MARGIN
        cheaper = scan.candidates(queries, 96, setting.slack - tuning.STEP, 10)
        assert setting.slack == 0 or share_found(cheaper, truth, own) < tuning.TARGET + tuning.MARGIN


def test_after_an_append_deeper_searches_are_tried_where_slack_is_not_enough(
    made: tuple[StoredVectors, Lists],
) -> None:
    vectors, lists = made
    own, queries, truth = making.tuning_queries(vectors)
    scan = Scan(lists, NONE)
    before = Setting(nprobe=1, depth=10, slack=0.5)
    assert share_found(scan.candidates(queries, 10, np.inf), truth, own) < tuning.TARGET
    assert tuning.tune(scan, queries, truth, own, like=before) == tuning.tune(scan, queries, truth, own)


@pytest.mark.parametrize("first", [0, 1, 77, 199, 200])
def test_the_first_step_is_found_from_anywhere(first: int) -> None:
    for near in (None, *range(0, 201, 7), first, 199, 200):
        tried = []

        def reaches(step: int, tried: list[int] = tried) -> bool:
            tried.append(step)
            return step >= first

        assert tuning._first_step(reaches, near) == first
        assert len(tried) == len(set(tried)) <= (8 if near is None else 16)
        assert near != first or first == 0 or first > 198 or tried == [first, first - 1]


def test_options() -> None:
    options = SearchOptions(exact_rows=1_000)
    assert [options.kind(rows) for rows in (1, 1_000, 1_001)] == [FLAT, FLAT, LISTS]
    assert SearchOptions().dimensions(10, 27) == 27
    assert SearchOptions(index_bytes=10**9).dimensions(1_000, 512) == 512
    assert SearchOptions(index_bytes=1).dimensions(1_000, 512) == 16
    kept = SearchOptions(index_bytes=10_000_000).dimensions(100_000, 512)
    assert 100_000 * bytes_of_row(kept) <= 10_000_000 < 100_000 * bytes_of_row(kept + 16)
    with pytest.raises(ValueError, match="--exact-rows -1: must be 0 or more"):
        BuildConfig(corpus=("a",), exact_rows=-1)
