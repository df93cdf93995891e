"""Stored vectors, exact search and re-ranking against slow twins, and the queries that recall is measured with."""

from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from search_material import NONE, clustered, slow_search, unit

from build_index.search_index.exact import NOTHING, exact_rows, keep_best, reranked
from build_index.search_index.queries import MEAN_ROWS, GapModel, gap_queries
from build_index.search_index.stored import StoredVectors, widened
from build_index.search_index.tuning import share_found
from build_index.search_index.written import write_flat

EMBEDDINGS = Path(__file__).parents[2] / "shared/data/lit_embeddings"


# --- stored vectors, exact search, re-ranking ------------------------------------------------------------------------


def test_halves_are_widened_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(widened(finite).view(np.int32), finite.astype(np.float32).view(np.int32))


def test_rows_are_taken_from_their_parts() -> None:
    vectors = clustered(101)
    rows = np.array([100, 0, 20, 19, 50, 51, 0])
    np.testing.assert_array_equal(vectors.take(rows), np.concatenate(vectors.parts)[rows].astype(np.float32))


@pytest.mark.parametrize("sizes", [[3, 0, 40], [0], [1]])
def test_a_flat_index_is_written_as_faiss_writes_it(tmp_path: Path, sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((size, 5)).astype(np.float16) for size in sizes]
    theirs = faiss.IndexScalarQuantizer(5, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    theirs.add(np.concatenate(parts).astype(np.float32))
    write_flat(parts, (sum(sizes), 5), tmp_path / "ours.faiss")
    assert (tmp_path / "ours.faiss").read_bytes() == faiss.serialize_index(theirs).tobytes()


@pytest.mark.parametrize("first", [0, 1, 20, 37, 101])
def test_blocks_are_all_rows_from_one_on(first: int) -> None:
    vectors = clustered(101)
    blocks = list(vectors.blocks(first, most=7))
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
        patch.setattr("build_index.search_index.exact.ROWS_OF_BLOCK", block)
        found = exact_rows(vectors, queries, k)
    everything = np.concatenate(vectors.parts).astype(np.float64)
    for query, mine in zip(queries, found, strict=True):
        theirs = slow_search(vectors, query, k)
        assert len(set(mine)) == k
        np.testing.assert_allclose(everything[mine] @ query, everything[theirs] @ query, atol=1e-6)
        assert removed.isdisjoint(mine.tolist())


@settings(max_examples=25)
@given(k=st.integers(1, 30), cuts=st.lists(st.integers(0, 60), max_size=4), seed=st.integers(0, 99))
def test_equal_scores_stay_in_the_order_of_rows(k: int, cuts: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 9, (3, 60)).astype(np.float32)
    scores[scores == 0] = -np.inf  # removed
    best, rows = np.full((3, k), -np.inf, np.float32), np.full((3, k), NOTHING, np.int64)
    for start, end in pairwise([0, *sorted(cuts), 60]):
        keep_best(np.ascontiguousarray(scores[:, start:end]), start, best, rows)
    for mine, all_ in zip(rows, scores, strict=True):
        order = np.argsort(-all_, kind="stable")
        theirs = order[np.isfinite(all_[order])][:k]
        np.testing.assert_array_equal(mine, np.pad(theirs, (0, k - len(theirs)), constant_values=NOTHING))


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
        patch.setattr("build_index.search_index.exact.ROWS_AT_ONCE", 13)
        cosines, rows = reranked(vectors, queries, candidates, k, threads)
    for query, mine, scores, allowed in zip(queries, rows, cosines, candidates, strict=True):
        others = np.setdiff1d(np.arange(90), allowed)
        theirs = slow_search(StoredVectors(vectors.parts, others), query, k)
        assert mine.tolist() == theirs
        np.testing.assert_allclose(scores, vectors.take(np.array(theirs)) @ query, atol=1e-6)


def test_re_ranking_takes_more_than_a_million_candidates() -> None:
    count, k = (1 << 20) + 5_000, 20
    vectors = StoredVectors([np.zeros((count, 2), np.float16)], np.zeros(0, np.int64))
    vectors.parts[0][:, 0] = np.linspace(0.5, 1, count)  # many are equal, and those of the highest cosine stand last
    query = np.array([[1, 0]], np.float32)
    cosines, rows = reranked(vectors, query, np.arange(count)[None], k, threads=1)
    assert (cosines == 1).all()
    np.testing.assert_array_equal(rows[0], np.flatnonzero(vectors.parts[0][:, 0] == 1)[:k])


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
    captions = vectors.take(vectors.sample(MEAN_ROWS, NONE)).astype(np.float64)
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
