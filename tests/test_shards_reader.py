"""Reading: global rows across parts and row groups, folders of indexes, and damage that shows only when it is met."""

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import Builder, LetterCounter, contents, write_captions
from hypothesis import given
from hypothesis import strategies as st

from build_index.config import BuildConfig
from build_index.pipeline import build
from shards import Index, NoIndex, ShardDamaged, open_index, open_indexes, reader, verify
from shards.writer import text_hash

CAPTIONS = [f"{word} number {number}" for number in range(5) for word in ("dog", "cat")]


@pytest.fixture
def index(build_index_of: Builder) -> Index:
    return open_index(build_index_of(CAPTIONS, rows_per_part=3).folder)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_across_part_borders(index: Index) -> None:
    vectors = LetterCounter().encode(CAPTIONS).astype(np.float16).astype(np.float32)
    rows = [9, 0, 2, 3, 3, 5, 6, 8]
    assert index.captions(rows) == [CAPTIONS[row] for row in rows]
    found = index.vectors(rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors[rows])
    np.testing.assert_array_equal(index.vectors(np.array(rows)), vectors[rows])


def test_no_rows(index: Index) -> None:
    assert index.captions([]) == []
    assert index.vectors([]).shape == (0, 27)


def test_parts_as_a_whole(index: Index) -> None:
    parts = index.manifest.parts
    assert [part.first_row for part in parts] == [0, 3, 6, 9]
    for number, part in enumerate(parts):
        texts = CAPTIONS[part.first_row : part.first_row + part.rows]
        np.testing.assert_array_equal(index.part_vectors(number), LetterCounter().encode(texts).astype(np.float16))
        assert index.part_hashes(number) == [text_hash(text) for text in texts]
        assert index.captions(range(part.first_row, part.first_row + part.rows)) == texts


@pytest.mark.parametrize("row", [-1, 10, 2**40, -(2**40)])
def test_a_row_that_is_not_there(index: Index, row: int) -> None:
    for read in (index.captions, index.vectors):
        with pytest.raises(IndexError, match=rf"row {row} of .*corpus, which has rows 0 to 9"):
            read([0, row])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Parts of 9,000 and 1,000 rows, so that the first has several row groups."""
    folder = tmp_path_factory.mktemp("large")
    corpus = write_captions(folder / "captions.parquet", [f"caption {row}" for row in range(10_000)])
    config = BuildConfig(corpus=(str(corpus),), out=folder / "shards", rows_per_part=9_000)
    return open_index(build(config, lambda _: LetterCounter()).folder)


@given(rows=st.lists(st.integers(0, 9_999) | st.sampled_from([0, 4_095, 4_096, 8_191, 8_192, 8_999, 9_000, 9_999])))
def test_rows_across_row_groups(large: Index, rows: list[int]) -> None:
    assert large.captions(rows) == [f"caption {row}" for row in rows]


def test_row_groups_are_decoded_once_and_a_few_are_kept(large: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(large.folder, large.manifest)
    decoded = []
    read = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(reader, "CACHED_GROUPS", 2)
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_groups",
        lambda file, groups, columns: decoded.extend(groups) or read(file, groups, columns=columns),
    )
    index.captions([0, 1, 4_095])
    assert decoded == [0]
    index.captions([4_096, 0, 8_192, 0, 4_096])  # the second group is the one that was not asked for in a while
    assert decoded == [0, 1, 2, 1]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_opening_maps_and_does_not_read(index: Index) -> None:
    for number in range(4):
        assert isinstance(index.part_vectors(number), np.memmap)
        assert not index.part_vectors(number).flags.writeable
    damaged = sorted(path for path in index.folder.iterdir() if path.name != "manifest.json")
    for path in damaged:
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes(8) + data[-1:])
    open_index(index.folder)
    assert {line.split(":")[0] for line in verify(index.folder)} == {str(path) for path in damaged}


def test_one_index_or_a_folder_of_them(build_index_of: Builder) -> None:
    second, first = (build_index_of(CAPTIONS, name=name).folder for name in ("b", "a"))
    assert [index.folder for index in open_indexes(first)] == [first]
    (first.parent / "notes.txt").touch()
    (first.parent / "c").mkdir()
    (first.parent / "d").mkdir()
    (first.parent / "d" / "plan.json").touch()  # one that is being built beside the others
    assert [(index.name, index.folder) for index in open_indexes(first.parent)] == [("a", first), ("b", second)]


def test_a_folder_without_an_index(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match=rf"{tmp_path}: no index here \(no manifest.json\); build one"):
        open_indexes(tmp_path)


def test_a_folder_of_unfinished_builds(tmp_path: Path) -> None:
    for name in ("y", "x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").touch()
    with pytest.raises(NoIndex, match=rf"{tmp_path}: only unfinished builds here \(x, y\)"):
        open_indexes(tmp_path)
    with pytest.raises(NoIndex, match=rf"{tmp_path / 'x'}: an unfinished build; run the same"):
        open_indexes(tmp_path / "x")


def test_a_folder_that_is_missing_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match="no such folder"):
        open_indexes(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NoIndex, match=str(tmp_path / "file")):
        open_indexes(tmp_path / "file")


def test_one_damaged_index_of_a_folder(build_index_of: Builder) -> None:
    first = build_index_of(CAPTIONS, name="a").folder
    second = build_index_of(CAPTIONS, name="b").folder
    (second / "manifest.json").write_text("{}")
    with pytest.raises(ShardDamaged, match=str(second)):
        open_indexes(first.parent)


# --- captions are opened when they are asked for ---------------------------------------------------------------------


def test_a_missing_captions_file_shows_when_it_is_read(index: Index) -> None:
    path = index.folder / "captions-00001.parquet"
    path.unlink()
    assert index.captions([0, 9]) == [CAPTIONS[0], CAPTIONS[9]]
    with pytest.raises(ShardDamaged, match=f"{path}: No such file"):
        index.captions([4])


def test_a_captions_file_of_another_part(index: Index) -> None:
    path = index.folder / "captions-00003.parquet"
    other = (index.folder / "captions-00000.parquet").read_bytes()
    size = path.stat().st_size
    path.write_bytes(other)
    with pytest.raises(ShardDamaged, match=f"{path}: {len(other)} bytes, the manifest says {size}"):
        index.captions([9])


def test_a_damaged_captions_file_never_gives_other_captions(index: Index) -> None:
    """Any byte may change: the caption is right, or the file is refused by name."""
    path = index.folder / "captions-00001.parquet"
    sound = contents(index.folder)[path.name]
    rng = random.Random(0)
    refused = 0
    for _ in range(600):
        damaged = bytearray(sound)
        damaged[rng.randrange(len(sound))] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        damaged_index = open_index(index.folder)
        try:
            assert damaged_index.captions([3, 4, 5]) == CAPTIONS[3:6]
            assert damaged_index.part_hashes(1) == [text_hash(text) for text in CAPTIONS[3:6]]
        except ShardDamaged as error:  # anything else fails the test
            refused += str(path) in str(error)
    assert refused > 100


def test_a_reader_keeps_what_it_opened(index: Index, build_index_of: Builder) -> None:
    """An append replaces counts, search index and manifest under an open reader; its rows stay as they were."""
    before = index.vectors(range(10))
    build_index_of([*CAPTIONS, "something new"], rows_per_part=3)
    np.testing.assert_array_equal(index.vectors(range(10)), before)
    assert index.captions(range(10)) == CAPTIONS
    assert open_index(index.folder).captions([10]) == ["something new"]
