"""Files of captions: whatever the format, every row comes out, in order, as text or as a problem with its place."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_captions
from hypothesis import given
from hypothesis import strategies as st
from source_material import ROWS, URLS, as_csv, read, written

from build_index.cleaning import Refusal
from build_index.config import BuildConfig
from build_index.corpora import Source, find_sources
from build_index.errors import CorpusError
from build_index.readers import read_source
from build_index.streams import ROWS_PER_CHUNK, Problem

# --- text formats, plain and compressed ------------------------------------------------------------------------------


TEXTS: dict[str, Callable[[list[str]], str]] = {
    "csv": as_csv,
    "tsv": lambda rows: "".join(f"{row}\t{url}\n" for row, url in zip(rows, URLS, strict=False)),
    "txt": lambda rows: "".join(row + "\n" for row in rows),
    "jsonl": lambda rows: "".join(json.dumps({"id": 1, "caption": row}) + "\n" for row in rows),
    "ndjson": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    "json": lambda rows: json.dumps([{"caption": row} for row in rows]),
}


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("kind", TEXTS)
def test_every_text_format_and_compression(tmp_path: Path, kind: str, compression: str) -> None:
    data = COMPRESSORS[compression](TEXTS[kind](ROWS).encode())
    assert read(written(tmp_path / f"captions.{kind}{compression}", data)) == (ROWS, [])


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_parquet_and_every_compression(tmp_path: Path, compression: str) -> None:
    data = COMPRESSORS[compression](write_captions(tmp_path / "plain.parquet", ROWS).read_bytes())
    assert read(written(tmp_path / f"captions.parquet{compression}", data)) == (ROWS, [])


def test_a_compressed_parquet_that_breaks_off(tmp_path: Path) -> None:
    data = gzip.compress(write_captions(tmp_path / "plain.parquet", ROWS).read_bytes())
    values, (problem,) = read(written(tmp_path / "captions.parquet.gz", data[:-20]))
    assert values == []
    assert problem.detail == "Compressed file ended before the end-of-stream marker was reached"


@pytest.mark.parametrize("kind", TEXTS)
def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / f"captions.{kind}", b"\xef\xbb\xbf" + TEXTS[kind](ROWS).encode())
    assert read(path) == (ROWS, [])


@pytest.mark.parametrize("kind", sorted(set(TEXTS) - {"csv"}))  # whose rows end so anyway
def test_windows_line_ends(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / f"captions.{kind}", TEXTS[kind](ROWS).replace("\n", "\r\n"))
    assert read(path) == (ROWS, [])


@pytest.mark.parametrize("kind", TEXTS)
def test_the_last_line_needs_no_end(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / f"captions.{kind}", TEXTS[kind](ROWS).rstrip("\r\n"))
    assert read(path) == (ROWS, [])


@pytest.mark.parametrize("kind", TEXTS)
def test_an_empty_file_is_a_problem_and_no_silence(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / f"captions.{kind}", b"")
    assert read(path) == ([], [Problem(str(path), 0, Refusal.NO_ROWS, "no rows in it")])


@pytest.mark.parametrize("kind", TEXTS)
def test_more_rows_than_a_chunk(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("build_index.streams.ROWS_PER_CHUNK", 2)
    path = written(tmp_path / f"captions.{kind}", TEXTS[kind](ROWS))
    chunks = list(read_source(Source(str(path), ())))
    assert [(chunk.first_row, len(chunk.values)) for chunk in chunks] == [(0, 2), (2, 2), (4, 2), (6, 1)]


@pytest.mark.parametrize("compression", sorted(set(COMPRESSORS) - {""}))
@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl"])
def test_a_compressed_file_that_breaks_off(tmp_path: Path, kind: str, compression: str) -> None:
    """What comes out before the break is kept, and no half of a row is taken for a whole one."""
    rows = [f"caption {number:06} {hash_like(number)}" for number in range(20_000)]
    text = {
        "txt": "\n".join(rows),
        "csv": "caption\n" + "\n".join(rows),
        "tsv": "caption\turl\n" + "".join(f"{row}\thttp://x.org\n" for row in rows),
        "jsonl": "\n".join(map(json.dumps, rows)),
    }[kind]
    whole = COMPRESSORS[compression](text.encode())
    for cut in (len(whole) * 9 // 10, len(whole) - 2):
        path = written(tmp_path / f"captions.{kind}{compression}", whole[:cut])
        values, (problem,) = read(path)
        assert values == rows[: len(values)]
        assert len(values) > (5_000 if compression != ".bz2" else -1)  # bzip2 holds all of it in one block
        assert problem.place == f"{path} after row {len(values)}"
        assert problem.reason is Refusal.DAMAGED


def hash_like(number: int) -> str:
    """Something that does not compress well."""
    return f"{number * 2_654_435_761 % 2**64 * 11_400_714_819_323_198_485 % 2**64:x}"


@pytest.mark.parametrize("compression", sorted(set(COMPRESSORS) - {""}))
def test_what_is_not_compressed_at_all(tmp_path: Path, compression: str) -> None:
    path = written(tmp_path / f"captions.txt{compression}", "a dog\n" * 100)
    values, (problem,) = read(path)
    assert values == []
    assert (problem.place, problem.reason) == (f"{path} after row 0", Refusal.DAMAGED)


@pytest.mark.parametrize("compression", sorted(set(COMPRESSORS) - {""}))
def test_compressed_files_joined_end_to_end(tmp_path: Path, compression: str) -> None:
    compress = COMPRESSORS[compression]
    path = written(tmp_path / f"captions.txt{compression}", compress(b"a dog\n") + compress(b"a cat\n"))
    assert read(path) == (["a dog", "a cat"], [])


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "jsonl", "ndjson"])
def test_bytes_that_are_not_utf_8_spoil_their_row_alone(tmp_path: Path, kind: str) -> None:
    data = TEXTS[kind](["a dog", "ein XX Haus", "a cat"]).encode().replace(b"XX", b"gr\xfcnes")
    values, problems = read(written(tmp_path / f"captions.{kind}", data))
    assert values == ["a dog", "ein gr\udcfcnes Haus", "a cat"]
    assert problems == []


def test_rows_end_at_line_feeds_only(tmp_path: Path) -> None:
    """As `wc -l` counts: captions hold lone carriage returns, form feeds and Unicode's line separators."""
    rows = ["a\rdog", "a\x0bcat", "a\x0chorse", "a\x85cow", "a\u2028pig"]
    assert read(written(tmp_path / "a.txt", "\n".join(rows))) == (rows, [])
    assert read(written(tmp_path / "a.tsv", "".join(f"http://x.org/1\t{row}\n" for row in rows))) == (rows, [])


# --- CSV and TSV -----------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\0")), min_size=1))
def test_csv_against_the_standard_library(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("number", "caption", "more"), *((n, row, "x") for n, row in enumerate(rows))])
    assert read(written(tmp_path_factory.mktemp("csv") / "a.csv", text.getvalue())) == (rows, [])


def test_csv_with_quotes_and_line_ends_inside(tmp_path: Path) -> None:
    text = 'url,caption\r\nu,"a ""big"" dog, black"\r\nu,"two\nlines"\r\nu,"three\r\nlines"\r\n'
    assert read(written(tmp_path / "a.csv", text)) == (['a "big" dog, black', "two\nlines", "three\r\nlines"], [])


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    rows = ['a "big" dog', '"opened and never closed', 'closed"', "'", '""']
    text = "caption\turl\n" + "".join(f"{row}\thttp://x.org\n" for row in rows)
    assert read(written(tmp_path / "a.tsv", text)) == (rows, [])


@pytest.mark.parametrize("order", ["caption first, as CC3M", "URL first, as CC12M"])
def test_tsv_without_a_header(tmp_path: Path, order: str) -> None:
    pairs = list(zip(ROWS, URLS, strict=True))
    lines = [f"{row}\t{url}" if order.startswith("caption") else f"{url}\t{row}" for row, url in pairs]
    assert read(written(tmp_path / "a.tsv", "\n".join(lines))) == (ROWS, [])


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("tsv", "\t")])
def test_empty_lines_before_the_header(tmp_path: Path, suffix: str, mark: str) -> None:
    lines = ["", f"id{mark}caption", f"7{mark}a dog", ""]
    path = written(tmp_path / f"a.{suffix}", "\n".join(lines) + "\n")
    assert read(path) == ([None, "a dog", None], [])
    nothing = written(tmp_path / f"b.{suffix}", "\n\n")
    assert len(read(nothing)[0]) == 2


def test_a_first_row_with_a_url_is_no_header(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.tsv", "caption\thttp://x.org/1\na dog\thttp://x.org/2\n")) == (
        ["caption", "a dog"],
        [],
    )


def test_a_few_urls_make_no_url_column(tmp_path: Path) -> None:
    rows = ["a dog", "http://x.org/a-caption.jpg", "a cat", "a horse"]
    urls = ["http://x.org/1", "http://x.org/2", "", "//x.org/4.jpg"]
    path = written(tmp_path / "a.tsv", "".join(f"{url}\t{row}\n" for url, row in zip(urls, rows, strict=True)))
    assert read(path) == (rows, [])


def test_a_row_that_is_too_short_is_a_null(tmp_path: Path) -> None:
    text = "http://x.org/1\ta dog\nhttp://x.org/2\nhttp://x.org/3\ta cat\t\n"
    assert read(written(tmp_path / "a.tsv", text)) == (["a dog", None, "a cat"], [])
    assert read(written(tmp_path / "a.csv", "url,caption\nu,a dog\n\nu\nu,a cat\n")) == (
        ["a dog", None, None, "a cat"],
        [],
    )


def test_a_header_names_the_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "title,caption,tag\nt,c,g\n")
    assert read(path) == (["c"], [])
    assert read(path, "title") == (["t"], [])
    assert read(path, "none", "tag") == (["g"], [])


def test_a_position_names_the_column(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", "1.jpg#0\ta dog\tx\n1.jpg#1\ta cat\ty\n")
    assert read(path, "1") == (["a dog", "a cat"], [])
    assert read(path, "caption", "1") == (["a dog", "a cat"], [])
    with_header = written(tmp_path / "b.csv", "url,caption\nu,a dog\n")
    assert read(with_header, "1") == (["a dog"], [])
    with pytest.raises(CorpusError, match=re.escape(f"{path}: no column 3; rows have 3 columns, counted from 0")):
        read(path, "3")


def test_flickrs_token_file_is_read_by_its_preset(tmp_path: Path) -> None:
    written(tmp_path / "results_20130124.token", "1.jpg#0\ta dog\n1.jpg#1\ta cat\n")
    (source,) = find_sources(BuildConfig(corpus=("flickr30k",), data_dir=tmp_path))
    assert read(source.uri, *source.columns) == (["a dog", "a cat"], [])


def test_a_list_in_a_cell_is_taken_apart(tmp_path: Path) -> None:
    """As in Flickr30k's table on the hub, whose five captions of a picture stand in one cell."""
    rows = [json.dumps(["a dog", 'a "big" dog']), '["a", 1, "b"]', '["unclosed", "', "a cat", json.dumps(["a horse"])]
    text = io.StringIO()
    csv.writer(text).writerows([("raw", "filename"), *((row, "1.jpg") for row in rows)])
    path = written(tmp_path / "flickr_annotations_30k.csv", text.getvalue())
    assert read(path, "raw") == (["a dog", 'a "big" dog', *rows[1:4], "a horse"], [])


def test_a_missing_column_lists_the_columns(tmp_path: Path) -> None:
    for name, text in (("a.csv", "url,caption\nu,c\n"), ("a.tsv", "url\tcaption\nhttp://x.org\tc\n")):
        path = written(tmp_path / name, text)
        with pytest.raises(CorpusError, match=re.escape(f"{path}: no column title; its columns: 'url', 'caption'")):
            read(path, "title")


def test_a_column_that_could_be_any_lists_the_first_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "a dog,brown\na cat,black\n")
    with pytest.raises(CorpusError, match=r"a\.csv: cannot tell which column .*; its first row: 'a dog', 'brown'"):
        read(path)


def test_two_columns_that_could_hold_captions(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "url,text,caption\nu,t,c\n")
    with pytest.raises(
        CorpusError,
        match=r"captions could be in caption or text; choose with --caption-column; its columns: 'url', 'text', 'capt",
    ):
        read(path)


# --- JSON ------------------------------------------------------------------------------------------------------------

COCO = {
    "info": {"year": 2017, "description": "annotations"},
    "images": [{"id": 1, "coco_url": "http://x.org"}],
    "annotations": [{"image_id": 1, "id": number, "caption": row} for number, row in enumerate(ROWS)],
    "licenses": [],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_coco_annotations(tmp_path: Path, indent: int | None) -> None:
    path = written(tmp_path / "captions_val2017.json", json.dumps(COCO, indent=indent))
    assert read(path) == (ROWS, [])


def test_a_document_on_one_long_line_is_not_loaded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"caption {number}" for number in range(20_000)]
    path = written(tmp_path / "a.json", json.dumps({"annotations": [{"caption": row} for row in rows]}))
    longest = 0

    def loads(text: str) -> Any:
        nonlocal longest
        longest = max(longest, len(text))
        return json.JSONDecoder().decode(text)

    monkeypatch.setattr("build_index.json_reader.json.loads", loads)
    assert read(path) == (rows, [])
    assert longest < path.stat().st_size / 4


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('\n\n  [\n"a",\n"b"\n]\n', ["a", "b"]),
        ('[{"caption": "a"}, {"id": 3}, {"caption": null}, 7]', ["a", None, None, 7]),
        ('[{"caption": ["a", "b"]}, {"caption": []}, ["c"]]', ["a", "b", None, "c"]),
        ('{"caption": "a"}\n{"caption": "b"}\n', ["a", "b"]),  # lines under the wrong name
        ('"a"\n"b"\n', ["a", "b"]),
        ('{"caption": "a"}', ["a"]),
    ],
)
def test_json_as_people_write_it(tmp_path: Path, text: str, values: list[Any]) -> None:
    assert read(written(tmp_path / "a.json", text)) == (values, [])


def test_json_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    rows = [f"caption {number}" for number in range(9_000)]
    text = json.dumps(rows)
    path = written(tmp_path / "a.json", text[: len(text) // 2])
    values, (problem,) = read(path)
    assert len(values) > 4_000
    assert values == rows[: len(values)]
    assert problem == Problem(f"{path} after row {len(values)}", 0, Refusal.DAMAGED, "parse error: premature EOF")


def test_json_that_is_not_utf_8_breaks_off_with_a_readable_reason(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", b'["a", "b\xff", "c"]')
    expected = Problem(f"{path} after row 1", 0, Refusal.DAMAGED, "lexical error: invalid bytes in UTF8 string.")
    assert read(path) == (["a"], [expected])


def test_json_without_captions(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ('{\n"images": ["a"]\n}', '{\n "caption": "a"\n}', '{"annotations": []}'):
        said = "no annotations in it; it may also be a list, or an object a line"
        assert read(written(path, text)) == ([], [Problem(str(path), 0, Refusal.NO_ROWS, said)])
    assert read(written(path, "[]")) == ([], [Problem(str(path), 0, Refusal.NO_ROWS, "no rows in it")])


def test_bad_lines_spoil_themselves_alone(tmp_path: Path) -> None:
    lines = ['{"caption": "a"}', '{"caption": "b"', "", "nonsense", "[" * 100_000, '{"caption": "c"}', "null", "3"]
    values, problems = read(written(tmp_path / "a.jsonl", "\n".join(lines)))
    assert values == ["a", Refusal.DAMAGED, Refusal.DAMAGED, Refusal.DAMAGED, "c", None, 3]
    assert problems == []


def test_a_missing_key_lists_the_keys(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", '{"id": 1, "words": "a"}\n')
    with pytest.raises(CorpusError, match=r"a\.jsonl: no column is named like captions; .*'id', 'words'"):
        read(path)
    with pytest.raises(CorpusError, match=r"a\.jsonl: no column title; its columns: 'id', 'words'"):
        read(path, "title")
    assert read(path, "words") == (["a"], [])


# --- parquet ---------------------------------------------------------------------------------------------------------


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
