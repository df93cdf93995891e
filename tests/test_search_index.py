"""The search index in lists: values against slow twins, queries, tuning, appends, removals, interruptions."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from conftest import Crash, LetterCounter, contents, write_captions
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from build_index import faiss_index, quality
from build_index.compact import compact
from build_index.config import BuildConfig
from build_index.faiss_index import Searcher, rows_from_lists, write_faiss_index
from build_index.pipeline import build
from build_index.quality import measure_quality, sample_queries, sample_rows
from build_index.search_index import making, tuning
from build_index.search_index.exact import NOTHING, exact_rows, reranked
from build_index.search_index.lists import Lists, principal_directions, train
from build_index.search_index.options import FLAT, LISTS, SearchOptions, list_count
from build_index.search_index.queries import GapModel, gap_queries
from build_index.search_index.state import Learned, state_of
from build_index.search_index.stored import StoredVectors, widened
from build_index.search_index.tuning import Setting, share_found
from shards import Index, ShardDamaged, open_index, verify
from shards.removal import remove

NONE = np.zeros(0, np.int64)

EMBEDDINGS = Path(__file__).parents[2] / "shared/data/lit_embeddings"


def unit(rows: Any) -> NDArray[np.float32]:
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clustered(rows: int, dimension: int = 32, seed: int = 0, clusters: int = 40) -> StoredVectors:
    """Unit vectors about common middles, in parts of uneven size, some of them twice."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((clusters, dimension)) + 2
    found = unit(middles[rng.integers(0, clusters, rows)] + 0.5 * rng.standard_normal((rows, dimension)))
    found[rows // 2] = found[0]
    halves = found.astype(np.float16)
    return StoredVectors(np.split(halves, [rows // 5, rows // 2 + 1]), NONE)


def slow_search(vectors: StoredVectors, query: NDArray[np.float32], k: int) -> list[int]:
    """Every row's product in double precision, one at a time."""
    everything = np.concatenate(vectors.parts)
    removed = set(vectors.removed.tolist())
    scored = [
        (-np.float32(sum(float(a) * float(b) for a, b in zip(row, query, strict=True))), number)
        for number, row in enumerate(everything)
        if number not in removed
    ]
    return [number for _, number in sorted(scored)[:k]]


# --- stored vectors, exact search, re-ranking ------------------------------------------------------------------------


def test_halves_are_widened_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(widened(finite).view(np.int32), finite.astype(np.float32).view(np.int32))


def test_rows_are_taken_from_their_parts() -> None:
    vectors = clustered(101)
    rows = np.array([100, 0, 20, 19, 50, 51, 0])
    np.testing.assert_array_equal(vectors.take(rows), np.concatenate(vectors.parts)[rows].astype(np.float32))


@pytest.mark.parametrize("first", [0, 1, 20, 37, 101])
def test_blocks_are_all_rows_from_one_on(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    monkeypatch.setattr("build_index.search_index.stored.ROWS_PER_BLOCK", 7)
    vectors = clustered(101)
    blocks = list(vectors.blocks(first))
    assert [number for start, block in blocks for number in range(start, start + len(block))] == list(range(first, 101))
    everything = np.concatenate(vectors.parts).astype(np.float32)
    for start, block in blocks:
        np.testing.assert_array_equal(block, everything[start : start + len(block)])


def test_a_sample_comes_from_all_parts_and_leaves_out_what_it_must() -> None:
    vectors = StoredVectors(clustered(2_000).parts, np.arange(0, 2_000, 4))
    without = np.arange(1, 2_000, 4)
    rows = vectors.sample(500, without)
    assert (np.diff(rows) > 0).all()
    assert set(rows % 4) == {2, 3}
    np.testing.assert_array_equal(rows, vectors.sample(500, without))
    shares = np.histogram(rows, vectors.starts)[0] / np.diff(vectors.starts)
    assert shares.min() > 0.2  # of 0.25
    np.testing.assert_array_equal(vectors.sample(9_999, without), vectors.alive)


@settings(max_examples=25)
@given(
    rows=st.integers(12, 90), k=st.integers(1, 30), block=st.integers(1, 40), seed=st.integers(0, 99), data=st.data()
)
def test_exact_search_is_the_slow_one(rows: int, k: int, block: int, seed: int, data: st.DataObject) -> None:
    removed = data.draw(st.sets(st.integers(0, rows - 1), max_size=rows - 1))
    vectors = StoredVectors(clustered(rows, 8, seed).parts, np.array(sorted(removed), np.int64))
    k = min(k, len(vectors.alive))
    queries = unit(np.random.default_rng(seed).standard_normal((3, 8)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("build_index.search_index.stored.ROWS_PER_BLOCK", block)
        found = exact_rows(vectors, queries, k)
    everything = np.concatenate(vectors.parts).astype(np.float64)
    for query, mine in zip(queries, found, strict=True):
        theirs = slow_search(vectors, query, k)
        assert len(set(mine)) == k
        np.testing.assert_allclose(everything[mine] @ query, everything[theirs] @ query, atol=1e-6)
        assert removed.isdisjoint(mine.tolist())


@settings(max_examples=25)
@given(k=st.integers(1, 6), many=st.booleans(), threads=st.integers(1, 3), seed=st.integers(0, 99))
def test_re_ranking_is_the_slow_one(k: int, many: bool, threads: int, seed: int) -> None:  # noqa: FBT001
    rng = np.random.default_rng(seed)
    vectors = clustered(90, 8, seed)
    queries = unit(rng.standard_normal((5, 8)))
    count = 70 if many else 8
    candidates = np.stack([rng.choice(90, count, replace=False) for _ in queries])
    candidates[:, 0], candidates[:, 1] = 45, 0  # which are equal
    candidates[2, 7:] = NOTHING
    candidates = np.stack([_without_repeats(row) for row in candidates])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("build_index.search_index.exact.FLOATS_PER_CHUNK", 8 * count * 2)
        cosines, rows = reranked(vectors, queries, candidates, k, threads)
    for query, mine, scores, allowed in zip(queries, rows, cosines, candidates, strict=True):
        others = np.setdiff1d(np.arange(90), allowed)
        theirs = slow_search(StoredVectors(vectors.parts, others), query, k)
        assert mine.tolist() == theirs
        np.testing.assert_allclose(scores, vectors.take(np.array(theirs)) @ query, atol=1e-6)


def _without_repeats(row: NDArray[np.int64]) -> NDArray[np.int64]:
    first = np.zeros(len(row), np.bool_)
    first[np.unique(row, return_index=True)[1]] = True
    return np.where(first, row, NOTHING)


def test_recall_by_hand() -> None:
    truth = np.array([[1, 2, 3], [4, 5, 6]])
    found = np.array([[3, 9, 1], [7, 8, 4]])
    assert share_found(found, truth) == pytest.approx(3 / 6)
    assert share_found(found, truth, own=np.array([1, 9])) == pytest.approx(2 / 5)
    assert share_found(truth[:1, :1], truth[:1, :1], own=np.array([1])) == 1.0


# --- queries ---------------------------------------------------------------------------------------------------------


def test_queries_lie_where_the_model_says() -> None:
    vectors = clustered(20_000, 256, clusters=2_000)
    rows = vectors.sample(2_000, NONE)
    model = GapModel()
    queries = gap_queries(vectors, rows, seed=3).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(queries, gap_queries(vectors, rows, seed=3))
    captions = vectors.take(vectors.sample(16_384, NONE)).astype(np.float64)
    middle = captions.mean(axis=0)
    spread = np.sqrt(((captions - middle) ** 2).sum(axis=1).mean())
    # Undo the scaling: the queries before it all have nearly the same length, and their mean is the shifted middle.
    shifted = queries.mean(axis=0)
    scale = np.sqrt(((queries - shifted) ** 2).sum(axis=1).mean()) / (model.spread * spread)
    gap = shifted / scale - middle
    assert np.linalg.norm(gap) / spread == pytest.approx(model.gap, rel=0.03)
    assert gap @ -middle / np.linalg.norm(gap) / np.linalg.norm(middle) == pytest.approx(model.away, abs=0.02)
    own = unit(vectors.take(rows) - middle)
    assert (unit(queries - shifted) * own).sum(axis=1).mean() == pytest.approx(model.share, abs=0.02)


@pytest.mark.shared
@pytest.mark.skipif(not EMBEDDINGS.is_dir(), reason=f"no embeddings of real photographs and texts in {EMBEDDINGS}")
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_the_model_is_what_real_embeddings_show(size: str) -> None:
    folder = EMBEDDINGS / size
    images, texts = (np.fromfile(folder / f"{name}.bin", "<f4").reshape(-1, 1024) for name in ("zimgs", "ztxts"))
    image, text = images.mean(axis=0), texts.mean(axis=0)
    spreads = [np.sqrt(((each - each.mean(axis=0)) ** 2).sum(axis=1).mean()) for each in (images, texts)]
    gap = image - text
    model = GapModel()
    assert np.linalg.norm(gap) / spreads[1] == pytest.approx(model.gap, rel=0.04)
    assert spreads[0] / spreads[1] == pytest.approx(model.spread, rel=0.04)
    assert -gap @ text / np.linalg.norm(gap) / np.linalg.norm(text) == pytest.approx(model.away, abs=0.01)
    best = (images @ texts.T).argmax(axis=1)
    shares = (unit(images - image) * unit(texts[best] - text)).sum(axis=1)
    assert shares.mean() == pytest.approx(model.share, abs=0.01)

    stored = StoredVectors([texts.astype(np.float16)], NONE)
    queries = gap_queries(stored, np.arange(267), seed=0)
    for real, modelled in zip(_scatter(images @ texts.T), _scatter(queries @ texts.T), strict=True):
        assert modelled == pytest.approx(real, rel=0.15)


def _scatter(cosines: NDArray[np.float32]) -> tuple[float, float]:
    """How cosines scatter about the means of their rows and columns, and how far the best of a row stands out."""
    centred = cosines - cosines.mean(axis=1, keepdims=True)
    return (centred - centred.mean(axis=0)).std(), float((centred.max(axis=1) / centred.std(axis=1)).mean())


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> tuple[StoredVectors, Lists]:
    vectors = clustered(1_500)
    lists = train(vectors, vectors.sample(1_000, NONE), 24, 16)
    lists.add(vectors)
    return vectors, lists


def in_lists(lists: Lists) -> dict[int, int]:
    """The list of every row."""
    stored = lists.inner.invlists
    return {
        row: number
        for number in range(lists.count)
        for row in faiss.rev_swig_ptr(stored.get_ids(number), stored.list_size(number)).tolist()
    }


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


def slow_candidates(
    vectors: StoredVectors, lists: Lists, query: NDArray[np.float32], count: int, nprobe: int
) -> NDArray[np.float64]:
    """Products in the turned space of the best rows in the lists that are looked into, best first."""
    centroids = lists.centroids().astype(np.float64)
    turned = lists.basis.astype(np.float64) @ query
    opened = sorted(range(lists.count), key=lambda number: -(centroids[number] @ turned))[:nprobe]
    rows = [row for row, number in in_lists(lists).items() if number in opened and row not in vectors.removed]
    products = [lists.basis.astype(np.float64) @ vectors.take(np.array([row]))[0] @ turned for row in rows]
    return np.sort(products)[::-1][:count]


@pytest.mark.parametrize(("count", "nprobe"), [(5, 1), (20, 6), (900, 12), (60, 24)])
def test_candidates_are_the_best_of_the_nearest_lists(
    made: tuple[StoredVectors, Lists], count: int, nprobe: int
) -> None:
    vectors, lists = made
    some = StoredVectors(vectors.parts, np.arange(0, 1_500, 3))
    queries = gap_queries(vectors, np.arange(0, 1_500, 300), seed=5)
    found = lists.candidates(queries, count, nprobe, tuning.not_removed(some.removed))
    for query, rows in zip(queries, found, strict=True):
        expected = slow_candidates(some, lists, query, count, nprobe)
        rows = rows[rows != NOTHING]
        assert len(rows) == len(expected)
        assert (rows % 3 != 0).all()
        mine = vectors.take(rows) @ lists.basis.T @ (lists.basis @ query)
        np.testing.assert_allclose(np.sort(mine)[::-1], expected, atol=0.01)  # 8 bits a value


def test_what_is_written_is_read_and_stays_mapped(made: tuple[StoredVectors, Lists], tmp_path: Path) -> None:
    vectors, lists = made
    lists.write(tmp_path / "lists.faiss")
    read = Lists.of(faiss.read_index(str(tmp_path / "lists.faiss"), faiss.IO_FLAG_MMAP_IFC))
    np.testing.assert_array_equal(read.basis, lists.basis)
    queries = gap_queries(vectors, np.arange(40), seed=5)
    np.testing.assert_array_equal(read.candidates(queries, 30, 5), lists.candidates(queries, 30, 5))
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


# --- tuning ----------------------------------------------------------------------------------------------------------


def test_the_setting_reaches_the_target_at_the_least_cost(made: tuple[StoredVectors, Lists]) -> None:
    vectors, lists = made
    _, queries, truth = making.tuning_queries(vectors)
    setting, recall = tuning.tune(lists, vectors, queries, truth)

    def measured(nprobe: int, depth: int) -> float:
        candidates = rows_from_lists(lists, Setting(nprobe=nprobe, depth=depth), queries, 10, (1_500, None))
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
    setting, recall = tuning.tune(lists, vectors, queries, truth)
    assert setting.depth == 10
    assert 0.3 < recall < 1.0
    for nprobe in tuning._ladder(24):
        assert tuning.recall_of(vectors, queries, lists.candidates(queries, 10, nprobe), truth) <= recall


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


# --- whole indexes ---------------------------------------------------------------------------------------------------

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def words(count: int, seed: int = 0, letters: str = ALPHABET) -> list[str]:
    """Captions of random words, no two alike."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        sizes = rng.integers(3, 9, 3)
        found[" ".join("".join(rng.choice(list(letters), size)) for size in sizes)] = None
    return list(found)


def config_for(tmp_path: Path, *corpus: Path, **options: Any) -> BuildConfig:
    return BuildConfig(
        corpus=tuple(map(str, corpus)),
        name="corpus",
        out=tmp_path / "shards",
        rows_per_part=150,
        workers=1,
        **{"exact_rows": 100, **options},
    )


def built(tmp_path: Path, *corpus: Path, **options: Any) -> Index:
    return open_index(build(config_for(tmp_path, *corpus, **options), lambda _: LetterCounter()).folder)


@pytest.fixture
def corpora(tmp_path: Path) -> tuple[Path, Path]:
    """400 captions and 60 more of the same sort."""
    every = words(460)
    return write_captions(tmp_path / "a.parquet", every[:400]), write_captions(tmp_path / "b.parquet", every[400:])


def assert_finds_all_but(index: Index, removed: list[int]) -> None:
    """With every list looked into, a search is the slow one."""
    searcher = Searcher(index, Setting(nprobe=10**6, depth=10**6))
    queries = sample_queries(index)[:4]
    stored = StoredVectors(StoredVectors.of(index).parts, np.array(removed, np.int64))
    for k in (1, 7, 10**4):
        cosines, rows = searcher.search(queries, k)
        assert rows.shape == (len(queries), min(k, index.manifest.rows - len(removed)))
        for query, mine, scores in zip(queries, rows, cosines, strict=True):
            assert mine.tolist() == slow_search(stored, query, k)
            np.testing.assert_allclose(scores, stored.take(mine) @ query, atol=1e-6)


def test_a_large_index_is_searched_by_lists(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    index = built(tmp_path, corpora[0])
    assert index.manifest.index.kind == LISTS
    learned = learned_of(index)
    assert (learned.lists, learned.dimensions, learned.rows) == (list_count(400), 16, 400)
    assert learned.share == Searcher(index).setting.nprobe / learned.lists
    assert learned.recall >= tuning.TARGET
    assert_finds_all_but(index, [])
    report = json.loads((index.folder / index.manifest.quality.name).read_bytes())  # type: ignore[union-attr]
    assert report["recall"] == measure_quality(index)["recall"] >= tuning.TARGET
    assert report["query_model"] == {**GapModel().to_json(), "seed": quality.SEED}
    assert report["search"] == {"nprobe": Searcher(index).setting.nprobe, "depth": Searcher(index).setting.depth}
    assert index.recall().startswith(", recall@10 0.9")
    assert list(verify(index.folder)) == []
    for_others = Lists.of(faiss.read_index(str(index.faiss_path)))
    assert for_others.inner.nprobe == report["search"]["nprobe"]
    assert built(tmp_path / "small", corpora[0], exact_rows=400).manifest.index.kind == FLAT


def test_the_recall_that_is_stored_is_the_slow_one(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    index = built(tmp_path, corpora[0])
    queries, own = sample_queries(index), sample_rows(index)
    _, found = Searcher(index).search(queries, 10)
    hits = wanted = 0
    for query, mine, row in zip(queries, found, own, strict=True):
        true = set(slow_search(StoredVectors.of(index), query, 10)) - {row}
        hits, wanted = hits + len(true & set(mine.tolist())), wanted + len(true)
    assert json.loads((index.folder / "quality.0001.json").read_bytes())["recall"] == hits / wanted


def test_a_query_finds_the_same_beside_others_and_on_all_threads(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    index = built(tmp_path, corpora[0])
    searcher = Searcher(index)
    queries = np.concatenate([sample_queries(index), LetterCounter().encode(words(40, seed=9))])
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        expected = searcher.search(queries, 12)
        for threads, batch in ((2, len(queries)), (2, 1), (1, 23), (3, 50)):
            faiss.omp_set_num_threads(threads)
            found = [searcher.search(queries[start : start + batch], 12) for start in range(0, len(queries), batch)]
            for mine, theirs in zip(map(np.concatenate, zip(*found, strict=True)), expected, strict=True):
                np.testing.assert_array_equal(mine, theirs)
    finally:
        faiss.omp_set_num_threads(before)


def test_lists_that_hold_too_few_rows_are_not_all_that_is_looked_into(
    tmp_path: Path, corpora: tuple[Path, Path]
) -> None:
    index = built(tmp_path, corpora[0])
    _, rows = Searcher(index, Setting(nprobe=1, depth=10)).search(sample_queries(index)[:20], 300)
    assert rows.shape == (20, 300)
    assert rows.min() >= 0
    assert [len(set(found)) for found in rows.tolist()] == [300] * 20


def test_no_queries(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    cosines, rows = Searcher(built(tmp_path, corpora[0])).search(np.zeros((0, 27), np.float32), 5)
    assert cosines.shape == rows.shape == (0, 5)


def test_removed_rows_never_come_back(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    folder = built(tmp_path, corpora[0]).folder
    remove(folder, None, "q")
    index = open_index(folder)
    gone = index.removed.tolist()
    assert 40 < len(gone) < 380
    assert state_of(index).search is not None
    assert_finds_all_but(index, gone)
    _, rows = Searcher(index).search(sample_queries(index), 40)
    assert not np.isin(rows, gone).any()
    appended = built(tmp_path, *corpora)
    assert appended.removed.tolist() == gone
    assert_finds_all_but(appended, gone)
    remove(folder, None, "[a-e]")
    few = open_index(folder)
    assert 0 < few.manifest.rows - len(few.removed) < 20
    assert_finds_all_but(few, few.removed.tolist())
    compact(folder)
    assert open_index(folder).manifest.index.kind == FLAT
    assert_finds_all_but(open_index(folder), [])


def test_an_index_of_which_everything_was_removed(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    folder = built(tmp_path, corpora[0]).folder
    remove(folder, None, ".")
    cosines, rows = Searcher(open_index(folder)).search(LetterCounter().encode(["a dog", "a cat"]), 5)
    assert cosines.shape == rows.shape == (2, 0)
    assert len(sample_queries(open_index(folder))) == 0
    assert measure_quality(open_index(folder))["recall"] == 1.0
    appended = built(tmp_path, *corpora)
    assert appended.manifest.index.kind == FLAT
    assert_finds_all_but(appended, list(range(400)))


def test_lists_of_very_few_rows(tmp_path: Path) -> None:
    for count in (1, 2, 5):
        corpus = write_captions(tmp_path / f"{count}.parquet", words(count))
        index = built(tmp_path / str(count), corpus, exact_rows=0)
        assert index.manifest.index.kind == LISTS
        assert_finds_all_but(index, [])


def test_compacting_keeps_what_the_user_said(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    folder = built(tmp_path, corpora[0], index_bytes=400 * 40).folder
    remove(folder, None, "q")
    compact(folder)
    index = open_index(folder)
    assert index.manifest.index.kind == LISTS
    assert state_of(index).options == SearchOptions(exact_rows=100, index_bytes=400 * 40)
    assert list(verify(folder)) == []
    assert_finds_all_but(index, [])


# --- appends ---------------------------------------------------------------------------------------------------------


def learned_of(index: Index) -> Learned:
    learned = state_of(index).learned
    assert learned is not None
    return learned


def basis_and_centroids(index: Index) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lists = Lists.of(faiss.read_index(str(index.faiss_path)))
    return lists.basis, lists.centroids()


def test_an_append_adds_to_the_lists_that_are_there(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    first = built(tmp_path, corpora[0])
    learned, (basis, centroids) = learned_of(first), basis_and_centroids(first)
    before = in_lists(Lists.of(faiss.read_index(str(first.faiss_path))))
    second = built(tmp_path, *corpora)
    assert learned_of(second) == learned  # not trained again
    for mine, theirs in zip(basis_and_centroids(second), (basis, centroids), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    after = in_lists(Lists.of(faiss.read_index(str(second.faiss_path))))
    assert {row: after[row] for row in before} == before
    assert sorted(after) == list(range(460))
    assert json.loads((second.folder / "quality.0002.json").read_bytes())["recall"] >= tuning.TARGET - 0.02
    assert_finds_all_but(second, [])
    assert list(verify(second.folder)) == []


def test_an_append_finds_what_a_rebuilt_index_finds(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    built(tmp_path, corpora[0])
    grown, whole = built(tmp_path, *corpora), built(tmp_path / "whole", *corpora)
    everything = Setting(nprobe=10**6, depth=10**6)
    queries = sample_queries(whole)
    found = [Searcher(index, everything).search(queries, 15) for index in (grown, whole)]
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_drift_trains_again_and_embeds_nothing_twice(
    tmp_path: Path, corpora: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(tmp_path, corpora[0])
    _, centroids = basis_and_centroids(first)
    strange = write_captions(tmp_path / "c.parquet", words(500, seed=5, letters="qxz"))
    encoder = LetterCounter()
    monkeypatch.setattr(making, "still_serves", lambda learned, *_: learned != learned_of(first))
    report = build(config_for(tmp_path, corpora[0], strange), lambda _: encoder)
    second = open_index(report.folder)
    assert report.embedded == 500
    assert not set(encoder.seen) & set(words(400))
    assert (learned_of(second).rows, learned_of(second).lists) == (900, list_count(900))
    assert basis_and_centroids(second)[1].shape != centroids.shape
    assert_finds_all_but(second, [])
    assert list(verify(second.folder)) == []


def test_drift_is_measured(tmp_path: Path) -> None:
    """The standing trap: lists learned on one corpus, and another one added to them."""
    near, far = clustered(1_200, seed=1, clusters=30), clustered(1_200, seed=2, clusters=30)
    _, state = write_faiss_index(tmp_path / "near.faiss", near, SearchOptions(exact_rows=0))
    learned = state.learned
    assert learned is not None
    for more, serves in ((near.parts[0], True), (np.concatenate([-part for part in far.parts]), False)):
        together = StoredVectors([*near.parts, more], NONE)
        lists = Lists.of(faiss.read_index(str(tmp_path / "near.faiss")))
        lists.add(together)
        _, queries, truth = making.tuning_queries(together)
        assert making.still_serves(learned, *tuning.tune(lists, together, queries, truth)) == serves


@pytest.mark.parametrize(
    ("trained", "nprobe", "recall", "serves"),
    [
        (0.97, 20, 0.96, True),
        (0.97, 30, 0.96, True),
        (0.97, 31, 0.96, False),
        (0.97, 20, 0.94, False),
        (0.90, 20, 0.89, True),
        (0.90, 20, 0.87, False),
    ],
)
def test_what_counts_as_drift(trained: float, nprobe: int, recall: float, serves: bool) -> None:  # noqa: FBT001
    learned = Learned(lists=100, dimensions=16, rows=400, recall=trained, share=0.2)
    assert making.still_serves(learned, Setting(nprobe=nprobe, depth=32), recall) == serves


def test_an_index_that_has_grown_much_is_trained_again(
    tmp_path: Path, corpora: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    built(tmp_path, corpora[0])
    monkeypatch.setattr(making, "GROWTH", 1.1)
    assert learned_of(built(tmp_path, *corpora)).rows == 460


@pytest.mark.parametrize(
    ("first", "second"),
    [({}, {"index_bytes": 460 * 32}), ({"index_bytes": 400 * 40}, {}), ({"exact_rows": 430}, {})],
    ids=["other options", "the same options, outgrown", "was exact"],
)
def test_what_no_longer_fits_the_options_is_trained_again(
    tmp_path: Path, corpora: tuple[Path, Path], first: dict[str, int], second: dict[str, int]
) -> None:
    earlier = built(tmp_path, corpora[0], **first)
    index = built(tmp_path, *corpora, **{"exact_rows": None, **first, **second})
    assert state_of(index).options.exact_rows == first.get("exact_rows", 100)
    if earlier.manifest.index.kind == FLAT:
        assert index.manifest.index.kind == LISTS
    assert learned_of(index).rows == 460
    assert 460 * (learned_of(index).dimensions + 8) <= (state_of(index).options.index_bytes or np.inf)
    assert_finds_all_but(index, [])


@pytest.mark.parametrize("name", ["captions.0001.faiss", "quality.0001.json"])
def test_lists_that_are_damaged_are_trained_again(tmp_path: Path, corpora: tuple[Path, Path], name: str) -> None:
    path = built(tmp_path, corpora[0]).folder / name
    path.write_bytes(b"\0" * path.stat().st_size)
    index = built(tmp_path, *corpora)
    assert learned_of(index).rows == 460 if index.manifest.index.kind == LISTS else name.startswith("quality")
    assert_finds_all_but(index, [])
    assert list(verify(index.folder)) == []


def test_a_search_index_of_another_kind_than_the_manifest_says(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    index = built(tmp_path, corpora[0])
    flat = faiss_index.flat_index(27)
    flat.add(np.eye(27, dtype=np.float32)[np.arange(400) % 27])
    faiss.write_index(flat, str(index.faiss_path))
    with pytest.raises(ShardDamaged, match=f"{index.faiss_path}: not the kind of index that the manifest says"):
        Searcher(index)


# --- interrupted -----------------------------------------------------------------------------------------------------


def test_two_builds_are_the_same_bytes(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    one, two = built(tmp_path / "one", corpora[0]), built(tmp_path / "two", corpora[0])
    assert contents(one.folder) == contents(two.folder)


def crashing(*_: object) -> None:
    raise Crash


@pytest.mark.parametrize("step", ["train", "tune", "write_whole", "write_quality"])
def test_a_crash_at_any_step_of_an_append_changes_no_byte(
    tmp_path: Path, corpora: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for out in ("crashed", "whole"):
        built(tmp_path / out, corpora[0])
    monkeypatch.setattr(making, "GROWTH", 1.1)  # so that every step is taken
    before = open_index(tmp_path / "crashed/shards/corpus").manifest
    where = {"write_whole": "build_index.faiss_index", "write_quality": "build_index.pipeline"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{where.get(step, 'build_index.search_index.making')}.{step}", crashing)
        with pytest.raises(Crash):
            built(tmp_path / "crashed", *corpora)
    survivor = open_index(tmp_path / "crashed/shards/corpus")
    assert survivor.manifest == before
    assert_finds_all_but(survivor, [])
    assert contents(built(tmp_path / "crashed", *corpora).folder) == contents(
        built(tmp_path / "whole", *corpora).folder
    )


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import LetterCounter
from build_index import faiss_index, pipeline
from test_search_index import config_for
write = faiss_index.faiss.write_index
def die(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
faiss_index.faiss.write_index = die
pipeline.build(config_for(Path({out!r}), Path({a!r}), Path({b!r})), lambda _: LetterCounter())
"""


def test_kill_while_the_lists_are_written(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    for out in ("killed", "whole"):
        built(tmp_path / out, corpora[0])
    program = KILLED.format(
        tests=str(Path(__file__).parent), out=str(tmp_path / "killed"), a=str(corpora[0]), b=str(corpora[1])
    )
    died = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    folder = tmp_path / "killed/shards/corpus"
    assert (folder / "captions.0002.faiss.partial").exists()
    assert open_index(folder).manifest.rows == 400
    assert list(verify(folder)) == []
    assert_finds_all_but(open_index(folder), [])
    assert contents(built(tmp_path / "killed", *corpora).folder) == contents(built(tmp_path / "whole", *corpora).folder)
    assert list(verify(folder)) == []
