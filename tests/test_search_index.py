"""The search index in lists: whole indexes that are built, searched, appended to, interrupted."""

import json
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faiss
import msgspec
import numpy as np
import pytest
from conftest import Crash, LetterCounter, contents, write_captions
from numpy.typing import NDArray
from search_material import NONE, clustered, in_lists, sample_queries, slow_search

from build_index import quality
from build_index.compact import compact
from build_index.config import BuildConfig
from build_index.faiss_index import Searcher, write_faiss_index
from build_index.pipeline import build
from build_index.quality import measure_quality, sample_rows
from build_index.search_index import making, options, scan, tuning
from build_index.search_index.lists import Lists
from build_index.search_index.options import FLAT, LISTS, SearchOptions, bytes_of_row, list_count
from build_index.search_index.queries import GapModel
from build_index.search_index.scan import Scan
from build_index.search_index.state import Learned, lost_settings, state_of
from build_index.search_index.stored import StoredVectors
from build_index.search_index.tuning import Setting
from shards import Index, ShardDamaged, open_index, verify
from shards.removal import remove

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
    searcher = Searcher(index, Setting(nprobe=1, depth=10**6, slack=np.inf))
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
    assert (learned.lists, learned.dimensions, learned.rows) == (list_count(400), 27, 400)
    assert learned.share == Searcher(index).setting.nprobe / learned.lists
    assert learned.recall >= tuning.TARGET
    assert_finds_all_but(index, [])
    report = json.loads((index.folder / index.manifest.quality.name).read_bytes())  # type: ignore[union-attr]
    assert report["recall"] == measure_quality(index)["recall"] >= tuning.TARGET
    assert report["query_model"] == {**asdict(GapModel()), "seed": quality.SEED}
    assert report["search"] == msgspec.to_builtins(Searcher(index).setting)
    assert index.recall().startswith((", recall@10 0.9", ", recall@10 1.0"))
    assert list(verify(index.folder)) == []
    for_others = Lists.of(faiss.read_index(str(index.faiss_path)))
    assert for_others.lists.nprobe == report["search"]["nprobe"]
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
    _, rows = Searcher(index, Setting(nprobe=1, depth=10, slack=0.0)).search(sample_queries(index)[:20], 300)
    assert rows.shape == (20, 300)
    assert rows.min() >= 0
    assert [len(set(found)) for found in rows.tolist()] == [300] * 20


def test_no_queries(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    cosines, rows = Searcher(built(tmp_path, corpora[0])).search(np.zeros((0, 27), np.float32), 5)
    assert cosines.shape == rows.shape == (0, 5)


def test_queries_of_another_dimension_are_refused(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    searcher = Searcher(built(tmp_path, corpora[0]))
    for queries in (np.zeros((2, 28), np.float32), np.zeros(27, np.float32)):
        with pytest.raises(ValueError, match=rf"queries {re.escape(str(list(queries.shape)))}, expected \[n, 27\], as"):
            searcher.search(queries, 5)


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


def test_an_append_says_that_what_the_user_said_is_lost(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    index = built(tmp_path, corpora[0])
    assert lost_settings(index) == ()
    assert index.quality_path is not None
    index.quality_path.write_bytes(b"?" * index.quality_path.stat().st_size)
    config = config_for(tmp_path, corpora[1], exact_rows=None)
    report = build(config, lambda _: LetterCounter())
    (note,) = report.notes
    assert re.match(
        r".*quality\.0001\.json: SHA-256 .*; --exact-rows and --index-bytes of earlier builds are lost", note
    )
    assert report.manifest.index.kind == FLAT  # as usual, where 460 were too many before
    assert lost_settings(open_index(report.folder)) == ()


def test_a_compaction_says_so_too(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    index = built(tmp_path, corpora[0])
    remove(index.folder, None, "q")
    path = open_index(index.folder).quality_path
    assert path is not None
    path.write_bytes(b"?" * path.stat().st_size)
    notes: list[str] = []
    compact(index.folder, notes.append)
    (note,) = notes
    assert f"{path}: SHA-256" in note
    assert "--exact-rows and --index-bytes of earlier builds are lost" in note


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
    everything = Setting(nprobe=1, depth=10**6, slack=np.inf)
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


def test_drift_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standing trap: lists learned on one corpus, and another one added to them."""
    monkeypatch.setattr(options, "ROWS_OF_LIST", 20)
    monkeypatch.setattr(scan, "ALLOWANCE", 2)  # these vectors vary in all directions alike
    near, far = clustered(8_000, seed=1, clusters=30), clustered(8_000, seed=2, clusters=30)
    _, state = write_faiss_index(tmp_path / "near.faiss", near, SearchOptions(exact_rows=0))
    learned = state.learned
    assert learned is not None
    for more, serves in ((near.parts[0], True), (np.concatenate([-part for part in far.parts]), False)):
        together = StoredVectors([*near.parts, more], NONE)
        lists = Lists.of(faiss.read_index(str(tmp_path / "near.faiss"))).growing(tmp_path)
        lists.add(together)
        own, queries, truth = making.tuning_queries(together)
        assert making.still_serves(learned, *tuning.tune(Scan(lists, NONE), queries, truth, own)) == serves


@pytest.mark.parametrize(
    ("trained", "nprobe", "recall", "serves"),
    [
        (0.97, 20, 0.96, True),
        (0.97, 30, 0.96, True),
        (0.97, 31, 0.96, False),
        (0.97, 20, 0.94, False),
        (0.96, 20, 0.95, True),
        (0.96, 20, 0.945, False),  # it reached the target, and would miss it
        (0.95, 20, 0.949, False),
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
    [({}, {"index_bytes": 460 * 32}), ({"index_bytes": 400 * 24}, {}), ({"exact_rows": 430}, {})],
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
    assert 460 * bytes_of_row(learned_of(index).dimensions) <= (state_of(index).options.index_bytes or np.inf)
    assert_finds_all_but(index, [])


@pytest.mark.parametrize("name", ["captions.0001.faiss", "quality.0001.json"])
def test_lists_that_are_damaged_are_trained_again(tmp_path: Path, corpora: tuple[Path, Path], name: str) -> None:
    path = built(tmp_path, corpora[0]).folder / name
    path.write_bytes(b"\0" * path.stat().st_size)
    index = built(tmp_path, *corpora)
    assert learned_of(index).rows == 460 if index.manifest.index.kind == LISTS else name.startswith("quality")
    assert_finds_all_but(index, [])
    assert list(verify(index.folder)) == []


def test_lists_with_one_bit_turned_are_trained_again(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    """FAISS reads them; grown, they would be sound by the new manifest."""
    path = built(tmp_path, corpora[0]).folder / "captions.0001.faiss"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    assert learned_of(built(tmp_path, *corpora)).rows == 460


@pytest.mark.parametrize("exact_rows", [100, 1_000])
def test_a_search_index_of_another_kind_than_the_manifest_says(
    tmp_path: Path, corpora: tuple[Path, Path], exact_rows: int
) -> None:
    index = built(tmp_path, corpora[0], exact_rows=exact_rows)
    flat = faiss.IndexScalarQuantizer(27, faiss.ScalarQuantizer.QT_4bit)  # of fewer bytes
    flat.train(vectors := np.eye(27, dtype=np.float32)[np.arange(400) % 27])
    flat.add(vectors)
    path, size = index.faiss_path, index.faiss_path.stat().st_size
    path.write_bytes(faiss.serialize_index(flat).tobytes().ljust(size, b"\0"))
    with pytest.raises(ShardDamaged, match=f"{path}: not the kind of index that the manifest says"):
        Searcher(open_index(index.folder))


@pytest.mark.parametrize("k", [1, 30])
def test_many_queries_find_in_a_flat_index_what_each_finds_alone(
    tmp_path: Path, corpora: tuple[Path, Path], k: int
) -> None:
    """Together they are multiplied as matrices, alone by FAISS."""
    folder = built(tmp_path, corpora[0], exact_rows=1_000).folder
    remove(folder, None, "q")
    searcher = Searcher(open_index(folder))
    assert searcher.index.manifest.index.kind == FLAT
    queries = LetterCounter().encode(words(40, seed=1))
    cosines, rows = searcher.search(queries, k)
    for query, scores, found in zip(queries, cosines, rows, strict=True):
        alone = searcher.search(query[None], k)
        np.testing.assert_array_equal(alone[0][0], scores)
        np.testing.assert_array_equal(alone[1][0], found)
    np.testing.assert_array_equal(rows[7], slow_search(searcher._flat, queries[7], k))


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
from dataclasses import asdict
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
