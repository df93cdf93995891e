"""Reading: global rows across parts and row groups, folders of indexes, and damage that shows only when it is met."""

import os
import pickle
import random
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Builder, LetterCounter, write_captions
from hypothesis import given
from hypothesis import strategies as st

from build_index.compact import compact
from build_index.config import BuildConfig
from build_index.pipeline import build
from build_index.search_index.state import state_of
from labeler.retriever import Hits, Retriever
from shards import (
    Index,
    NoIndex,
    ShardDamaged,
    ShardError,
    manifest,
    open_index,
    open_indexes,
    reader,
    stores,
    verify,
)
from shards.commands import DONE, REFUSED_TO_START, run
from shards.parts import text_hash
from shards.removal import remove

CAPTIONS = [f"{word} number {number}" for number in range(5) for word in ("dog", "cat")]


@pytest.fixture
def index(build_index_of: Builder) -> Index:
    return open_index(build_index_of(CAPTIONS, rows_per_part=3).folder)


# --- rows ------------------------------------------------------------------------------------------------------------


def test_an_index_that_is_sent_to_another_process_is_opened_there(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(index.folder.parent)
    sent = pickle.dumps(open_index(index.folder.name))
    monkeypatch.chdir("/")  # where the other one is
    there = pickle.loads(sent)
    assert (there.manifest, there.captions([3])) == (index.manifest, index.captions([3]))
    remove(index.folder, None, "dog")
    with pytest.raises(ShardError, match=f"^{index.folder}: changed since it was opened in another process"):
        pickle.loads(sent)


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
        assert index.part_hashes(number).tobytes() == b"".join(map(text_hash, texts))
        assert index.captions(range(part.first_row, part.first_row + part.rows)) == texts


@pytest.mark.parametrize("row", [-1, 10, 2**40, -(2**40)])
def test_a_row_that_is_not_there(index: Index, row: int) -> None:
    for read in (index.captions, index.vectors):
        with pytest.raises(IndexError, match=rf"row {row} of .*corpus, which has rows 0 to 9"):
            read([0, row])


@pytest.mark.parametrize("number", [-1, 2, 2**40, -(2**40)])
def test_a_concept_that_is_not_there(index: Index, number: int) -> None:
    assert index.concepts.words([0, 1]) == ["cat number", "dog number"]
    for read in (index.concepts.words, index.concepts.vectors):
        with pytest.raises(IndexError, match=rf"concept {number} of .*corpus, which has concepts 0 to 1"):
            read([0, number])


@pytest.mark.parametrize("row", [-1, 10, 2**40, -(2**40)])
def test_the_concepts_of_a_row_that_is_not_there(index: Index, row: int) -> None:
    assert [index.concepts.of_row(known).tolist() for known in (0, 1, 9)] == [[1], [0], [0]]
    with pytest.raises(IndexError, match=rf"row {row} of .*corpus, which has rows 0 to 9"):
        index.concepts.of_row(row)


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
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(stores, "CACHED_GROUPS", 2)
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda file, group, columns: decoded.append(group) or read(file, group, columns=columns),
    )
    index.captions([0, 1, 4_095])
    assert decoded == [0]
    index.captions([4_096, 0, 8_192, 0, 4_096])  # the second group is the one that was not asked for in a while
    assert decoded == [0, 1, 2, 1]


def test_threads_read_one_file_in_turn(large: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(large.folder, large.manifest)
    inside: list[int] = []
    read = pq.ParquetFile.read_row_group

    def alone(file: pq.ParquetFile, group: int, columns: list[str]) -> Any:
        inside.append(group)
        time.sleep(0.01)  # others come meanwhile
        assert inside == [group]
        table = read(file, group, columns=columns)
        inside.clear()
        return table

    monkeypatch.setattr(stores, "CACHED_GROUPS", 1)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", alone)
    wanted = [[0, 4_096], [4_096, 8_192], [8_192, 0], [0, 8_192]]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(index.captions, wanted))
    assert found == [[f"caption {row}" for row in rows] for rows in wanted]


# --- opening ---------------------------------------------------------------------------------------------------------


def test_opening_maps_and_does_not_read(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(index.folder, None, "dog number 4")
    index = open_index(index.folder)
    for part in [*(index.part_vectors(number) for number in range(4)), *index.concepts.part_vectors()]:
        assert isinstance(part, np.memmap)
        assert not part.flags.writeable
    damaged = sorted(index.folder / file.name for file in index.manifest.files())
    assert len(damaged) == 8 + 1 + 2 + 3 + 1 + 2
    for path in damaged:
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes(8) + data[-1:])
    monkeypatch.setattr(pq, "ParquetFile", None)  # no caption and no word is looked at
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


def test_a_captions_file_that_goes_missing_shows_when_it_is_read(index: Index) -> None:
    path = index.folder / "captions-00001.parquet"
    path.unlink()
    assert index.captions([0, 9]) == [CAPTIONS[0], CAPTIONS[9]]
    for read in (lambda: index.captions([4]), lambda: index.part_hashes(1)):
        with pytest.raises(ShardError, match=f"{path}: not the file that was there"):
            read()
    with pytest.raises(ShardDamaged, match=f"{path}: No such file"):
        open_index(index.folder)


def test_a_captions_file_of_another_part(index: Index) -> None:
    path = index.folder / "captions-00003.parquet"
    other = (index.folder / "captions-00000.parquet").read_bytes()
    size = path.stat().st_size
    path.write_bytes(other)
    with pytest.raises(ShardError, match=f"{path}: not the file that was there"):
        index.captions([9])
    with pytest.raises(ShardDamaged, match=f"{path}: {len(other)} bytes, the manifest says {size}"):
        open_index(index.folder)


@pytest.mark.parametrize("name", ["concepts-00000.parquet", "concepts.0001.parquet"])
def test_words_that_go_missing_show_when_they_are_read(index: Index, name: str) -> None:
    path = index.folder / name
    path.unlink()
    assert index.captions([4]) == [CAPTIONS[4]]
    with pytest.raises(ShardError, match=f"{path}: not the file that was there"):
        index.concepts.words([0])
    with pytest.raises(ShardDamaged, match=f"{path}: No such file"):
        open_index(index.folder)


def what_captions_say(index: Index) -> Any:
    tables = index.part_table(1, ["hash", "source", "concepts"]).to_pylist()
    return index.captions([3, 4, 5]), index.part_hashes(1).tolist(), tables


def what_concepts_say(index: Index) -> Any:
    concepts = index.concepts
    links = [concepts.of_row(row).tolist() for row in range(10)]
    return concepts.words([0, 1]), concepts.kinds, concepts.counts.tolist(), links


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("captions-00001.parquet", what_captions_say),
        ("concepts-00000.parquet", what_concepts_say),
        ("concepts.0001.parquet", what_concepts_say),
    ],
)
def test_a_damaged_table_never_says_anything_else(index: Index, name: str, read: Callable[[Index], Any]) -> None:
    """Any byte may change: what is read is right, or the file is refused by name."""
    path = index.folder / name
    sound = path.read_bytes()
    said = read(index)
    rng = random.Random(0)
    refusals = []
    for _ in range(400):
        damaged = bytearray(sound)
        damaged[rng.randrange(len(sound))] ^= rng.randrange(1, 256)
        path.write_bytes(damaged)
        damaged_index = open_index(index.folder)
        try:
            assert read(damaged_index) == said
        except ShardDamaged as error:  # anything else fails the test
            refusals.append(str(error))
    assert len(refusals) > 60
    assert all(str(path) in line for line in refusals)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("starts", 0, 1, "starts.0001.npy: from 1 to 10, but there are 10 links"),
        ("starts", 10, 9, "starts.0001.npy: from 0 to 9, but there are 10 links"),
        ("starts", 4, 2, "starts.0001.npy: not ascending from row 3 to row 4"),
        ("starts", 4, -1, "starts.0001.npy: not ascending from row 3 to row 4"),
        ("starts", 4, 11, "starts.0001.npy: not ascending from row 3 to row 4"),
        ("links", 3, 2, "links.0001.npy: links of row 3 or later are not ids of concepts"),
        ("links", 3, -1, "links.0001.npy: links of row 3 or later are not ids of concepts"),
    ],
)
def test_links_that_lead_nowhere(index: Index, name: str, place: int, value: int, message: str) -> None:
    path = index.folder / f"{name}.0001.npy"
    array = np.load(path)
    array[place] = value
    np.save(path, array)
    with pytest.raises(ShardDamaged, match=f"{index.folder}/{message}"):
        open_index(index.folder).concepts.of_row(3)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"at": 10}', b'{"at": 10, "recall": "all"}', b"\xff"])
def test_a_measurement_that_is_none(index: Index, data: bytes) -> None:
    assert index.recall() == ", recall@10 1.000 measured"
    path = index.folder / "quality.0001.json"
    path.write_bytes(data.ljust(path.stat().st_size))
    with pytest.raises(ShardDamaged, match=f"{path}: not a measurement"):
        open_index(index.folder).recall()


def test_a_reader_keeps_what_it_opened(index: Index, build_index_of: Builder) -> None:
    """An append replaces counts, search index and manifest under an open reader; its rows stay as they were."""
    before = index.vectors(range(10))
    build_index_of([*CAPTIONS, "something new"], rows_per_part=3)
    np.testing.assert_array_equal(index.vectors(range(10)), before)
    assert index.captions(range(10)) == CAPTIONS
    assert open_index(index.folder).captions([10]) == ["something new"]


# --- what happens to an open index -----------------------------------------------------------------------------------


def test_an_open_index_is_read_from_another_working_directory(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(index.folder.parent)
    here = open_index(Path(index.folder.name))
    monkeypatch.chdir("/")
    assert here.captions([9]) == CAPTIONS[9:]
    assert here.concepts.words([0]) == ["cat number"]
    assert here.counts().sum() == 10


def test_settings_of_the_search_are_read_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_captions(tmp_path / "captions.parquet", CAPTIONS)
    config = BuildConfig(corpus=(str(corpus),), out=tmp_path, name="index", exact_rows=100)
    folder = build(config, lambda _: LetterCounter()).folder
    monkeypatch.chdir(folder.parent)
    here = open_index(Path(folder.name))
    monkeypatch.chdir("/")
    assert state_of(here).options.exact_rows == 100


LATE: dict[str, Callable[[Index], object]] = {
    "captions": lambda index: index.captions([0]),
    "a part": lambda index: index.part_hashes(0),
    "words": lambda index: index.concepts.words([0]),
    "counts": lambda index: index.counts(),
    "recall": lambda index: index.recall(),
    "search": lambda index: index.faiss_path,
}


@pytest.mark.parametrize("read", LATE.values(), ids=LATE.keys())
def test_what_took_the_place_of_a_file_is_not_read(index: Index, read: Callable[[Index], object]) -> None:
    """The first part was removed, so that the second has its name by now, and as many rows."""
    remove(index.folder, None, "number 0|dog number 1")
    index = open_index(index.folder)
    compact(index.folder)
    with pytest.raises(ShardError, match=r"not the file that was there when the index was opened; .* open it again"):
        read(index)


def test_files_that_went_away_are_not_called_damaged(index: Index) -> None:
    remove(index.folder, None, "dog number 1")
    with pytest.raises(ShardError, match="the index was changed or moved since, open it again") as caught:
        len(index.concepts)
    assert not isinstance(caught.value, ShardDamaged)
    assert index.captions([9]) == CAPTIONS[9:]  # a finished part stays


def test_a_new_file_that_has_the_number_of_a_deleted_one_is_not_read(index: Index) -> None:
    """File systems give such numbers again."""
    path = index.folder / "captions-00001.parquet"
    table = pq.read_table(path)
    other = table.set_column(1, table.schema.field("text"), pa.array(["a", "b", "c"]))
    pq.write_table(other, index.folder / "other")
    path.write_bytes((index.folder / "other").read_bytes())
    with pytest.raises(ShardError, match="not the file that was there when the index was opened"):
        index.captions([3])


# --- writers that end while an index is opened -----------------------------------------------------------------------


@pytest.fixture
def appended(index: Index, build_index_of: Builder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Once a manifest was read, an append ends, and deletes files that it names; the list holds when."""
    load = manifest.load
    ends = [0]

    def loaded(folder: Path) -> manifest.Manifest:
        content = load(folder)
        if ends:
            ends.pop()
            build_index_of([*CAPTIONS, "something new"], rows_per_part=3)
        return content

    monkeypatch.setattr(manifest, "load", loaded)
    return ends


def test_an_index_is_opened_while_an_append_ends(index: Index, appended: list[int]) -> None:
    assert open_index(index.folder).captions([10]) == ["something new"]
    assert not appended


def test_a_folder_of_indexes_is_opened_while_an_append_ends(index: Index, appended: list[int]) -> None:
    assert Retriever.open(index.folder.parent).evidence(Hits(*np.array([[[0]], [[10]], [[1]]])))[0].row == 10
    assert not appended


def test_an_append_that_ends_while_an_index_is_verified_is_no_damage(index: Index, appended: list[int]) -> None:
    with pytest.raises(ShardError, match="was changed while it was verified; verify it again") as caught:
        list(verify(index.folder))
    assert not isinstance(caught.value, ShardDamaged)
    assert not appended
    assert list(verify(index.folder)) == []


# --- more parts than a program may have open -------------------------------------------------------------------------


@pytest.fixture
def few_files() -> Iterator[None]:
    """As in a shell that allows few open files: 20 more than there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as lowest:  # noqa: PTH123
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
def test_an_index_of_more_parts_than_a_shell_allows_open_files(build_index_of: Builder) -> None:
    captions = [f"caption {number}" for number in range(40)]
    index = open_index(build_index_of(captions, rows_per_part=1).folder)
    assert index.captions(range(40)) == captions
    assert list(verify(index.folder)) == []


@pytest.mark.usefixtures("few_files")
def test_too_many_open_files_are_no_damage(
    large: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reader, "allow_open_files", lambda: None)
    kept: list[Index] = []
    assert run(lambda: [kept.append(open_index(large.folder)) for _ in range(20)] and DONE) == REFUSED_TO_START
    assert "Too many open files; allow a program more open files (ulimit -n)" in capsys.readouterr().err
