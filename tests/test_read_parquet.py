"""Parquet files of captions: kinds of columns, row groups, and damage."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_captions
from source_material import ROWS, hash_like, read, written

from build_index.cleaning import Refusal
from build_index.errors import CorpusError
from build_index.streams import ROWS_PER_CHUNK


def parquet(path: Path, captions: pa.Array, **options: Any) -> Path:
    pq.write_table(pa.table({"url": ["u"] * len(captions), "caption": captions}), path, **options)
    return path


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (pa.array(["a", None, "c"]), ["a", None, "c"]),
        (pa.array(["a", None, "c"], pa.large_string()), ["a", None, "c"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([["a", "b"], None, [], ["c", None]]), ["a", "b", None, None, "c", None]),
        (pa.array([["a", "b"], []], pa.large_list(pa.large_string())), ["a", "b", None]),
        (pa.array([["a", "b"], None], pa.list_(pa.string(), 2)), ["a", "b", None]),
        (pa.array([["a"], ["b"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))), ["a", "b"]),
        (pa.array([1, None]), [1, None]),
    ],
    ids=["string", "large string", "dictionary", "list", "large list", "fixed list", "list of dictionary", "numbers"],
)
def test_parquet_columns(tmp_path: Path, array: pa.Array, values: list[Any]) -> None:
    assert read(parquet(tmp_path / "a.parquet", array)) == (values, [])


def test_parquet_over_chunks_and_row_groups(tmp_path: Path) -> None:
    rows = [f"caption {number}" for number in range(2 * ROWS_PER_CHUNK + 100)]
    path = parquet(tmp_path / "a.parquet", pa.array(rows), row_group_size=ROWS_PER_CHUNK + 50)
    assert read(path) == (rows, [])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_parquet_strings_that_are_not_utf_8(tmp_path: Path, kind: pa.DataType) -> None:
    raw = pa.array([b"a dog", b"caf\xe9", None], pa.large_binary() if kind == pa.large_string() else pa.binary())
    path = parquet(tmp_path / "a.parquet", pa.Array.from_buffers(kind, 3, raw.buffers()))
    assert read(path) == (["a dog", "caf\udce9", None], [])


def test_a_truncated_parquet(tmp_path: Path) -> None:
    path = write_captions(tmp_path / "a.parquet", ROWS)
    whole = path.read_bytes()
    for cut in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        values, (problem,) = read(path)
        assert values == []
        assert (problem.place, problem.rows, problem.reason) == (f"{path} after row 0", 0, Refusal.DAMAGED)
        assert "arquet" in problem.detail


def test_a_parquet_with_a_damaged_row_group(tmp_path: Path) -> None:
    rows = [f"caption {number} {hash_like(number)}" for number in range(400)]
    path = parquet(tmp_path / "a.parquet", pa.array(rows), row_group_size=100, compression="zstd")
    chunk = pq.ParquetFile(path).metadata.row_group(2).column(1)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    values, (problem,) = read(written(path, bytes(data)))
    assert values == rows[:200] + rows[300:]
    assert (problem.place, problem.rows, problem.reason) == (f"{path} row group 2", 100, Refusal.DAMAGED)


def test_a_parquet_with_a_damaged_page_keeps_the_rows_before_it(tmp_path: Path) -> None:
    rows = [f"caption {number} {hash_like(number)}" for number in range(3 * ROWS_PER_CHUNK)]
    options = {"row_group_size": len(rows), "data_page_size": 10_000, "use_dictionary": False, "compression": "zstd"}
    path = parquet(tmp_path / "a.parquet", pa.array(rows), **options)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    end = chunk.data_page_offset + chunk.total_compressed_size
    data = path.read_bytes()
    values, (problem,) = read(written(path, data[: end - 1_000] + bytes(1_000) + data[end:]))
    assert len(values) >= ROWS_PER_CHUNK
    assert values == rows[: len(values)]
    assert (problem.place, problem.rows) == (f"{path} row group 0", len(rows) - len(values))


def test_parquet_columns_that_are_missing_or_could_be_any(tmp_path: Path) -> None:
    path = write_captions(tmp_path / "a.parquet", ROWS, column="words")
    with pytest.raises(CorpusError, match=r"a\.parquet: no column is named like captions; .*'url', 'words'"):
        read(path)
    with pytest.raises(CorpusError, match=r"a\.parquet: no column caption or TEXT; its columns: 'url', 'words'"):
        read(path, "caption", "TEXT")
    assert read(path, "words") == (ROWS, [])
    pq.write_table(pa.table({"text": ["t"], "caption": ["c"]}), path)
    with pytest.raises(CorpusError, match=r"captions could be in caption or text; choose with --caption-column"):
        read(path)
    assert read(path, "text") == (["t"], [])


def test_the_only_column_needs_no_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"whatever": ROWS}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == (ROWS, [])
