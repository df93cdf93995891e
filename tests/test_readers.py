"""Files of captions: whatever the format, every row comes out, in order, as text or as a problem with its place."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import write_captions
from source_material import ROWS, URLS, as_csv, hash_like, read, written

from build_index.cleaning import Refusal
from build_index.config import BuildConfig
from build_index.corpora import Source, find_sources
from build_index.readers import read_source
from build_index.streams import Problem

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


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "jsonl"])
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_never_read_letter_by_letter(tmp_path: Path, kind: str, coding: str) -> None:
    path = written(tmp_path / f"a.{kind}", '"caption"\n"a dog on a beach"\n'.encode(coding))
    assert read(path) == ([], [Problem(f"{path} after row 0", 0, Refusal.DAMAGED, "it is UTF-16; save it as UTF-8")])


@pytest.mark.parametrize("name", ["what is it?.txt", "a::b.txt", "b?.csv", "c::d.parquet", "e?f.txt.gz"])
def test_names_that_look_like_addresses(tmp_path: Path, name: str) -> None:
    path = tmp_path / "folder" / name
    path.parent.mkdir()
    if name.endswith("parquet"):
        write_captions(path, ["a dog", "a cat"])
    else:
        text = b"a dog\na cat\n"
        written(path, gzip.compress(text) if name.endswith(".gz") else text)
    (source,) = find_sources(BuildConfig(corpus=(str(path.parent),), out=tmp_path / "out"))
    assert read(source.uri) == (["a dog", "a cat"], [])
